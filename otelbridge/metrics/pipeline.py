"""The provider with its readers, as one thing that is started, flushed and stopped."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, TraceBasedExemplarFilter

from otelbridge.concurrency import forks
from otelbridge.diagnostics import origin_of, warn
from otelbridge.metrics.limits import DEFAULT_LIMIT, DEFAULT_SERIES_LIMIT
from otelbridge.metrics.provider import MeterProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource

    from otelbridge.config.options import ExemplarFilter
    from otelbridge.metrics.processes import Processes

_EXEMPLAR_FILTERS = {
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
    "trace_based": TraceBasedExemplarFilter,
}


# Readers that have nothing to wait for still need a moment to stop.
_LEAST_SECONDS = 0.02


@runtime_checkable
class Pusher(Protocol):
    """A reader that pushes by itself while others do, and knows what arrived."""

    def begin_flush(self, timeout_millis: float) -> Callable[[], bool]:
        """Begin to push what is recorded now; give what waits for it and tells whether it arrived in time."""
        ...

    def begin_shutdown(self, timeout_millis: float) -> Callable[[], bool]:
        """Begin to push once more and to stop; give the same."""
        ...


class Pipeline:
    """A meter provider and the readers that take its data out.

    Args:
        resource: The service.
        views: Views, the most important first.
        pull: Readers that are read when somebody asks. A flush leaves them alone.
        push: Readers that send by themselves.
        exemplar_filter: Which measurements may become exemplars.
        cardinality_limit: How many attribute sets a stream keeps apart.
        series_limit: How many all streams keep apart together.
        processes: The group of processes that are seen as one; None keeps to this one.
        hide_secrets: Whether attribute values that look like credentials are hidden.
    """

    def __init__(
        self,
        resource: Resource,
        views: Sequence[View],
        pull: Sequence[MetricReader],
        push: Sequence[MetricReader],
        exemplar_filter: ExemplarFilter,
        *,
        cardinality_limit: int = DEFAULT_LIMIT,
        series_limit: int = DEFAULT_SERIES_LIMIT,
        processes: Processes | None = None,
        hide_secrets: bool = True,
    ) -> None:
        self._push = tuple(push)
        self._ended: bool | None = None
        self.provider = MeterProvider(
            metric_readers=(*pull, *push),
            resource=resource,
            views=views,
            exemplar_filter=_EXEMPLAR_FILTERS[exemplar_filter](),
            shutdown_on_exit=False,
            cardinality_limit=cardinality_limit,
            series_limit=series_limit,
            processes=processes,
            hide_secrets=hide_secrets,
        )

    def force_flush(self, timeout: float) -> bool:
        """Push what is recorded now, to all destinations at the same time.

        Returns:
            Whether every destination acknowledged it.
        """
        # All begin before the first is waited for; others' know no beginning, so theirs has a thread.
        deadline = monotonic() + timeout
        pushes = [_begin_flush(reader, deadline) for reader in self._push]
        arrived = [wait() for wait in pushes]
        return all(arrived)

    def shutdown(self, timeout: float) -> bool:
        """Push once more and stop every reader. Stopping twice is harmless.

        Returns:
            Whether the last push arrived everywhere, and every reader stopped without an error.
        """
        if self._ended is None:
            self._ended = False
            self._ended = self._end(timeout)
        return self._ended

    def _end(self, timeout: float) -> bool:
        deadline = monotonic() + timeout
        pushes = [reader.begin_shutdown(timeout * 1000) for reader in self._push if isinstance(reader, Pusher)]
        arrived = [wait() for wait in pushes]
        try:
            self.provider.end(seconds_left(deadline) * 1000)
        except Exception as error:  # the SDK raises when a reader fails; an exiting application must not
            warn("Stopping the metric readers failed: %s", error)
            return False
        return all(arrived)


def seconds_left(deadline: float) -> float:
    """Give the seconds until a deadline by `time.monotonic`, at least the moment that stopping takes."""
    return max(deadline - monotonic(), _LEAST_SECONDS)


def _begin_flush(reader: MetricReader, deadline: float) -> Callable[[], bool]:
    millis = (deadline - monotonic()) * 1000
    if isinstance(reader, Pusher):
        return reader.begin_flush(millis)
    done, well = forks.event(), [False]

    def flush() -> None:
        try:
            well[0] = reader.force_flush(millis)
        except Exception as error:  # somebody else's reader must not break the application
            warn("Flushing a %s raised %s.", type(reader).__name__, origin_of(error))
        finally:
            done.set()

    try:
        threading.Thread(target=flush, name="otelbridge-flush", daemon=True).start()
    except RuntimeError:  # no thread can be had: at the end of a process (Python 3.12), or at the limit of the system
        flush()
    return lambda: done.wait(max(deadline - monotonic(), 0)) and well[0]
