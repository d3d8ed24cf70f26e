"""Worker processes with a provider each, that do what they are told: several of them are one group."""

from __future__ import annotations

import multiprocessing
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from otelbridge.metrics.limits import with_limits
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

VERBS = {"counter": "add", "up_down_counter": "add", "histogram": "record", "gauge": "set"}


class _Told:
    """What a worker process can be told to do."""

    def __init__(self, directory: Path, views: list[dict[str, Any]], limit: int) -> None:
        self.processes = Processes("group-test", directory)
        self.reader = InMemoryMetricReader()
        self.own = InMemoryMetricReader(
            preferred_temporality=dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)
        )
        self.provider = MeterProvider(
            [self.reader, self.own],
            views=[View(**view) for view in views],
            processes=self.processes,
            cardinality_limit=limit,
            shutdown_on_exit=False,
        )
        self.meter = self.provider.get_meter("lib", "1.0", "https://schema.test/1", {"scope.key": "v"})
        self.observed: dict[str, list[Observation]] = {}
        self.handles: dict[Any, Any] = {}

    def record(self, kind: str, name: str, amounts: list[float], attributes: Any = None) -> None:
        instrument = getattr(self.meter, f"create_{kind}")(name, unit="s", description="D.")
        for amount in amounts:
            getattr(instrument, VERBS[kind])(amount, attributes)

    def remove(self, kind: str, name: str, attributes: Any = None) -> None:
        getattr(self.meter, f"create_{kind}")(name, unit="s", description="D.").remove(attributes)

    def hold(self, kind: str, name: str, amounts: list[float], attributes: Any = None) -> None:
        """Record by a handle that is kept."""
        instrument = getattr(self.meter, f"create_{kind}")(name, unit="s", description="D.")
        handle = self.handles.setdefault((name, str(attributes)), instrument.bind(attributes))
        for amount in amounts:
            getattr(handle, VERBS[kind])(amount)

    def limit(self, limits: dict[str, int]) -> None:
        """Add a reader that has limits of its own, which `collect_limited` reads."""
        self.limited = with_limits(InMemoryMetricReader(), limits)
        self.provider.add_metric_reader(self.limited)

    def collect_limited(self) -> dict[str, Any]:
        return simplified(self.limited.get_metrics_data())

    def held(self) -> int:
        return self.provider.held

    def observe(self, kind: str, name: str, *readings: tuple[float, Any]) -> None:
        if name not in self.observed:
            getattr(self.meter, f"create_observable_{kind}")(name, [lambda _: self.observed[name]])
        self.observed[name] = [Observation(*reading) for reading in readings]

    def collect(self) -> dict[str, Any]:
        return simplified(self.reader.get_metrics_data())

    def collect_own(self) -> dict[str, Any]:
        return simplified(self.own.get_metrics_data())

    def started(self) -> int:
        return self.processes.started

    def degraded(self) -> str:
        return self.processes.degraded

    def fork(self) -> int:
        """Fork a child that records one to the counter `forked` and is killed."""
        self.record("counter", "forked", [10])
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                self.record("counter", "forked", [1])
            os.kill(os.getpid(), signal.SIGKILL)
        return os.waitpid(child, 0)[1]

    def fork_and_remove(self) -> int:
        """Fork a child that removes what the parent has, records one to it, and is killed."""
        self.record("counter", "forked", [10], {"k": "v"})
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                self.remove("counter", "forked", {"k": "v"})
                self.record("counter", "forked", [1], {"k": "v"})
            os.kill(os.getpid(), signal.SIGKILL)
        return os.waitpid(child, 0)[1]

    def tidy(self) -> int:
        self.processes._tidy()
        return self.processes.folded

    def shutdown(self) -> None:
        self.provider.shutdown()


def simplified(data: Any) -> dict[str, Any]:
    """Values by metric name and sorted attributes; histograms as (count, sum, bucket counts, min, max)."""
    found: dict[str, Any] = {}
    for resource_metrics in data.resource_metrics if data else ():
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                assert metric.name not in found, f"{metric.name} is there twice"
                points = found[metric.name] = {}
                for point in metric.data.data_points:
                    key = tuple(sorted(point.attributes.items()))
                    assert key not in points, f"{metric.name} repeats {key}"
                    points[key] = _value(point)
    return found


def _value(point: Any) -> Any:
    if hasattr(point, "value"):
        return point.value
    if hasattr(point, "bucket_counts"):
        return (point.count, point.sum, tuple(point.bucket_counts), point.min, point.max)
    return (point.count, point.sum, point.zero_count, sum(point.positive.bucket_counts), point.min, point.max)


def _run(connection: Connection, directory: Path, views: list[dict[str, Any]], limit: int) -> None:
    told = _Told(directory, views, limit)
    while True:
        command, arguments = connection.recv()
        connection.send(getattr(told, command)(*arguments))
        if command == "shutdown":
            return


class Worker:
    """One worker process."""

    def __init__(self, directory: Path, views: list[dict[str, Any]], limit: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=_run, args=(theirs, directory, views, limit), daemon=True)
        self.process.start()

    def __call__(self, command: str, *arguments: Any) -> Any:
        self._connection.send((command, arguments))
        assert self._connection.poll(30), f"{command} takes for ever"
        return self._connection.recv()

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        self.process.kill()
        self.process.join()

    def shutdown(self) -> None:
        """End it in order."""
        self("shutdown")
        self.process.join()


EXPONENTIAL = ExponentialBucketHistogramAggregation()
