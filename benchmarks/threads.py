"""Several threads on one series: how fast, and whether anything is lost."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks import ours
from benchmarks.model import OURS, Effort, Figure
from benchmarks.peers import HELD, SDK_TWO, create_sdk, readers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import MeterProvider

    from benchmarks.model import Sampler

    Prepare = Callable[[Effort], Sampler]
    Loop = Callable[[int], object]

_THREADS = 4
_ATTRIBUTES = {"route": "/items/{id}"}
_SWITCH_SECONDS = 1e-6


def _run(loop: Loop, threads: int, total: int) -> float:
    """Give the wall time in which so many threads do so many calls together."""
    barrier = threading.Barrier(threads + 1)

    def work() -> None:
        barrier.wait()
        loop(total // threads)

    started = [threading.Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    # Before they are let go: afterwards this thread would have to wait for its turn among them.
    begin = time.perf_counter()
    barrier.wait()
    for thread in started:
        thread.join()
    return time.perf_counter() - begin


def _loop(call: Callable[..., object], *arguments: object) -> Loop:
    def loop(count: int) -> None:
        for _ in range(count):
            call(*arguments)

    return loop


def _scaling(loop: Loop, effort: Effort) -> Sampler:
    count = 4000
    # Long enough for threads to take many turns, of 5 ms by default.
    total = max(count, int(count * 2 * effort.seconds / _run(loop, 1, count))) // _THREADS * _THREADS

    def sample() -> float:
        before = _run(loop, 1, total)
        together = _run(loop, _THREADS, total)
        return (before + _run(loop, 1, total)) / 2 / together

    return sample


def _otel_loop(provider: MeterProvider, kind: str, *, bound: bool) -> Loop:
    meter = provider.get_meter("bench")
    instrument: Any = meter.create_counter("bench.c") if kind == "counter" else meter.create_histogram("bench.h")
    target = ours.bind(instrument, dict(_ATTRIBUTES)) if bound else instrument
    call = target.add if kind == "counter" else target.record
    return _loop(call, 1) if bound else _loop(call, 1, _ATTRIBUTES)


def _otel_scaling(create: Callable[[Any], MeterProvider], kind: str, *, bound: bool) -> Prepare:
    return lambda effort: _scaling(_otel_loop(create(readers(2)), kind, bound=bound), effort)


def _prometheus_scaling(kind: str) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        import prometheus_client

        if kind == "counter":
            return _scaling(_loop(prometheus_client.Counter("c", "c", ["route"]).labels("/items/{id}").inc), effort)
        return _scaling(_loop(prometheus_client.Histogram("h", "h", ["route"]).labels("/").observe, 1), effort)

    return prepare


def _lost(create: Callable[[Any], MeterProvider], kind: str, *, bound: bool) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        reader = InMemoryMetricReader()
        loop = _otel_loop(create([reader]), kind, bound=bound)
        total = max(4000, int(effort.seconds * 1e6)) // _THREADS * _THREADS
        recorded = 0
        # As often as possible, so that a read and its write are torn apart if they can be.
        sys.setswitchinterval(_SWITCH_SECONDS)

        def sample() -> float:
            nonlocal recorded
            _run(loop, _THREADS, total)
            recorded += total
            return recorded - _total(reader)

        return sample

    return prepare


def _total(reader: InMemoryMetricReader) -> float:
    return sum(getattr(point, "count", None) or getattr(point, "value", 0) for point in _points(reader))


def _points(reader: InMemoryMetricReader) -> Iterator[Any]:
    data = reader.get_metrics_data()
    for resource_metrics in data.resource_metrics if data else ():
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                yield from metric.data.data_points


def _scaling_figure(kind: str) -> Figure:
    return Figure(
        f"threads.{kind}_scaling",
        f"Throughput of 4 threads on one {kind} series through a handle, as a multiple of one thread's",
        "x",
        {
            OURS: _otel_scaling(ours.create_provider, kind, bound=True),
            HELD: _prometheus_scaling(kind),
            SDK_TWO: _otel_scaling(create_sdk, kind, bound=False),
        },
        higher_is_better=True,
    )


def _lost_figure(kind: str) -> Figure:
    return Figure(
        f"threads.{kind}_lost",
        f"Recordings of 4 threads to one {kind} series that are missing in the end",
        "recordings",
        {
            OURS: _lost(ours.create_provider, kind, bound=True),
            f"{OURS}, with a dict": _lost(ours.create_provider, kind, bound=False),
            "OpenTelemetry SDK": _lost(create_sdk, kind, bound=False),
        },
    )


FIGURES = tuple(make(kind) for make in (_scaling_figure, _lost_figure) for kind in ("counter", "histogram"))
