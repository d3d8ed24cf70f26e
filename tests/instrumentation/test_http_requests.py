"""Measured requests: the data that the official middleware makes of the same conversations, and what it does not do."""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from http import HTTPStatus
from inspect import signature
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.propagate import get_global_textmap, set_global_textmap
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NoOpTracerProvider
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from otelbridge.catalogue import http as catalogue
from otelbridge.catalogue.registry import METRICS
from otelbridge.diagnostics import forget_warnings
from otelbridge.instrumentation.http import instrument_http
from otelbridge.instrumentation.http.exclusion import Exclusion, create_exclusion
from otelbridge.instrumentation.http.methods import KnownMethods
from otelbridge.instrumentation.http.middleware import MetricsMiddleware
from otelbridge.instrumentation.http.routes import Routes
from otelbridge.instrumentation.http.stability import choose_stable_conventions
from otelbridge.metrics.provider import MeterProvider as OurMeterProvider
from otelbridge.metrics.switch import switch
from otelbridge.metrics.views import create_views

SERVER = catalogue.DOMAIN.metrics[:4]
TRACEPARENT = (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def scope(path: str = "/", method: str = "GET", headers: Any = (), **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "scheme": "http",
        "http_version": "1.1",
        "query_string": b"",
        "headers": [*headers],
        "server": ("127.0.0.1", 80),
        **more,
    }


def measured(app: Any, exclusion: Exclusion | None = None) -> MetricsMiddleware:
    return MetricsMiddleware(app, Routes(), KnownMethods(), exclusion)


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


def ask(app: Any, *scopes: dict[str, Any]) -> list[dict[str, Any]]:
    """Serve some requests; what was sent. What the application raises is its own affair."""
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def serve() -> None:
        for each in scopes:
            try:
                await app({**each}, receive, send)
            except (LookupError, asyncio.CancelledError):
                continue

    asyncio.run(serve())
    return sent


class Conversation:
    """An application that says what it is told to."""

    def __init__(self, messages: list[dict[str, Any]], error: BaseException | None) -> None:
        self.messages = messages
        self.error = error

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for message in self.messages:
            await send(dict(message))
        if self.error is not None:
            raise self.error


def points(reader: InMemoryMetricReader) -> dict[str, Tally[Any]]:
    """What a reader has, without durations."""
    data = reader.get_metrics_data()
    found: dict[str, Tally[Any]] = {}
    for resource in data.resource_metrics if data else ():
        for metric in [metric for each in resource.scope_metrics for metric in each.metrics]:
            for point in metric.data.data_points:
                value = getattr(point, "value", None)
                if value is None:
                    exact = metric.name != catalogue.SERVER_REQUEST_DURATION.name
                    value = (point.count, point.sum) if exact else point.count
                key = (tuple(sorted((point.attributes or {}).items())), value)
                found.setdefault(metric.name, Tally())[key] += 1
    return found


def without_failures(found: dict[str, Tally[Any]]) -> dict[str, Tally[Any]]:
    """What is found, added up over ``error.type``."""
    merged: dict[str, Tally[Any]] = {name: Tally() for name in found}
    for name, each in found.items():
        for attributes, value in each:
            kept = tuple(pair for pair in attributes if pair[0] != "error.type")
            for index, part in enumerate(value if isinstance(value, tuple) else (value,)):
                merged[name][kept, index] += part
    return merged


LENGTHS = [b"5", b"1048576", b"x", b"", b"1 2"]
HEADERS = st.lists(
    st.tuples(st.sampled_from([b"content-type", b"x-any", b"host"]), st.sampled_from([b"a", b"b.example"])), max_size=2
)


def with_length(*lengths: bytes) -> Any:
    return st.builds(
        lambda headers, length: [*headers, *([(b"content-length", length)] if length is not None else [])],
        HEADERS,
        st.none() | st.sampled_from(lengths),
    )


RESPONSES = st.builds(
    lambda status, headers, chunks: [
        {"type": "http.response.start", "status": status, "headers": headers},
        *({"type": "http.response.body", "body": chunk, "more_body": True} for chunk in chunks),
        {"type": "http.response.body", "body": b""},
    ],
    st.sampled_from([100, 200, 204, 301, 404, 499, 500, 503, 599]),
    with_length(*LENGTHS),
    st.lists(st.binary(max_size=3), max_size=2),
)
CONVERSATIONS = st.tuples(
    st.builds(
        scope,
        method=st.sampled_from(["GET", "POST", "QUERY", "PROPFIND", "_OTHER"]),
        headers=with_length(b"0", *LENGTHS),
        path=st.sampled_from(["/", "/a", "/\u20ac"]),
        scheme=st.sampled_from(["http", "https"]),
        http_version=st.sampled_from(["1.0", "1.1", "2"]),
    ),
    RESPONSES | st.just([]),
    st.none() | st.sampled_from([LookupError("x"), asyncio.CancelledError()]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CONVERSATIONS, min_size=1, max_size=4))
def test_the_same_data_as_the_official_middleware(conversations) -> None:
    choose_stable_conventions()
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    def official(app: Any, provider: MeterProvider) -> Any:
        return OpenTelemetryMiddleware(app, meter_provider=provider, tracer_provider=NoOpTracerProvider())

    found = []
    for ours in (False, True):
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], views=create_views(METRICS.values(), []), shutdown_on_exit=False)
        switch.connect(provider, muted=["fastapi"])
        for request, messages, error in conversations:
            app = Conversation(messages, error)
            # A new middleware for each: the official one shows the size of an earlier response for one without.
            ask(measured(app) if ours else official(app, provider), request)
        switch.disconnect()
        found.append({name: each for name, each in points(reader).items() if name.startswith("http.server.")})
        provider.shutdown()
    if any(error is not None or not messages for _, messages, error in conversations):
        found = [without_failures(each) for each in found]  # the official one does not tell that nobody was answered
    assert found[1] == found[0]
    assert {metric.name for metric in SERVER[:2]} <= found[0].keys()


def test_an_empty_response_has_a_size_too(recorded) -> None:
    """The official middleware leaves it out, which makes the average too large."""
    headers = [(b"Content-Length", b"0")]
    ask(measured(Conversation([{"type": "http.response.start", "status": 200, "headers": headers}], None)), scope())
    assert recorded.value(catalogue.SERVER_RESPONSE_BODY_SIZE.name) == (1, 0)


async def _hello(request: Any) -> PlainTextResponse:
    return PlainTextResponse("hello")


@pytest.mark.parametrize("headers", [[], [TRACEPARENT]], ids=["first", "called by another"])
def test_what_the_application_does_is_below_the_span_of_its_request(headers, recorded, spans) -> None:
    exporter, provider = spans

    async def work(request: Any) -> PlainTextResponse:
        with provider.get_tracer("work").start_as_current_span("work"):
            return PlainTextResponse("done")

    app = Starlette(routes=[Route("/", work)])
    registration = instrument_http(app, tracer_provider=provider)
    ask(app, scope(headers=headers))
    registration.close()
    inner, outer = exporter.get_finished_spans()
    assert (inner.name, outer.name) == ("work", "GET /")
    assert inner.parent.span_id == outer.context.span_id
    assert (outer.parent is not None) == bool(headers)


def test_spans_that_fastapi_makes_by_itself_stay(recorded, spans) -> None:
    exporter, provider = spans
    native = "telemetry" in signature(FastAPI).parameters  # from 0.165 on
    app = FastAPI(telemetry={"tracer_provider": provider}) if native else FastAPI()
    app.get("/")(lambda: "hello")
    seen = []
    for instrumented in (False, True):
        registration = instrument_http(app) if instrumented else None
        ask(app, scope(headers=[TRACEPARENT]))
        if registration is not None:
            registration.close()
        seen.append([(span.name, span.parent is not None) for span in exporter.get_finished_spans()])
        exporter.clear()
    assert bool(seen[0]) == native
    assert seen[0] == seen[1]
    assert recorded.value(catalogue.SERVER_REQUEST_DURATION.name)[0] == 1


@pytest.mark.parametrize("status", [503, HTTPStatus.SERVICE_UNAVAILABLE, "503"])
def test_a_status_of_any_kind_is_a_number(status, recorded) -> None:
    ask(measured(Conversation([{"type": "http.response.start", "status": status, "headers": []}], None)), scope())
    ((attributes, _),) = recorded.points(catalogue.SERVER_REQUEST_DURATION.name)
    assert attributes["http.response.status_code"] == 503
    assert type(attributes["http.response.status_code"]) is int
    assert attributes["error.type"] == "503"


def test_a_mounted_application_that_is_measured_too_counts_no_second_time(recorded) -> None:
    inner, outer = Starlette(routes=[Route("/", _hello)]), Starlette()
    outer.mount("/inner", inner)
    registrations = [instrument_http(app) for app in (inner, outer)]
    ask(outer, scope("/inner/"))
    for registration in registrations:
        registration.close()
    assert recorded.value(catalogue.SERVER_REQUEST_DURATION.name)[0] == 1
    assert recorded.value(catalogue.SERVER_ACTIVE_REQUESTS.name) == 0


@pytest.mark.parametrize("first", [OurMeterProvider, MeterProvider])
@pytest.mark.parametrize("second", [OurMeterProvider, MeterProvider])
def test_a_request_that_outlives_its_provider_is_not_taken_from_the_next_one(first, second) -> None:
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        switch.disconnect()
        switch.connect(second([readers[1]], shutdown_on_exit=False))

    switch.connect(first([readers[0]], shutdown_on_exit=False))
    ask(measured(app), scope())
    switch.disconnect()
    assert points(readers[0]).keys() == {catalogue.SERVER_ACTIVE_REQUESTS.name}
    assert points(readers[1]).keys() == {catalogue.SERVER_REQUEST_DURATION.name}


@pytest.fixture
def spans():
    choose_stable_conventions()
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, provider


def test_a_measurement_has_the_span_of_its_request_as_exemplar(recorded, spans) -> None:
    exporter, provider = spans
    app = Starlette(routes=[Route("/", _hello)])
    registration = instrument_http(app, tracer_provider=provider)
    ask(app, scope())
    registration.close()
    (span,) = exporter.get_finished_spans()
    metrics = recorded.metrics()  # which gives each exemplar once
    for name in ("http.server.request.duration", "http.server.response.body.size"):
        ((exemplar,),) = [point.exemplars for point in metrics[name].data.data_points]
        assert exemplar.trace_id == span.context.trace_id


def test_the_context_of_the_client_is_that_of_the_application(recorded) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(trace.get_current_span().get_span_context())

    async def served() -> None:
        before = get_current()
        await measured(app)(scope(headers=[TRACEPARENT]), receive, receive)
        assert get_current() == before
        await measured(app)(scope(), receive, receive)

    asyncio.run(served())
    assert f"{seen[0].trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert not seen[1].is_valid


class Broken(TextMapPropagator):
    """Reads one header, in vain."""

    def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Any:
        raise LookupError(getter.get(carrier, "x-broken"), getter.keys(carrier))

    def inject(self, *rest: Any, **more: Any) -> None: ...

    @property
    def fields(self) -> set[str]:
        return {"X-Broken"}


def test_a_propagator_that_fails_costs_neither_request_nor_measurement(recorded, caplog) -> None:
    before = get_global_textmap()
    set_global_textmap(Broken())
    forget_warnings()
    try:
        ask(measured(Conversation([], None)), scope(headers=[(b"x-broken", b"\xff")]), scope())
    finally:
        set_global_textmap(before)
    assert recorded.value(catalogue.SERVER_REQUEST_DURATION.name)[0] == 2
    (text,) = caplog.messages
    assert "LookupError(['\xff'], ['x-broken'])" in text


@pytest.mark.parametrize("fields", [["x-any"], None, {1}])
def test_a_propagator_that_says_oddly_what_it_writes_costs_nothing(fields, recorded, monkeypatch, caplog) -> None:
    monkeypatch.setattr(Broken, "fields", fields)
    monkeypatch.setattr(Broken, "extract", lambda self, carrier, context, getter: context)
    before = get_global_textmap()
    set_global_textmap(Broken())
    try:
        ask(measured(Conversation([], None)), scope(), scope())
    finally:
        set_global_textmap(before)
    assert recorded.value(catalogue.SERVER_REQUEST_DURATION.name)[0] == 2
    assert recorded.value(catalogue.SERVER_ACTIVE_REQUESTS.name) == 0
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("patterns", "excluded"),
    [
        ("", False),
        ("/items", True),
        ("/none, /items/[0-9]+$", True),
        ("^/items", False),
        ("^http://shop.example/items", True),
        ("^http://127", False),
        (" , ", False),
    ],
)
def test_patterns_are_looked_for_in_the_url(patterns, excluded, recorded) -> None:
    exclusion = create_exclusion(patterns)
    assert (
        exclusion is not None and exclusion.excludes(scope("/items/1", headers=[(b"host", b"shop.example")]))
    ) is excluded
    ask(measured(Conversation([], None), exclusion), scope("/items/1", headers=[(b"host", b"shop.example")]))
    assert len(recorded.points(catalogue.SERVER_ACTIVE_REQUESTS.name)) == (not excluded)


@pytest.mark.parametrize(
    ("server", "pattern"), [(("::1", 8000), "^http://::1:8000/"), (("a", 80), "^http://a/"), (None, "^http://0.0.0.0/")]
)
def test_without_a_host_header_the_url_is_that_of_the_server(server, pattern) -> None:
    assert create_exclusion(pattern).excludes(scope(server=server))


def test_a_server_that_leaves_out_what_it_must_give_is_served(recorded, caplog) -> None:
    """And a response without a status passes on."""
    forget_warnings()
    message = {"type": "http.response.start"}
    sent = ask(measured(Conversation([message], None)), {"type": "http", "headers": []}, {"type": "http", "path": "/"})
    assert sent == [message, message]
    assert any("KeyError" in text for text in caplog.messages)


def test_a_new_provider_gets_what_comes_after_it() -> None:
    app = measured(Conversation([{"type": "http.response.start", "status": 200, "headers": []}], None))
    ask(app, scope())
    for provider_class in (OurMeterProvider, MeterProvider, OurMeterProvider):
        reader = InMemoryMetricReader()
        switch.connect(provider_class([reader], shutdown_on_exit=False))
        ask(app, scope(), scope())
        switch.disconnect()
        ask(app, scope())
        found = points(reader)
        assert found.keys() == {metric.name for metric in SERVER[:2]}
        ((_, count),) = found[catalogue.SERVER_REQUEST_DURATION.name]
        assert count == 2


def test_what_is_remembered_has_a_limit(recorded) -> None:
    """An application that makes up its status codes gets them recorded, in constant memory."""
    app = measured(None)
    for status in range(1200):
        app.app = Conversation([{"type": "http.response.start", "status": status, "headers": []}], None)
        ask(app, scope())
    assert len(app._kinds.find(scope())._writes) == 1000
    assert len(recorded.points(catalogue.SERVER_REQUEST_DURATION.name)) == 1200
