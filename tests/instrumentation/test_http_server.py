"""Requests served by real FastAPI and Starlette applications, recorded in the stable conventions."""

from __future__ import annotations

import asyncio
import gc
import http.client
import logging
import random
import socket
import string
import sys
import weakref
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Host, Match, Mount, Route, Router

from otelbridge.asgi import withdraw
from otelbridge.catalogue import http as catalogue
from otelbridge.errors import ConfigError, MissingDependencyError
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http import instrument_http
from otelbridge.instrumentation.http.methods import KnownMethods
from otelbridge.instrumentation.http.recorder import RequestRecorder
from otelbridge.instrumentation.http.stability import choose_stable_conventions
from tests.instrumentation.serving import served

pytestmark = pytest.mark.endtoend

ACTIVE_WEBSOCKETS = catalogue.WEBSOCKET_ACTIVE_CONNECTIONS.name
DURATION = catalogue.SERVER_REQUEST_DURATION.name
ACTIVE = catalogue.SERVER_ACTIVE_REQUESTS.name
REQUEST_SIZE = catalogue.SERVER_REQUEST_BODY_SIZE.name
RESPONSE_SIZE = catalogue.SERVER_RESPONSE_BODY_SIZE.name
EXCEPTIONS = "health.exceptions"


class UnusualError(Exception):
    """Nobody handles this."""


async def _order(order_id: int):
    return {"order": order_id}


async def _create(body: dict):
    return body


async def _fail():
    raise UnusualError("boom")


async def _order_starlette(request):
    return JSONResponse({"order": request.path_params["order_id"]})


async def _create_starlette(request):
    return JSONResponse(await request.json())


async def _fail_starlette(request):
    raise UnusualError("boom")


def _fastapi() -> FastAPI:
    app = FastAPI()
    app.get("/orders/{order_id}")(_order)
    app.post("/orders")(_create)
    app.get("/fail")(_fail)
    return app


def _starlette() -> Starlette:
    return Starlette(
        routes=[
            Route("/orders/{order_id}", _order_starlette),
            Route("/orders", _create_starlette, methods=["POST"]),
            Route("/fail", _fail_starlette),
        ]
    )


@dataclass(frozen=True)
class Tracers:
    """A real tracer provider, and what it made."""

    exporter: InMemorySpanExporter
    provider: TracerProvider


@pytest.fixture
def tracers():
    choose_stable_conventions()  # before any other does that a test switches on
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracers(exporter, provider)


@pytest.fixture(params=["metrics alone", "spans too"])
def spans(request, tracers):
    """What an application is instrumented with."""
    return {"tracer_provider": tracers.provider} if request.param == "spans too" else {}


@pytest.fixture(params=[_fastapi, _starlette], ids=["fastapi", "starlette"])
def app(request, recorded, spans):
    app = request.param()
    registration = instrument_http(app, excluded_paths=("/metrics",), **spans)
    yield app
    registration.close()


@pytest.fixture
def instrument(recorded):
    """Instruments applications for the time of one test."""
    registrations = []

    def instrument(app, **options):
        registrations.append(instrument_http(app, **options))
        return registrations[-1]

    yield instrument
    for registration in registrations:
        registration.close()


def client(app, **options) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, **options), base_url="http://test")


def routes_seen(recorded) -> dict[tuple[str, str | None, int], int]:
    return {
        (
            attributes["http.request.method"],
            attributes.get("http.route"),
            attributes["http.response.status_code"],
        ): count
        for attributes, (count, _) in recorded.points(DURATION)
    }


def test_every_server_metric_from_real_requests(app, recorded) -> None:
    with served(app) as url:
        assert httpx.get(f"{url}/orders/7").json()["order"] in (7, "7")
        body = {"item": "x" * 500}
        sent = httpx.post(f"{url}/orders", json=body)
        assert sent.json() == body
    get = {
        "http.request.method": "GET",
        "http.route": "/orders/{order_id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "network.protocol.version": "1.1",
    }
    post = {**get, "http.request.method": "POST", "http.route": "/orders"}
    durations = recorded.points(DURATION)
    assert [(attributes, count) for attributes, (count, _) in durations] == [(get, 1), (post, 1)]
    assert all(seconds > 0 for _, (_, seconds) in durations)
    assert recorded.points(ACTIVE) == [
        ({"http.request.method": "GET", "url.scheme": "http"}, 0),
        ({"http.request.method": "POST", "url.scheme": "http"}, 0),
    ]
    request_size = len(sent.request.content)
    assert recorded.points(REQUEST_SIZE) == [(post, (1, request_size))]
    sizes = {attributes["http.route"]: value for attributes, value in recorded.points(RESPONSE_SIZE)}
    assert sizes["/orders"] == (1, len(sent.content))


def test_attributes_and_boundaries_are_those_of_the_catalogue(app, recorded) -> None:
    with served(app) as url:
        httpx.get(f"{url}/orders/7")
        httpx.post(f"{url}/orders", json={})
        httpx.get(f"{url}/fail")
    metrics = recorded.metrics()
    for declared in catalogue.DOMAIN.metrics[:4]:
        metric = metrics[declared.name]
        assert metric.unit == declared.unit
        for point in metric.data.data_points:
            assert set(point.attributes) <= declared.attribute_keys
    assert metrics[DURATION].data.data_points[0].explicit_bounds == catalogue.SERVER_REQUEST_DURATION.buckets.boundaries


async def test_active_requests_are_counted_while_they_run(instrument, recorded) -> None:
    app, entered, leave = FastAPI(), asyncio.Event(), asyncio.Event()

    @app.get("/slow")
    async def slow():
        entered.set()
        await leave.wait()

    instrument(app)
    async with client(app) as http_client:
        request = asyncio.create_task(http_client.get("/slow"))
        await entered.wait()
        assert recorded.value(ACTIVE) == 1
        leave.set()
        await request
    assert recorded.value(ACTIVE) == 0


async def test_unhandled_exception_is_counted_once_and_goes_on(app, recorded) -> None:
    async with client(app) as http_client:
        with pytest.raises(UnusualError) as raised:
            await http_client.get("/fail")
    assert raised.value.args == ("boom",)
    assert recorded.points(EXCEPTIONS) == [
        ({"error.type": f"{UnusualError.__module__}.UnusualError", "health.exception.origin": "http"}, 1)
    ]
    ((attributes, (count, _)),) = recorded.points(DURATION)
    cause = f"{UnusualError.__module__}.UnusualError"
    assert (attributes["http.response.status_code"], attributes["error.type"], count) == (500, cause, 1)
    assert attributes["http.route"] == "/fail"
    assert recorded.value(ACTIVE) == 0


async def test_handled_exception_is_not_counted(instrument, recorded) -> None:
    app = _fastapi()

    @app.exception_handler(UnusualError)
    async def handle(request, error):
        return PlainTextResponse("handled", status_code=409)

    instrument(app)
    async with client(app) as http_client:
        assert (await http_client.get("/fail")).status_code == 409
    assert recorded.points(EXCEPTIONS) == []


async def test_what_withdraws_is_not_recorded(instrument, recorded) -> None:
    """As the scrape endpoint does, wherever it is mounted and whatever becomes of the scope on the way."""
    active = []

    class Endpoint:
        async def __call__(self, scope, receive, send) -> None:
            withdraw(dict(scope))
            active.append(recorded.value(ACTIVE))
            await PlainTextResponse("scraped")(scope, receive, send)

    endpoint = Endpoint()

    app = FastAPI()
    for path in ("/metrics-report", "/metrics/deep"):
        app.get(path)(lambda: None)
    app.router.routes.insert(0, Route("/metrics", endpoint))
    app.mount("/own", endpoint)
    instrument(app)
    async with client(app) as http_client:
        for path in ("/metrics", "/metrics?name=up", "/own/any", "/metrics-report", "/metrics/deep"):
            assert (await http_client.get(path)).status_code == 200
    assert {route: count for (_, route, _), count in routes_seen(recorded).items()} == {
        "/metrics-report": 1,
        "/metrics/deep": 1,
    }
    assert active == [0, 0, 0]


@pytest.mark.parametrize(
    ("make", "variable"),
    [
        (_fastapi, "OTEL_PYTHON_FASTAPI_EXCLUDED_URLS"),
        (_fastapi, "OTEL_PYTHON_EXCLUDED_URLS"),
        (_starlette, "OTEL_PYTHON_STARLETTE_EXCLUDED_URLS"),
        (_starlette, "OTEL_PYTHON_EXCLUDED_URLS"),
    ],
)
async def test_patterns_of_the_user_are_respected(make, variable, instrument, recorded, monkeypatch) -> None:
    monkeypatch.setenv(variable, "health, orders/7")
    app = make()
    instrument(app, excluded_paths=("/metrics",))
    async with client(app) as http_client:
        await http_client.get("/orders/7")
        await http_client.get("/orders/8")
    assert routes_seen(recorded) == {("GET", "/orders/{order_id}", 200): 1}


@pytest.mark.parametrize("make", [_fastapi, _starlette])
def test_pattern_that_is_none_is_a_clear_error(make, recorded, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXCLUDED_URLS", "fine,(")
    app = make()
    with pytest.raises(ConfigError, match=r"OTEL_PYTHON_EXCLUDED_URLS holds '\('"):
        instrument_http(app)
    assert "build_middleware_stack" not in vars(app)


async def test_routes_may_come_later(instrument, recorded) -> None:
    app = FastAPI()
    instrument(app)
    app.get("/late/{key}")(lambda key: key)
    async with client(app) as http_client:
        await http_client.get("/late/1")
    assert routes_seen(recorded) == {("GET", "/late/{key}", 200): 1}


class Stateful:
    """A middleware of the user that must not be made twice."""

    made = 0

    def __init__(self, app) -> None:
        type(self).made += 1
        self.app = app

    async def __call__(self, scope, receive, send) -> None:
        await self.app(scope, receive, send)


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_inside_the_start_up_of_the_lifespan(kind, recorded) -> None:
    Stateful.made = 0

    @asynccontextmanager
    async def lifespan(app):
        registration = instrument_http(app)
        app.router.routes.append(Route("/late/{key}", lambda request: PlainTextResponse("late")))
        yield
        registration.close()

    app = kind(lifespan=lifespan, middleware=[Middleware(Stateful)])
    with served(app) as url:
        assert httpx.get(f"{url}/late/1").text == "late"
        assert httpx.get(f"{url}/nothing").status_code == 404
    assert routes_seen(recorded) == {("GET", "/late/{key}", 200): 1, ("GET", None, 404): 1}
    assert Stateful.made == 1


@pytest.mark.parametrize("make", [_fastapi, _starlette])
async def test_close_restores_the_application(make, recorded) -> None:
    Stateful.made = 0
    app = make()
    app.add_middleware(Stateful)
    before = set(vars(app))
    registration = instrument_http(app)
    async with client(app) as http_client:
        await http_client.get("/orders/1")
        stack = app.middleware_stack
        registration.close()
        registration.close()
        assert app.middleware_stack is stack
        assert (await http_client.get("/orders/1")).status_code == 200
        assert routes_seen(recorded) == {("GET", "/orders/{order_id}", 200): 1}
        assert Stateful.made == 1
        again = instrument_http(app)
        await http_client.get("/orders/1")
        assert routes_seen(recorded) == {("GET", "/orders/{order_id}", 200): 2}
        again.close()
    assert set(vars(app)) == before


@pytest.mark.parametrize("make", [_fastapi, _starlette])
def test_close_before_the_first_request_leaves_room_for_middleware(make, recorded) -> None:
    app = make()
    instrument_http(app).close()
    app.add_middleware(Stateful)
    assert app.middleware_stack is None


async def test_twice_is_harmless(app, recorded, caplog) -> None:
    first = instrument_http(app)
    assert instrument_http(app) is first
    async with client(app) as http_client:
        await http_client.get("/orders/1")
    assert routes_seen(recorded) == {("GET", "/orders/{order_id}", 200): 1}
    assert caplog.records == []


async def test_routes_below_mounts_hosts_and_routers(instrument, recorded) -> None:
    inner = Router([Route("/users/{user}", lambda request: PlainTextResponse("user"))])
    api = APIRouter(prefix="/v1")
    api.get("/items/{item}")(lambda item: item)
    app = FastAPI()
    app.include_router(api, prefix="/api")
    app.mount("/inner/{tenant}", inner)
    app.mount("/raw", PlainTextResponse("raw"))
    app.router.routes.append(Host("{any}.example.org", inner))
    instrument(app)
    async with client(app) as http_client:
        for path in ("/api/v1/items/1", "/inner/acme/users/1", "/inner/acme/none", "/raw/1", "/raw/2"):
            await http_client.get(path)
        for name in ("a", "b"):
            await http_client.get(f"/users/{name}", headers={"host": f"{name}.example.org"})
        await http_client.post("/api/v1/items/1")
    assert routes_seen(recorded) == {
        ("GET", "/api/v1/items/{item}", 200): 1,
        ("GET", "/inner/{tenant}/users/{user}", 200): 1,
        ("GET", "/inner/{tenant}", 404): 1,
        ("GET", "/raw", 200): 2,
        ("GET", "/users/{user}", 200): 2,
        ("POST", "/api/v1/items/{item}", 405): 1,
    }


async def test_mounted_routes_of_starlette(instrument, recorded) -> None:
    routes = [Route("/{order}", lambda request: PlainTextResponse("order"))]
    app = Starlette(routes=[Mount("/shop", routes=[Mount("/orders", routes=routes)])])
    instrument(app)
    async with client(app) as http_client:
        await http_client.get("/shop/orders/12")
    assert routes_seen(recorded) == {("GET", "/shop/orders/{order}", 200): 1}


def test_no_client_can_make_series(app, recorded) -> None:
    chance = random.Random(7)

    def word(letters: str = string.ascii_letters) -> str:
        return "".join(chance.choices(letters, k=12))

    with served(app, http="h11") as url:  # httptools refuses methods it does not know
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname, address.port)
        for _ in range(300):
            headers = {
                "host": f"{word()}:{chance.randrange(1, 65535)}",
                "user-agent": word(),
                "x-forwarded-proto": word(),
                "x-forwarded-host": word(),
                "traceparent": word(),
            }
            path = chance.choice([f"/{word()}", f"/orders/{chance.randrange(10**9)}", f"/orders/1?{word()}={word()}"])
            method = chance.choice(["GET", "GET", "DELETE", word(string.ascii_uppercase)])
            connection.request(method, path, headers=headers)
            connection.getresponse().read()
        connection.close()
    points = recorded.points(DURATION)
    assert sum(count for _, (count, _) in points) == 300
    # 2 methods, with and without a route, ok, not allowed, not found, not valid.
    assert len(points) <= 8
    assert {attributes["http.request.method"] for attributes, _ in points} == {"GET", "_OTHER"}
    assert {attributes.get("http.route") for attributes, _ in points} == {None, "/orders/{order_id}"}
    for name in (ACTIVE, REQUEST_SIZE, RESPONSE_SIZE):
        assert len(recorded.points(name)) <= 8


@pytest.mark.parametrize("name", [b"host", b"user-agent", b"traceparent", b"x-anything"])
def test_no_header_can_make_telemetry_fail_the_request(name, app, recorded, caplog) -> None:
    with served(app) as url:
        address = urlsplit(url)
        host = b"" if name == b"host" else b"host: test\r\n"
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(b"GET /orders/7 HTTP/1.1\r\n" + host + name + b": \xff\\\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert routes_seen(recorded) == {("GET", "/orders/{order_id}", 200): 1}
    assert recorded.points(EXCEPTIONS) == []
    assert caplog.records == []


async def test_no_query_can_make_telemetry_fail_the_request(app, recorded) -> None:
    sent = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/orders/7", "headers": [], "scheme": "http"}
    await app({**scope, "query_string": b"a=\xff"}, receive, send)
    assert sent[0]["status"] == 200
    assert routes_seen(recorded) == {("GET", "/orders/{order_id}", 200): 1}


@pytest.mark.parametrize("make", [FastAPI, Starlette])
async def test_response_sizes_are_each_requests_own(make, instrument, recorded) -> None:
    async def sized(request):
        return PlainTextResponse("x" * int(request.path_params["size"]))

    async def streamed(request):
        async def chunks():
            yield b"chunk"

        return StreamingResponse(chunks())

    app = make()
    app.router.routes += [Route("/sized/{size}", sized), Route("/streamed", streamed)]
    instrument(app)
    async with client(app) as http_client:
        await asyncio.gather(*(http_client.get(f"/sized/{size}") for size in (10, 200, 3000)))
        assert (await http_client.get("/streamed")).text == "chunk"
    sizes = {attributes["http.route"]: value for attributes, value in recorded.points(RESPONSE_SIZE)}
    assert sizes == {"/sized/{size}": (3, 3210)}


@pytest.mark.parametrize("make", [FastAPI, Starlette])
async def test_streaming_is_not_held_back(make, instrument, recorded) -> None:
    release = asyncio.Event()

    async def streamed(request):
        async def chunks():
            yield b"first"
            await release.wait()
            yield b"second"

        return StreamingResponse(chunks())

    app = make()
    app.router.routes.append(Route("/streamed", streamed))
    instrument(app)
    scope = {"type": "http", "method": "GET", "path": "/streamed", "headers": [], "query_string": b"", "scheme": "http"}
    sent: asyncio.Queue = asyncio.Queue()

    async def receive():
        await asyncio.Event().wait()

    run = asyncio.create_task(app(scope, receive, sent.put))
    assert (await sent.get())["type"] == "http.response.start"
    assert (await sent.get())["body"] == b"first"
    assert recorded.points(DURATION) == []
    release.set()
    await run
    assert (await sent.get())["body"] == b"second"
    assert [count for _, (count, _) in recorded.points(DURATION)] == [1]


async def test_websockets_pass_and_their_exceptions_count(instrument, recorded) -> None:
    app = FastAPI()

    @app.websocket("/echo")
    async def echo(websocket: WebSocket):
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        raise UnusualError

    instrument(app)
    messages = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/echo",
        "headers": [],
        "query_string": b"",
        "scheme": "ws",
        "subprotocols": [],
    }
    with pytest.raises(UnusualError):
        await app(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]
    assert sent[1]["text"] == "hello"
    assert recorded.points(DURATION) == []
    assert [value for _, value in recorded.points(EXCEPTIONS)] == [1]
    assert recorded.value(ACTIVE_WEBSOCKETS) == 0


async def test_cancelled_request_leaves_nothing_behind(app, instrument, recorded) -> None:
    entered = asyncio.Event()

    async def slow(request):
        entered.set()
        await asyncio.Event().wait()

    app.router.routes.append(Route("/slow", slow))
    async with client(app) as http_client:
        request = asyncio.create_task(http_client.get("/slow"))
        await entered.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    assert recorded.value(ACTIVE) == 0
    assert recorded.points(EXCEPTIONS) == []


class Plain:
    """An application of no known framework that takes ASGI middleware."""

    def __init__(self) -> None:
        self.app = self.answer

    def add_middleware(self, middleware, **options) -> None:
        self.app = middleware(self.app, **options)

    async def answer(self, scope, receive, send) -> None:
        if scope["path"] == "/fail":
            raise UnusualError
        await PlainTextResponse("plain")(scope, receive, send)

    async def __call__(self, scope, receive, send) -> None:
        await self.app(scope, receive, send)


async def test_any_application_that_takes_middleware(instrument, recorded, spans) -> None:
    app = Plain()
    registration = instrument(app, **spans)
    async with client(app) as http_client:
        assert (await http_client.get("/anything")).text == "plain"
        with pytest.raises(UnusualError):
            await http_client.get("/fail")
        registration.close()
        assert (await http_client.get("/unseen")).text == "plain"
    assert sum(count for _, (count, _) in recorded.points(DURATION)) == 2
    assert all("http.route" not in attributes for attributes, _ in recorded.points(DURATION))
    assert [value for _, value in recorded.points(EXCEPTIONS)] == [1]


async def test_fastapi_without_its_instrumentation_is_taken_as_starlette(
    instrument, recorded, tracers, monkeypatch
) -> None:
    lacking = discovery.Instrumentation((discovery.Need("no_such", "no-such"),), "fastapi")
    monkeypatch.setitem(discovery._KNOWN, "fastapi", lacking)
    app = _fastapi()
    instrument(app, tracer_provider=tracers.provider)
    async with client(app) as http_client:
        await http_client.get("/orders/1")
    assert routes_seen(recorded) == {("GET", "/orders/{order_id}", 200): 1}
    (span,) = tracers.exporter.get_finished_spans()
    assert span.instrumentation_scope.name == "opentelemetry.instrumentation.asgi"


@pytest.mark.parametrize(("make", "extra"), [(_fastapi, "fastapi"), (_starlette, "starlette")])
async def test_only_spans_need_the_official_instrumentation(
    make, extra, instrument, recorded, tracers, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.asgi", None)
    lacking = discovery.Instrumentation((discovery.Need("no_such", "no-such"),), "fastapi")
    monkeypatch.setitem(discovery._KNOWN, "fastapi", lacking)
    app = make()
    with pytest.raises(MissingDependencyError, match=rf"otelbridge\[{extra}\]"):
        instrument(app, tracer_provider=tracers.provider)
    instrument(app)
    async with client(app) as http_client:
        await http_client.get("/orders/1")
    assert routes_seen(recorded) == {("GET", "/orders/{order_id}", 200): 1}


def test_what_takes_no_middleware_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="takes no ASGI middleware"):
        instrument_http(object())


@pytest.mark.parametrize("make", [_fastapi, _starlette])
async def test_spans_only_where_a_tracer_provider_is_given(make, instrument, recorded, tracers) -> None:
    exporter = tracers.exporter
    app = make()
    instrument(app, tracer_provider=tracers.provider)
    async with client(app) as http_client:
        await http_client.get("/orders/1")
        with pytest.raises(UnusualError):
            await http_client.get("/fail")
    names = [span.name for span in exporter.get_finished_spans()]
    assert names == ["GET /orders/{order_id}", "GET /fail"]
    assert exporter.get_finished_spans()[0].attributes["http.route"] == "/orders/{order_id}"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_failing_telemetry_leaves_the_request_alone(when, recorded, caplog) -> None:
    """A middleware that raises of itself, around a real application."""
    app = _starlette()
    calls = []

    class Failing:
        def __init__(self, app) -> None:
            self.app = app

        async def __call__(self, scope, receive, send) -> None:
            calls.append(scope["path"])
            if when == "after":
                await self.app(scope, receive, send)
            raise LookupError("telemetry")

    recorder = RequestRecorder(Failing(app), (), KnownMethods(), app)
    with caplog.at_level(logging.WARNING, "otelbridge"):
        async with client(recorder) as http_client:
            assert (await http_client.get("/orders/1")).json() == {"order": "1"}
            assert (await http_client.get("/orders/2")).json() == {"order": "2"}
            with pytest.raises(UnusualError):
                await http_client.get("/fail")
    assert len(calls) == (6 if when == "before" else 3)
    assert len(caplog.records) == 1
    assert "LookupError('telemetry')" in caplog.text
    assert [value for _, value in recorded.points(EXCEPTIONS)] == [1]


async def test_broken_route_costs_only_the_label(instrument, recorded, caplog) -> None:
    class Broken(Route):
        asked = 0

        def matches(self, scope):
            type(self).asked += 1
            if type(self).asked > 1:
                raise RuntimeError("matching")
            return Match.NONE, {}

    class Odd(Route):
        path = property(lambda self: 1, lambda self, value: None)

    app = Starlette(routes=[Broken("/broken", _order_starlette), Odd("/odd", lambda request: PlainTextResponse("odd"))])
    instrument(app)
    with caplog.at_level(logging.WARNING, "otelbridge"):
        async with client(app) as http_client:
            assert (await http_client.get("/odd")).text == "odd"
    assert routes_seen(recorded) == {("GET", None, 200): 1}
    assert "http.route is absent" in caplog.text


def test_an_application_that_is_dropped_is_let_go(recorded) -> None:
    app = _fastapi()
    instrument_http(app)
    reference = weakref.ref(app)
    del app
    gc.collect()
    assert reference() is None
