"""Methods of requests: those an application serves are told apart, those clients make up are not."""

from __future__ import annotations

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from otelbridge.catalogue import http as catalogue
from otelbridge.diagnostics import forget_warnings
from otelbridge.instrumentation.http import instrument_http
from otelbridge.instrumentation.http.methods import KnownMethods
from otelbridge.instrumentation.http.stability import choose_stable_conventions

ALWAYS = {"GET", "HEAD", "OPTIONS"}
STANDARD = {*ALWAYS, "POST", "PUT", "DELETE", "CONNECT", "TRACE", "PATCH", "QUERY"}
METHODS = {*STANDARD, "PROPFIND", "get", ""}


def known(app, methods: KnownMethods | None = None) -> set[str]:
    methods = methods or KnownMethods(excluded_paths=("/metrics",))
    return {method for method in METHODS if methods.knows({"type": "http", "method": method, "app": app})}


async def _answer(request) -> PlainTextResponse:
    return PlainTextResponse(request.method)


async def _application(scope, receive, send) -> None: ...


class _Endpoint(HTTPEndpoint):
    async def put(self, request) -> PlainTextResponse:
        return PlainTextResponse(request.method)


class _Odd(BaseRoute):
    @property
    def methods(self) -> list[str]:
        raise RuntimeError("odd")


@pytest.mark.parametrize(
    ("routes", "more"),
    [
        ([], set()),
        ([Route("/", _answer)], set()),
        ([Route("/", _answer, methods=["POST", "PROPFIND"]), Route("/x", _answer)], {"POST", "PROPFIND"}),
        ([Mount("/a", routes=[Mount("/b", routes=[Route("/", _answer, methods=["DELETE"])])])], {"DELETE"}),
        ([Host("a.example", Starlette(routes=[Route("/", _answer, methods=["PATCH"])]))], {"PATCH"}),
        ([WebSocketRoute("/ws", _application)], set()),
        ([Route("/", _Endpoint)], STANDARD),
        ([Mount("/files", StaticFiles(directory="."))], set()),
        ([Mount("/opaque", _application)], STANDARD),
        ([Mount("/metrics", _application)], set()),
        ([Route("/", _answer, methods=["POST"]), Mount("/opaque", _application)], STANDARD),
    ],
    ids=[
        "none",
        "get",
        "several",
        "mounted",
        "host",
        "websocket",
        "class",
        "files",
        "opaque",
        "excluded",
        "opaque too",
    ],
)
def test_methods_of_routes_are_known(routes, more) -> None:
    assert known(Starlette(routes=routes)) == ALWAYS | more


def test_an_application_that_shows_no_routes_may_serve_any_method_of_the_conventions() -> None:
    assert known(_application) == STANDARD


def test_a_route_that_cannot_be_looked_at_costs_no_request_and_is_told_once(caplog) -> None:
    forget_warnings()
    methods = KnownMethods()
    assert known(Starlette(routes=[_Odd()]), methods) == STANDARD
    assert [record.getMessage().startswith("Finding which methods") for record in caplog.records] == [True]


def test_routers_of_fastapi_are_looked_into() -> None:
    app, inner = FastAPI(), APIRouter()
    inner.delete("/items/{item}")(_application)
    outer = APIRouter()
    outer.include_router(inner, prefix="/inner")
    app.include_router(outer, prefix="/outer")
    assert known(app) == ALWAYS | {"DELETE"}
    assert known(Starlette(routes=[Mount("/api", app)])) == ALWAYS | {"DELETE"}


def test_a_route_that_is_added_later_is_known_at_once() -> None:
    app, methods = Starlette(), KnownMethods()
    assert known(app, methods) == ALWAYS
    app.routes.append(Route("/", _answer, methods=["POST"]))
    assert known(app, methods) == ALWAYS | {"POST"}


def test_a_websocket_has_no_method() -> None:
    assert KnownMethods().knows({"type": "websocket", "app": Starlette()})


def test_the_environment_says_it_instead_of_the_routes(monkeypatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, PROPFIND")
    app = Starlette(routes=[Route("/", _answer, methods=["POST"])])
    assert known(app) == {"GET", "PROPFIND"}
    monkeypatch.setenv("OTEL_PYTHON_INSTRUMENTATION_HTTP_CAPTURE_ALL_METHODS", "true")
    assert known(app) == {"GET", "PROPFIND"}
    monkeypatch.delenv("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS")
    assert known(app) == METHODS


async def test_the_application_and_the_span_have_what_the_client_sent(recorded) -> None:
    choose_stable_conventions()
    exporter, seen = InMemorySpanExporter(), []
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))

    class Watch:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            seen.append(scope["method"])
            await self.app(scope, receive, send)

    app = Starlette(routes=[Route("/", _answer, methods=["POST"])], middleware=[Middleware(Watch)])
    registration = instrument_http(app, tracer_provider=tracers)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a.example") as client:
        answers = [await client.request(method, "/") for method in ("POST", "DELETE")]
    registration.close()
    assert ([answer.status_code for answer in answers], seen) == ([200, 405], ["POST", "DELETE"])
    spans = [dict(span.attributes or {}) for span in exporter.get_finished_spans()]
    assert [(span["http.request.method"], span.get("http.request.method_original")) for span in spans] == [
        ("POST", None),
        ("_OTHER", "DELETE"),
    ]
    points = recorded.points(catalogue.SERVER_REQUEST_DURATION.name)
    assert {attributes["http.request.method"] for attributes, _ in points} == {"POST", "_OTHER"}
