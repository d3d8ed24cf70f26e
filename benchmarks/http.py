"""What recording adds to a request of a FastAPI application, driven in process, without sockets."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import time
from inspect import signature
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from benchmarks import ours
from benchmarks.model import OURS, Effort, Figure, UnmeasuredError
from benchmarks.peers import create_sdk, readers

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.model import Sampler

    Instrument = Callable[[Any], Callable[[], str]]

INSTRUMENTATOR = "prometheus-fastapi-instrumentator"
OFFICIAL_TWO = "official instrumentation, 2 readers"

_CHUNKS = 10
_SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/items/42",
    "raw_path": b"/items/42",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1"), (b"user-agent", b"benchmark"), (b"accept", b"*/*")],
    "client": ("127.0.0.1", 50_000),
    "server": ("127.0.0.1", 80),
}


def _create_app() -> Any:
    # From 0.165 on FastAPI measures by itself as soon as the process has a meter provider, as it has here: a cost that
    # would be the request's, with every contender.
    native = "telemetry" in signature(FastAPI).parameters
    app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False}) if native else FastAPI()

    @app.get("/items/{item}")
    async def read(item: int) -> dict[str, Any]:
        return {"item": item, "name": "thing", "tags": ["a", "b"]}

    return app


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _requests(app: Any, count: int) -> float:
    """Serve so many requests; gives the CPU microseconds of one."""
    statuses: set[int] = set()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            statuses.add(message["status"])

    begin = time.thread_time()
    for _ in range(count):
        await app({**_SCOPE, "state": {}}, _receive, send)
    taken = time.thread_time() - begin
    if statuses != {200}:
        raise RuntimeError(f"the application answered with {statuses}")
    return taken / count * 1e6


def _added(instrument: Instrument) -> Callable[[Effort], Sampler]:
    def prepare(effort: Effort) -> Sampler:
        bare, recorded = _create_app(), _create_app()
        text = instrument(recorded)
        loop = asyncio.new_event_loop()
        count = max(10, effort.requests // _CHUNKS)

        async def both() -> float:
            # In turns within a sample too: what is looked for is a tenth of what the request itself costs.
            pairs = [(await _requests(bare, count), await _requests(recorded, count)) for _ in range(_CHUNKS)]
            return statistics.median(more - less for less, more in pairs)

        def sample() -> float:
            gc.collect()
            return loop.run_until_complete(both())

        sample()
        if "/items/{item}" not in text():
            raise RuntimeError("nothing was recorded of the requests")
        return sample

    return prepare


def _bare(effort: Effort) -> Sampler:
    app, loop = _create_app(), asyncio.new_event_loop()
    loop.run_until_complete(_requests(app, 100))

    def sample() -> float:
        gc.collect()
        return loop.run_until_complete(_requests(app, effort.requests))

    return sample


def _ours(app: Any) -> Callable[[], str]:
    return ours.start(app=app).render


def _instrumentator(app: Any) -> Callable[[], str]:
    from prometheus_client import CollectorRegistry, generate_latest

    try:
        from prometheus_fastapi_instrumentator import Instrumentator
    except ImportError as error:
        raise UnmeasuredError(f"the peer is not installed: pip install {INSTRUMENTATOR}") from error
    registry = CollectorRegistry()
    Instrumentator(registry=registry).instrument(app)
    return lambda: generate_latest(registry).decode()


def _official(count: int) -> Instrument:
    def instrument(app: Any) -> Callable[[], str]:
        # The same generation of names as ours; read when the instrumentation is imported.
        os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "http"
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
        from opentelemetry.trace import NoOpTracerProvider
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        provider = create_sdk(readers(count, registry))
        FastAPIInstrumentor.instrument_app(app, meter_provider=provider, tracer_provider=NoOpTracerProvider())
        return lambda: generate_latest(registry).decode()

    return instrument


FIGURES = (
    Figure(
        "http.added",
        "CPU time that recording adds to a JSON request of a FastAPI application (metrics on, traces off)",
        "us",
        {
            OURS: _added(_ours),
            INSTRUMENTATOR: _added(_instrumentator),
            "official instrumentation, 1 reader": _added(_official(1)),
            OFFICIAL_TWO: _added(_official(2)),
        },
    ),
    Figure("http.bare", "The same request with nothing recorded, to compare with", "us", {"no metrics": _bare}),
)
