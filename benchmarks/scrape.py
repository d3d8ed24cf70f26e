"""What a scrape costs, and what it does to the event loop it is served from."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import metrics

from benchmarks import ours
from benchmarks.measure import cpu_sampler
from benchmarks.model import OURS, Effort, Figure, UnmeasuredError
from benchmarks.peers import PROMETHEUS, SDK_ONE, create_sdk, readers
from benchmarks.series import fill, otel_touch, prometheus_touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.model import Sampler

    Prepare = Callable[[Effort], Sampler]
    Scrape = Callable[[], str | bytes]

_SHOWN = {"counter": r"^bench_requests_\d+_total\{", "histogram": r"^bench_duration_\d+_milliseconds_count\{"}
"""One line of each series."""

_TICK = 0.001
_TOO_LONG_MILLIS = 400.0
_SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": []}


def _ours(kind: str) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        bridge = ours.start()
        tenth = fill(otel_touch(metrics.get_meter("bench"), kind, effort.series), effort.series)
        return _whole(bridge.render, tenth, kind, effort.series)

    return prepare


def _sdk(kind: str) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        meter = create_sdk(readers(1, registry)).get_meter("bench")
        tenth = fill(otel_touch(meter, kind, effort.series), effort.series)
        return _whole(lambda: generate_latest(registry), tenth, kind, effort.series)

    return prepare


def _prometheus(kind: str) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        tenth = fill(prometheus_touch(registry, kind, effort.series), effort.series)
        return _whole(lambda: generate_latest(registry), tenth, kind, effort.series)

    return prepare


def _whole(scrape: Scrape, before: Callable[[], None], kind: str, series: int) -> Sampler:
    """Time a scrape that shows all series, whatever limits there are."""
    _check(scrape(), kind, series)
    return _warm(cpu_sampler(scrape, before))


def _check(page: str | bytes, kind: str, series: int) -> None:
    text = page if isinstance(page, str) else page.decode()
    shown = len(re.findall(_SHOWN[kind], text, re.MULTILINE))
    if shown != series:
        raise UnmeasuredError(f"the scrape shows {shown} of {series} series")


def _warm(sample: Sampler) -> Sampler:
    sample()  # the first scrape of a process may make what later ones use again
    return sample


def _growth(kind: str) -> Prepare:
    """Time a series with many series, as a multiple of that with a tenth of them."""

    def prepare(effort: Effort) -> Sampler:
        bridge = ours.start()
        few, many = effort.many_series // 10, effort.many_series
        touch = otel_touch(metrics.get_meter("bench"), kind, many)
        fill(touch, few)
        scrape = _warm(cpu_sampler(bridge.render))
        small = min(scrape() for _ in range(5))
        if small > _TOO_LONG_MILLIS:
            raise UnmeasuredError(f"a scrape of {few} series takes {small:.0f} ms, one of {many} too long for this run")
        fill(touch, many)
        _check(bridge.render(), kind, many)
        _warm(scrape)
        return lambda: scrape() / small / (many / few)

    return prepare


def _stall(create: Callable[[Effort], Any]) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        endpoint = create(effort)
        loop = asyncio.new_event_loop()

        def sample() -> float:
            return loop.run_until_complete(_worst_delay(endpoint))

        return _warm(sample)

    return prepare


async def _worst_delay(endpoint: Any) -> float:
    """Scrape once; gives the worst delay of a 1 ms tick meanwhile, in milliseconds."""
    worst = 0.0
    done = False

    async def tick() -> None:
        nonlocal worst
        while not done:
            begin = time.perf_counter()
            await asyncio.sleep(_TICK)
            worst = max(worst, time.perf_counter() - begin - _TICK)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    statuses: list[int] = []

    async def send(message: dict[str, Any]) -> None:
        if "status" in message:
            statuses.append(message["status"])

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(10 * _TICK)
    worst = 0.0
    await endpoint(dict(_SCOPE), receive, send)
    await asyncio.sleep(3 * _TICK)
    done = True
    await ticking
    if statuses != [200]:
        raise RuntimeError(f"the scrape was answered with {statuses}")
    return worst * 1e3


def _our_endpoint(effort: Effort) -> Any:
    bridge = ours.start()
    fill(otel_touch(metrics.get_meter("bench"), "histogram", effort.series), effort.series)
    return bridge.endpoint


def _upstream_endpoint(effort: Effort) -> Any:
    from prometheus_client import CollectorRegistry
    from prometheus_client.asgi import make_asgi_app  # pyright: ignore[reportUnknownVariableType]

    registry = CollectorRegistry()
    meter = create_sdk(readers(1, registry)).get_meter("bench")
    fill(otel_touch(meter, "histogram", effort.series), effort.series)
    return cast("Any", make_asgi_app)(registry)


FIGURES = (
    *(
        Figure(
            f"scrape.{kind}s",
            f"One scrape of 10 000 {kind} series",
            "ms",
            {OURS: _ours(kind), PROMETHEUS: _prometheus(kind), SDK_ONE: _sdk(kind)},
            heavy=True,
        )
        for kind in ("counter", "histogram")
    ),
    *(
        Figure(
            f"scrape.{kind}s_growth",
            f"A scrape of 100 000 {kind} series, a series, as a multiple of one of 10 000",
            "x",
            {OURS: _growth(kind)},
            heavy=True,
        )
        for kind in ("counter", "histogram")
    ),
    Figure(
        "scrape.stall",
        "Worst delay of the event loop while 10 000 histogram series are scraped from it (wall time)",
        "ms",
        {OURS: _stall(_our_endpoint), "make_asgi_app with the OpenTelemetry SDK": _stall(_upstream_endpoint)},
        heavy=True,
    ),
)
