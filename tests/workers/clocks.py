"""A process whose clock somebody sets: ``python -m tests.workers.clocks``.

Before every scrape, and again in the middle of every collection, the clock is set an hour forth or back.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_HOUR_NS = 3_600_000_000_000
_STEPS = (0, _HOUR_NS, -_HOUR_NS, -_HOUR_NS, _HOUR_NS, 0, -2 * _HOUR_NS)

_real_ns = time.time_ns
_offset_ns = 0


def _time_ns() -> int:
    return _real_ns() + _offset_ns


def _set_forth_and_back(_: Any) -> list[Any]:
    """Set the clock, as a callback that is run in the middle of a collection."""
    global _offset_ns
    _offset_ns = -_HOUR_NS if _offset_ns > 0 else _offset_ns + _HOUR_NS
    return []


def _negative(streams: Iterable[tuple[str, Iterable[Any]]]) -> list[str]:
    """The points that end before they begin."""
    return [
        f"{name} lasts from {point.start_time_unix_nano} to {point.time_unix_nano}"
        for name, points in streams
        for point in points
        if point.start_time_unix_nano and point.start_time_unix_nano > point.time_unix_nano
    ]


def _streams(data: Any) -> Iterable[tuple[str, Iterable[Any]]]:
    for resource_metrics in data.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                yield metric.name, metric.data.data_points


def main() -> None:
    global _offset_ns
    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 1e9
    # Only now, since these take the clock's functions for their own.
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
    from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

    from otelbridge.metrics.current import Current
    from tests.workers import service
    from tests.workers.load import Answer, Watch, counters, total

    provider = service.start()._pipeline.provider
    metrics.get_meter("clocks").create_observable_gauge("clock.set", [_set_forth_and_back])
    deltas = dict.fromkeys((Counter, Histogram, ObservableCounter), AggregationTemporality.DELTA)
    readers = [InMemoryMetricReader(), InMemoryMetricReader(deltas)]
    for reader in readers:
        provider.add_metric_reader(reader)
    watch, current = Watch(0), Current()
    negative: list[str] = []
    begun: set[int] = set()
    for step in _STEPS:
        _offset_ns = step
        service.work()
        watch.take(Answer(200, service.scrape(), 0))
        for reader in readers:
            negative += _negative(_streams(reader.get_metrics_data()))
        # What is pushed is read in this way.
        _, streams = provider.visit(readers[0], current.read)
        lasting = [(stream.name, stream.points) for stream in streams if stream.kind != "last"]
        negative += _negative(lasting)
        begun |= {point.start_time_unix_nano for _, points in lasting for point in points}
    shown = counters(service.scrape().decode())
    result = {
        "faults": watch.faults,
        "negative": negative,
        "begun": sorted(begun),
        "steps": len(_STEPS),
        "jobs": total(shown, "service_jobs_total", kind="common"),
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
