"""The series that are held where many are: the same names, labels and buckets for every contender."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import Meter
    from prometheus_client import CollectorRegistry

SETS = 1000
"""Attribute sets of one instrument. More instruments make more series, so that no limit on attribute sets
is met by anybody."""

BOUNDARIES = (0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0)
"""The 15 the OpenTelemetry specification has by default."""

NAMES = ("http_request_method", "http_route", "http_response_status_code")


def attributes(index: int) -> dict[str, str | int]:
    """Three attributes, as an HTTP server has them."""
    return {
        "http.request.method": "GET",
        "http.route": f"/api/v1/items/{index % SETS}",
        "http.response.status_code": 200 + index % 5,
    }


def otel_touch(meter: Meter, kind: str, count: int) -> Callable[[int], None]:
    """Make instruments for so many series; gives what records one value to the series of an index."""
    numbers = range(-(-count // SETS))
    if kind == "counter":
        counters = [meter.create_counter(f"bench.requests.{number}") for number in numbers]
        return lambda index: counters[index // SETS].add(1, attributes(index))
    histograms = [
        meter.create_histogram(
            f"bench.duration.{number}", unit="ms", explicit_bucket_boundaries_advisory=list(BOUNDARIES)
        )
        for number in numbers
    ]
    return lambda index: histograms[index // SETS].record(index % 11_000 + 0.5, attributes(index))


def prometheus_touch(registry: CollectorRegistry, kind: str, count: int) -> Callable[[int], None]:
    """As `otel_touch`, with prometheus_client."""
    from prometheus_client import Counter, Histogram

    numbers = range(-(-count // SETS))

    def values(index: int) -> Any:
        return attributes(index).values()

    if kind == "counter":
        counters = [Counter(f"bench_requests_{number}", "Requests", NAMES, registry=registry) for number in numbers]
        return lambda index: counters[index // SETS].labels(*values(index)).inc()
    histograms = [
        Histogram(f"bench_duration_{number}_milliseconds", "Duration", NAMES, registry=registry, buckets=BOUNDARIES)
        for number in numbers
    ]
    return lambda index: histograms[index // SETS].labels(*values(index)).observe(index % 11_000 + 0.5)


def fill(touch: Callable[[int], None], count: int) -> Callable[[], None]:
    """Record once to every series; gives what records to a tenth of them, as happens between two scrapes."""
    for index in range(count):
        touch(index)

    def tenth() -> None:
        for index in range(0, count, 10):
            touch(index)

    return tenth
