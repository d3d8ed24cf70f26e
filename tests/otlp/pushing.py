"""Readers that push to a receiver, and what that receiver has got."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.resources import Resource

from otelbridge.config.options import Otlp
from otelbridge.metrics.pipeline import Pipeline
from otelbridge.metrics.provider import MeterProvider
from otelbridge.otlp.delivery import Delivery
from otelbridge.otlp.grpc import GrpcTransport
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.preferences import preferences
from otelbridge.otlp.push import PushReader
from otelbridge.otlp.reader import create_otlp_reader
from tests.leftovers import memory_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from otelbridge.otlp.clock import Clock

PROVIDERS = {"ours": MeterProvider, "the SDK's": sdk.MeterProvider}
NEVER = 3600.0
# What a slow machine may add. A time that is not kept is missed by far here.
SLACK = 15.0


def destination(url: str, **settings: Any) -> Otlp:
    """A destination to which nothing is pushed unless somebody asks."""
    return Otlp(**{"metrics_endpoint": url, "traces_endpoint": url, "interval": NEVER, "timeout": 5.0, **settings})


def reader(url: str, **settings: Any) -> PushReader:
    """A reader as `otelbridge.init` makes it."""
    return create_otlp_reader(destination(url, **settings))


def timeless_reader(url: str, clock: Clock, *, max_request: int = 4 << 20, **settings: Any) -> PushReader:
    """A reader whose retries, pauses and log lines go by a clock."""
    otlp = destination(url, **settings)
    transport = {"http/protobuf": HttpTransport, "grpc": GrpcTransport}[otlp.protocol](otlp)
    delivery = Delivery(transport, "http://receiver", clock=clock)
    return PushReader(
        delivery, interval=otlp.interval, timeout=otlp.timeout, max_request=max_request, **preferences(otlp)
    )


def pipeline(*readers: Any) -> Pipeline:
    """A provider with readers that push."""
    return Pipeline(Resource({"service.name": "shop"}), [], [], readers, "trace_based")


def points(bodies: Iterable[bytes]) -> dict[str, list[tuple[dict[str, str], Any]]]:
    """Attributes and values of all points by metric, in the order in which they came."""
    found: dict[str, list[tuple[dict[str, str], Any]]] = {}
    for body in bodies:
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    where = {each.key: each.value.string_value for each in point.attributes}
                    found.setdefault(metric.name, []).append((where, _value(point)))
    return found


def _value(point: Any) -> Any:
    if hasattr(point, "count"):
        return point.count, point.sum
    return getattr(point, point.WhichOneof("value"))


def last(bodies: Iterable[bytes]) -> dict[str, Any]:
    """The values that came last, by metric; of a metric with attributes the last point."""
    return {name: values[-1][1] for name, values in points(bodies).items()}


def sums(bodies: Iterable[bytes]) -> Counter[str]:
    """The sum of all values by metric, as it is meant where they are deltas."""
    return Counter({name: sum(value for _, value in values) for name, values in points(bodies).items()})


@dataclass
class Timed:
    """What a call gave, and how long it took."""

    result: Any
    seconds: float


def timed(call: Callable[[], Any]) -> Timed:
    """Call and look at the clock."""
    begun = time.monotonic()
    result = call()
    return Timed(result, time.monotonic() - begun)


@contextmanager
def run_directory() -> Iterator[str]:
    """A directory for groups, which goes with its test, in memory where the system has that."""
    with memory_directory("push-") as directory:
        yield str(directory)


def eventually(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something holds; fail when it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.01)
