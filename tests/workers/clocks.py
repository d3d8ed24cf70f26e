"""A process whose clock somebody sets: ``python -m tests.workers.clocks``.

Before every scrape the clock is set an hour forth or back. What matters goes on by the monotonic clock.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

_HOUR_NS = 3_600_000_000_000
_STEPS = (0, _HOUR_NS, -_HOUR_NS, -_HOUR_NS, _HOUR_NS, 0, -2 * _HOUR_NS)

_real_ns = time.time_ns
_offset_ns = 0


def _time_ns() -> int:
    return _real_ns() + _offset_ns


def _negative(data: Any) -> list[str]:
    """The points that end before they begin."""
    return [
        f"{metric['name']} lasts from {point['start_time_unix_nano']} to {point['time_unix_nano']}"
        for resource in data["resource_metrics"]
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
        for point in metric["data"]["data_points"]
        if point.get("start_time_unix_nano") and point["start_time_unix_nano"] > point["time_unix_nano"]
    ]


def main() -> None:
    global _offset_ns
    time.time_ns = _time_ns
    time.time = lambda: _time_ns() / 1e9
    # Only now, since these take the clock's functions for their own.
    from opentelemetry.sdk.metrics import Counter, Histogram
    from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader

    from tests.workers import service
    from tests.workers.load import Answer, Watch, counters, total

    bridge = service.start()
    delta = AggregationTemporality.DELTA
    readers = [InMemoryMetricReader(), InMemoryMetricReader({Counter: delta, Histogram: delta})]
    for reader in readers:
        bridge._pipeline.provider.add_metric_reader(reader)
    watch = Watch(0)
    negative: list[str] = []
    for step in _STEPS:
        _offset_ns = step
        service.work()
        watch.take(Answer(200, service.scrape(), 0))
        for reader in readers:
            negative += _negative(json.loads(reader.get_metrics_data().to_json()))
    shown = counters(service.scrape().decode())
    result = {
        "faults": watch.faults,
        "negative": negative,
        "begun": json.loads(service.status())["begun"],
        "steps": len(_STEPS),
        "jobs": total(shown, "service_jobs_total", kind="common"),
    }
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
