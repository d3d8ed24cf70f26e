"""What the parts of otelbridge tell each other in the scope of an ASGI connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECTION = "otelbridge.connection"
"""Key of the `MeasuredConnection`. A scope that an application copies has it too."""


class MeasuredConnection(Protocol):
    """A request or WebSocket that is being measured."""

    def withdraw(self) -> None:
        """Measure it no further, and record nothing of it."""
        ...


def withdraw(scope: Mapping[str, Any]) -> None:
    """Have a connection left out of all metrics, if it is measured: that of a scrape, for instance.

    Args:
        scope: The ASGI scope.
    """
    connection: MeasuredConnection | None = scope.get(CONNECTION)
    if connection is not None:
        connection.withdraw()
