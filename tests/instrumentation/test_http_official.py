"""Beside the official instrumentations, in any order: their spans, our metrics, nothing twice."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.propagate import get_global_textmap, set_global_textmap
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from otelbridge.catalogue import http as catalogue
from otelbridge.diagnostics import forget_warnings
from otelbridge.instrumentation.http import instrument_http
from otelbridge.metrics.switch import switch

DURATION = catalogue.SERVER_REQUEST_DURATION.name
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = (b"traceparent", f"00-{TRACE}-b7ad6b7169203331-01".encode())
SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/users/7",
    "scheme": "http",
    "http_version": "1.1",
    "query_string": b"",
    "headers": [TRACEPARENT],
    "server": ("127.0.0.1", 80),
}


@pytest.fixture(autouse=True)
def _warnings_anew() -> None:
    forget_warnings()


@pytest.fixture
def tracers():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, provider


def ask(app: Any, **more: Any) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: dict[str, Any]) -> None: ...

    asyncio.run(app({**SCOPE, **more}, receive, send))


def _user(request: Any) -> PlainTextResponse:
    return PlainTextResponse("user")


def _fastapi() -> FastAPI:
    app = FastAPI()
    app.get("/users/{number}")(lambda number: number)
    return app


def server_spans(exporter: InMemorySpanExporter) -> list[tuple[str, str, bool]]:
    """Name, trace and whether the parent is the client's, of each span of a request."""
    return [
        (span.name, trace.format_trace_id(span.context.trace_id), span.parent is not None and span.parent.is_remote)
        for span in exporter.get_finished_spans()
        if span.kind is trace.SpanKind.SERVER
    ]


def requests(recorded: Any) -> list[tuple[str | None, int]]:
    """Routes and counts, of whatever scope recorded them; fails where two did."""
    return [(attributes.get("http.route"), count) for attributes, (count, _) in recorded.points(DURATION)]


@pytest.mark.parametrize("order", ["before", "after"])
def test_fastapi_instrumentor_in_either_order(order, recorded, tracers) -> None:
    exporter, provider = tracers
    app = _fastapi()
    registrations: list[Any] = []
    steps = [
        lambda: FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, meter_provider=switch),
        lambda: registrations.append(instrument_http(app)),
    ]
    for step in steps if order == "before" else reversed(steps):
        step()
    ask(app)
    registrations[0].close()
    FastAPIInstrumentor.uninstrument_app(app)
    assert server_spans(exporter) == [("GET /users/{number}", TRACE, True)]
    assert requests(recorded) == [("/users/{number}", 1)]


def test_who_does_what_is_said(recorded, tracers, caplog) -> None:
    app = _fastapi()
    FastAPIInstrumentor.instrument_app(app, tracer_provider=tracers[1], meter_provider=switch)
    with caplog.at_level("INFO", "otelbridge"):
        instrument_http(app, tracer_provider=tracers[1]).close()
    assert "its spans stay that one's, its metrics are otelbridge's" in caplog.text
    FastAPIInstrumentor.uninstrument_app(app)


def _around(app: Starlette, official: Any) -> Any:
    return official(app)


def _further_out(app: Starlette, official: Any) -> Any:
    return official(GZipMiddleware(CORSMiddleware(app)))


def _inside(app: Starlette, official: Any) -> Any:
    app.add_middleware(official)
    return app


def _below(app: Starlette, official: Any) -> Any:
    app.router.routes[:] = [Mount("/", app=official(Starlette(routes=[*app.router.routes])))]
    return app


@pytest.mark.parametrize("place", [_around, _further_out, _inside, _below])
def test_the_middleware_wherever_it_stands(place, recorded, tracers) -> None:
    exporter, provider = tracers
    app = Starlette(routes=[Route("/users/{number}", _user)])
    registration = instrument_http(app)
    served = place(app, lambda inner: OpenTelemetryMiddleware(inner, tracer_provider=provider, meter_provider=switch))
    ask(served)
    registration.close()
    ((_, trace_id, remote),) = server_spans(exporter)
    assert (trace_id, remote) == (TRACE, True)
    assert requests(recorded) == [("/users/{number}", 1)]


def test_what_is_not_measured_here_goes_on_being_measured_there(recorded, tracers) -> None:
    mine = Starlette(routes=[Route("/users/{number}", _user)])
    registration = instrument_http(mine)
    theirs = OpenTelemetryMiddleware(
        Starlette(routes=[Route("/users/{number}", _user)]), tracer_provider=tracers[1], meter_provider=switch
    )
    ask(theirs)
    assert sum(count for _, count in requests(recorded)) == 1
    registration.close()


def test_what_leads_nowhere_is_no_measured_application(recorded, tracers) -> None:
    """However its attributes look."""

    class Endless:
        @property
        def app(self) -> Endless:
            return self

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("endless")(scope, receive, send)

    registration = instrument_http(Starlette())
    ask(OpenTelemetryMiddleware(Endless(), tracer_provider=tracers[1], meter_provider=switch))
    registration.close()
    assert [count for _, count in requests(recorded)] == [1]


def test_a_provider_of_their_own_gets_its_metrics(recorded, tracers) -> None:
    reader = InMemoryMetricReader()
    own = MeterProvider([reader], shutdown_on_exit=False)
    app = Starlette(
        routes=[Route("/users/{number}", _user)],
        middleware=[Middleware(OpenTelemetryMiddleware, tracer_provider=tracers[1], meter_provider=own)],
    )
    registration = instrument_http(app)
    ask(app)
    registration.close()
    names = {
        metric.name
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert DURATION in names
    assert requests(recorded) == [("/users/{number}", 1)]


@dataclasses.dataclass
class Propagator(TraceContextTextMapPropagator):
    """One without a hash, as a dataclass is."""

    option: int = 1


@pytest.mark.parametrize("official", [False, True])
def test_a_propagator_without_a_hash_works(official, recorded, tracers, caplog) -> None:
    exporter, provider = tracers
    seen = []

    async def user(request: Any) -> PlainTextResponse:
        seen.append(trace.format_trace_id(trace.get_current_span().get_span_context().trace_id))
        return PlainTextResponse("user")

    app = Starlette(routes=[Route("/users/{number}", user)])
    before = get_global_textmap()
    set_global_textmap(Propagator())
    try:
        registration = instrument_http(app, tracer_provider=provider if official else None)
        ask(app)
        registration.close()
    finally:
        set_global_textmap(before)
    assert seen == [TRACE]
    assert len(server_spans(exporter)) == official
    assert caplog.messages == []


def test_instruments_of_the_global_provider_are_known_by_their_real_ones(recorded) -> None:
    """Those that were made before there was a provider record by way of the API's proxies."""
    from otelbridge.metrics._sdk import real_instrument
    from otelbridge.metrics.switch import is_switched

    assert is_switched(switch.get_meter("any").create_counter("any"))
    assert not is_switched(metrics.NoOpMeterProvider().get_meter("any").create_counter("any"))
    counter = metrics.NoOpMeterProvider().get_meter("any").create_counter("any")
    assert real_instrument(counter) is counter
