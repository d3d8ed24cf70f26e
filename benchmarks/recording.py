"""What one measurement costs the thread that records it."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmarks import ours
from benchmarks.measure import loop_sampler
from benchmarks.model import OURS, Effort, Figure
from benchmarks.peers import HELD, LABELS, MULTIPROCESS, SDK_ONE, SDK_TWO, choose_multiprocess, create_sdk, readers
from benchmarks.series import BOUNDARIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider

    from benchmarks.model import Sampler

    Prepare = Callable[[Effort], Sampler]

_ATTRIBUTES = {"http.request.method": "GET", "http.route": "/items/{id}", "http.response.status_code": 200}
_VALUES = ("GET", "/items/{id}", "200")
_LABEL_NAMES = ("method", "route", "status")

# How each kind is recorded by name of the method, with the value, in OpenTelemetry and in prometheus_client.
_CALLS = {"counter": ("add", "inc", "1"), "histogram": ("record", "observe", "37.5"), "gauge": ("set", "set", "1.5")}


_TURNS = 3
_OPTIONS: dict[str, dict[str, Any]] = {
    "histogram": {"buckets": BOUNDARIES},
    "gauge": {"multiprocess_mode": "mostrecent"},
}


def _instrument(provider: MeterProvider, kind: str) -> Any:
    return getattr(provider.get_meter("bench"), f"create_{kind}")(f"bench.{kind}")


def _ours(kind: str, *, bound: bool) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        instrument = _instrument(ours.create_provider(readers(2)), kind)
        target = ours.bind(instrument, dict(_ATTRIBUTES)) if bound else instrument
        return _otel_loop(target, kind, effort, attributes=not bound)

    return prepare


def _sdk(kind: str, count: int) -> Prepare:
    return lambda effort: _otel_loop(_instrument(create_sdk(readers(count)), kind), kind, effort, attributes=True)


def _otel_loop(target: Any, kind: str, effort: Effort, *, attributes: bool) -> Sampler:
    method, _, value = _CALLS[kind]
    # The literal makes a new dict a call, as callers do.
    arguments = f"{value}, {_ATTRIBUTES!r}" if attributes else value
    return loop_sampler(f"f({arguments})", {"f": getattr(target, method)}, effort.seconds)


def _prometheus(kind: str, *, held: bool, multiprocess: bool = False) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        if multiprocess:
            choose_multiprocess()
        import prometheus_client

        _, method, value = _CALLS[kind]
        options = _OPTIONS.get(kind, {})
        metric = getattr(prometheus_client, kind.capitalize())(f"bench_{kind}", "Bench", _LABEL_NAMES, **options)
        if held:
            return loop_sampler(f"f({value})", {"f": getattr(metric.labels(*_VALUES), method)}, effort.seconds)
        labels = ", ".join(map(repr, _VALUES))
        return loop_sampler(f"metric.labels({labels}).{method}({value})", {"metric": metric}, effort.seconds)

    return prepare


def _second_reader(create: Callable[[Any], MeterProvider]) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        # Both in one process, in many short turns: the difference looked for is smaller than that between two
        # processes of the same program.
        short = replace(effort, seconds=effort.seconds / 4)
        one, two = (
            _otel_loop(_instrument(create(readers(n)), "counter"), "counter", short, attributes=True) for n in (1, 2)
        )

        def sample() -> float:
            first = [two() / one() for _ in range(_TURNS)]
            # The other way round too, in case that one of a pair gains by coming second.
            second = [1 / (one() / two()) for _ in range(_TURNS)]
            return statistics.median(first + second)

        return sample

    return prepare


def _figure(kind: str, *, bound: bool) -> Figure:
    how = "through a handle of its series" if bound else "with a dict of 3 attributes"
    prometheus = HELD if bound else LABELS
    return Figure(
        f"recording.{kind}_{'bound' if bound else 'dict'}",
        f"One recording to a {kind} {how}",
        "ns",
        {
            OURS: _ours(kind, bound=bound),
            prometheus: _prometheus(kind, held=bound),
            MULTIPROCESS: _prometheus(kind, held=bound, multiprocess=True),
            SDK_ONE: _sdk(kind, 1),
            SDK_TWO: _sdk(kind, 2),
        },
    )


FIGURES = (
    *(_figure(kind, bound=bound) for bound in (True, False) for kind in ("counter", "histogram", "gauge")),
    Figure(
        "recording.second_reader",
        "A counter with 3 attributes under two readers, as a multiple of one",
        "x",
        {OURS: _second_reader(ours.create_provider), "OpenTelemetry SDK": _second_reader(create_sdk)},
    ),
)
