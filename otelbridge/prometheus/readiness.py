"""Whether the service can do its work, component by component, for probes."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, NamedTuple

from otelbridge.diagnostics import logger, warn_once
from otelbridge.prometheus.flight import SingleFlight
from otelbridge.prometheus.http1 import Response, describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

ComponentState = Literal["healthy", "degraded", "unhealthy"]

_STATES = frozenset({"healthy", "degraded", "unhealthy"})


class ComponentHealth(NamedTuple):
    """The state of one component, as the metric ``health.component.status`` has it."""

    name: str
    """``health.component.name``."""

    type: str
    """``health.component.type``: service, integration, database, cache, ..."""

    state: ComponentState
    """``health.component.state``."""


class Report(NamedTuple):
    """What the components say together."""

    ready: bool
    """Whether none is unhealthy. One that is degraded still does its work."""

    components: tuple[ComponentHealth, ...] = ()
    """The components."""

    def response(self, *, details: bool) -> Response:
        """Write the report as JSON.

        Args:
            details: Whether the components are named.

        Returns:
            200 where the service is ready, else 503.
        """
        content: dict[str, object] = {"status": "ready" if self.ready else "not ready"}
        if details:
            content["components"] = [
                {"name": each.name, "type": each.type, "state": each.state} for each in self.components
            ]
        status = HTTPStatus.OK if self.ready else HTTPStatus.SERVICE_UNAVAILABLE
        headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
        return Response(status, json.dumps(content).encode() + b"\n", headers)


class Readiness:
    """Asks for the states of the components, once for all probes that come meanwhile.

    Args:
        components: Gives the states. It may take its time; where it raises the service is not ready. None:
            there are no components, and the service is ready.
    """

    def __init__(self, components: Callable[[], Iterable[ComponentHealth]] | None = None) -> None:
        self._components = components
        self._flight: SingleFlight[Report] = SingleFlight("otelbridge-metrics-ready", 1)

    def report(self) -> Report | Future[Report]:
        """Give the states now, or a future of them.

        Raises:
            BusyError: The process can have no more threads.
        """
        if self._components is None:
            return Report(ready=True)
        return self._flight.run("", self._ask)

    def close(self, timeout: float) -> None:
        """Wait until nothing is being asked, for this many seconds at most."""
        self._flight.close(timeout)

    def _ask(self) -> Report:
        try:
            found = tuple(self._components() if self._components else ())
            # A state nobody knows is no good news.
            ready = all(each.state in _STATES and each.state != "unhealthy" for each in found)
        except Exception as error:
            cause = ("readiness", type(error).__qualname__)
            warn_once(
                cause, "The states of the components cannot be had, the service is not ready (%s)", describe(error)
            )
            logger.debug("The states of the components cannot be had", exc_info=True)
            return Report(ready=False)
        return Report(ready, found)
