"""What killed processes have left of the metrics of prometheus_client."""

from __future__ import annotations

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otelbridge.neighbour import client
from otelbridge.neighbour.source import Neighbour


class Heirs(Neighbour):
    """Shows what the processes of another group had published, and nothing of this one."""

    def __init__(self) -> None:
        super().__init__(registry=False)
        self._scope = InstrumentationScope(client.PACKAGE, client.version())

    def refresh(self) -> None:
        """Read nothing: this process is not of the group."""
