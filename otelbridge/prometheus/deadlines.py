"""Until when each connection may stay in its phase."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from otelbridge.prometheus.connection import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelbridge.prometheus.connection import Connection
    from otelbridge.prometheus.limits import Limits

# Those that wait for their client; the others wait for us.
_WAITING = (Phase.HEAD, Phase.IDLE, Phase.WRITE, Phase.LINGER)


class Deadlines:
    """Connections by phase. A phase is as long for one as for another, so who came first is due first.

    Args:
        limits: How long the phases are.
    """

    def __init__(self, limits: Limits) -> None:
        self._seconds = {
            Phase.HEAD: limits.head_seconds,
            Phase.ANSWER: limits.answer_seconds,
            Phase.WRITE: limits.write_seconds,
            Phase.IDLE: limits.idle_seconds,
            Phase.LINGER: limits.linger_seconds,
        }
        self._due: dict[Phase, OrderedDict[Connection, float]] = {phase: OrderedDict() for phase in Phase}
        self._stages: dict[Connection, int] = {}

    def follow(self, connection: Connection) -> bool:
        """Give a connection a new deadline if it has come to another phase.

        Args:
            connection: The connection.

        Returns:
            Whether it has time left; not once `pop_due` has given it out, until it comes to another phase.
        """
        if self._stages.get(connection) == connection.stage:
            return connection in self._due[connection.phase]
        self.forget(connection)
        self._stages[connection] = connection.stage
        self._due[connection.phase][connection] = time.monotonic() + self._seconds[connection.phase]
        return True

    def forget(self, connection: Connection) -> None:
        """Drop a connection."""
        self._stages.pop(connection, None)
        for due in self._due.values():
            due.pop(connection, None)

    def next(self) -> float | None:
        """Tell when the next connection is due, by `time.monotonic`."""
        return min((next(iter(due.values())) for due in self._due.values() if due), default=None)

    def pop_due(self) -> list[tuple[Connection, Phase]]:
        """Take out the connections whose time is up, with the phase they were in."""
        now = time.monotonic()
        found: list[tuple[Connection, Phase]] = []
        for phase, due in self._due.items():
            while due and next(iter(due.values())) <= now:
                found.append((due.popitem(last=False)[0], phase))
        return found

    def longest_waiting(self) -> Iterator[Connection]:
        """Go through those that wait for their client, the fullest phase first and there the oldest."""
        for phase in sorted(_WAITING, key=lambda phase: -len(self._due[phase])):
            yield from self._due[phase]
