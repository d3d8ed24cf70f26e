"""Pushes what a group has counted since the last acknowledgement: all of it, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.sdk.resources import Resource

    from otelbridge.metrics.current import CurrentStream
    from otelbridge.otlp.deltas import Deltas
    from otelbridge.otlp.encoding import Encoder
    from otelbridge.otlp.ledger import Ledger
    from otelbridge.otlp.requests import Request

    Read = Callable[[], "tuple[Resource, Iterable[CurrentStream]] | None"]
    """Reads the totals of the group; None where there is nothing to be pushed."""

    Send = Callable[[Sequence[Request]], "tuple[bool, Sequence[Request]]"]
    """Sends requests; tells whether all were acknowledged, and gives those that are to be sent again."""


class Increments:
    """Deltas of a group to one destination, pushed by one process at a time.

    Args:
        deltas: Computes them.
        ledger: Remembers what was acknowledged.
        encoder: Writes them.
    """

    def __init__(self, deltas: Deltas, ledger: Ledger, encoder: Encoder) -> None:
        self._deltas = deltas
        self._ledger = ledger
        self._encoder = encoder

    def push(self, read: Read, send: Send, deadline: float) -> bool:
        """Push what there is. What is unclear goes first, as it was.

        Args:
            read: Reads the totals.
            send: Sends requests.
            deadline: Until when to wait for other processes that push, by `time.monotonic`.

        Returns:
            Whether the destination acknowledged all of it; true where there is nothing.
        """
        with self._ledger.turn(deadline) as ours:
            if not ours:
                return False
            try:
                return self._finish(send) and self._push(read, send)
            except OSError as error:
                warn_once(
                    ("otlp", "ledger", str(error.errno)),
                    "Deltas are not pushed as long as it cannot be noted which of them have arrived (%s). What is "
                    "counted meanwhile is kept, and pushed later. Make room in the run directory.",
                    error,
                )
                return False

    def _push(self, read: Read, send: Send) -> bool:
        found = read()
        if found is None:
            return True
        resource, streams = found
        before = self._ledger.acknowledged()
        if before is None:
            change = self._deltas.anew(streams)
            self._ledger.restart(change.vector)
        else:
            change = self._deltas.since(before, streams)
        requests = self._encoder.encode(resource, change.streams)
        if change.points:
            self._ledger.begin(change.vector, requests)
            return self._finish(send)
        # Totals may be sent again.
        return not requests or send(requests)[0]

    def _finish(self, send: Send) -> bool:
        """Bring what is unclear to an end."""
        requests = self._ledger.unclear()
        if requests is None:
            return True
        arrived, left = send(requests)
        if left:
            if len(left) < len(requests):
                self._ledger.reduce(left)
            return False
        # What was refused is lost, and counted by who sends.
        self._ledger.commit()
        return arrived
