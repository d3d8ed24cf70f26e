"""A place among the span processors of a tracer provider, which takes processors in and never lets one out."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from opentelemetry.sdk.trace import SpanProcessor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider


class Seat(SpanProcessor):
    """Passes spans on to whoever has the place now."""

    def __init__(self) -> None:
        self.taken_by: Sequence[SpanProcessor] = ()
        """Processors that get the spans."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """See the SDK's."""
        for processor in self.taken_by:
            processor.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """See the SDK's."""
        for processor in self.taken_by:
            processor.on_end(span)

    def shutdown(self) -> None:
        """See the SDK's."""
        for processor in self.taken_by:
            processor.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See the SDK's."""
        flushed = [processor.force_flush(timeout_millis) for processor in self.taken_by]
        return all(flushed)

    def leave(self, processors: Sequence[SpanProcessor]) -> None:
        """Give the place up, unless others have it by now.

        Args:
            processors: Those that had it.
        """
        if self.taken_by is processors:
            self.taken_by = ()


_seats: WeakKeyDictionary[TracerProvider, Seat] = WeakKeyDictionary()


def has_seat(provider: TracerProvider) -> bool:
    """Tell whether a provider has a seat, that is, was used by us before."""
    return provider in _seats


def seat_at(provider: TracerProvider) -> Seat:
    """Give the seat at a provider, always the same one.

    Args:
        provider: The SDK's.
    """
    seat = _seats.get(provider)
    if seat is None:
        seat = _seats[provider] = Seat()
        provider.add_span_processor(seat)
    return seat
