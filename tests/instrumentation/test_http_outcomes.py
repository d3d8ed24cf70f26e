"""How requests end, and by which route they are known: applications of FastAPI and Starlette, spoken to in ASGI."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from copy import copy
from typing import Any

import anyio
import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI, Request
from opentelemetry.sdk.trace import TracerProvider
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, Router

from otelbridge.catalogue import health
from otelbridge.catalogue import http as catalogue
from otelbridge.instrumentation.http import instrument_http

DURATION = catalogue.SERVER_REQUEST_DURATION.name
ACTIVE = catalogue.SERVER_ACTIVE_REQUESTS.name
EXCEPTIONS = health.EXCEPTIONS.name

GONE = {"type": "http.disconnect"}
BODY = {"type": "http.request", "body": b"abc"}


class Client:
    """What a server does for one client, who may go away at any message."""

    def __init__(self, *incoming: dict[str, Any], leaves_at: int | None = None) -> None:
        self.incoming = list(incoming)
        self.leaves_at = leaves_at
        self.sent: list[dict[str, Any]] = []
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        message = self.incoming.pop(0) if self.incoming else None
        if message == GONE:
            self.left.set()
        if message is None:
            await self.left.wait()
        return message or GONE

    async def send(self, message: dict[str, Any]) -> None:
        if self.leaves_at == len(self.sent):
            self.left.set()
            raise OSError("the connection is closed")
        self.sent.append(message)


def scope(path: str = "/", **more: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "scheme": "http",
        "http_version": "1.1",
        "query_string": b"",
        "headers": [],
        **more,
    }


def outcomes(recorded: Any) -> Counter[tuple[Any, ...]]:
    """How many requests ended with which route, status and failure."""
    keys = ("http.route", "http.response.status_code", "error.type")
    return Counter(
        {tuple(attributes.get(key) for key in keys): count for attributes, (count, _) in recorded.points(DURATION)}
    )


@pytest.fixture
def serve(recorded):
    """Serves one request by a measured application, and sees to it that nothing stays active."""
    registrations = []

    async def serve(app: Any, client: Client, **asked: Any) -> None:
        registrations.append(instrument_http(app))
        with suppress(Exception, asyncio.CancelledError):
            await app(scope(**asked), client.receive, client.send)
        assert recorded.value(ACTIVE) == 0

    yield serve
    for registration in registrations:
        registration.close()


async def test_a_stream_that_breaks_is_a_failure_whatever_its_status(serve, recorded) -> None:
    async def broken(request: Request) -> StreamingResponse:
        async def pieces():
            yield "forty"
            raise ConnectionError("the model went away")

        return StreamingResponse(pieces())

    client = Client()
    await serve(Starlette(routes=[Route("/", broken)]), client)
    assert [message["type"] for message in client.sent] == ["http.response.start", "http.response.body"]
    assert outcomes(recorded) == {("/", 200, "ConnectionError"): 1}
    assert [value for _, value in recorded.points(EXCEPTIONS)] == [1]


class PassOn(BaseHTTPMiddleware):
    """Ends an answer that breaks as if it were whole, and raises afterwards."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        return await call_next(request)


@pytest.mark.parametrize("pieces", [[], ["forty"]])
async def test_a_stream_that_breaks_below_a_middleware_that_ends_it_is_a_failure(pieces, serve, recorded) -> None:
    async def broken(request: Request) -> StreamingResponse:
        async def some():
            for piece in pieces:
                yield piece
            raise ConnectionError("the model went away")

        return StreamingResponse(some())

    client = Client()
    await serve(Starlette(routes=[Route("/", broken)], middleware=[Middleware(PassOn)]), client)
    assert client.sent[-1]["more_body"] is False
    assert outcomes(recorded) == {("/", 200, "ConnectionError"): 1}


async def test_what_fails_after_an_answer_below_such_a_middleware_is_no_failure(serve, recorded) -> None:
    async def answer(request: Request) -> PlainTextResponse:
        async def work() -> None:
            raise LookupError

        return PlainTextResponse("whole", background=BackgroundTask(work))

    await serve(Starlette(routes=[Route("/", answer)], middleware=[Middleware(PassOn)]), Client())
    assert outcomes(recorded) == {("/", 200, None): 1}


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_an_answer_whose_last_message_is_not_sent_has_failed(error, serve, recorded) -> None:
    """A server raises, for instance, where the body is shorter than the header says."""

    class Refuses(Client):
        async def send(self, message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                raise error

    await serve(Starlette(routes=[Route("/", _any)]), Refuses())
    ((route, status, failure),) = outcomes(recorded)
    assert (route, status, failure.rpartition(".")[2]) == ("/", 200, error.__name__)


async def test_a_request_ends_when_its_answer_was_sent(serve, recorded) -> None:
    """What runs afterwards is neither in its duration nor active, and its failure is not the request's."""
    app = FastAPI()
    seen = []

    async def work() -> None:
        seen.append((recorded.value(ACTIVE), recorded.value(DURATION)))
        raise LookupError("too late to matter")

    @app.get("/")
    async def answer(tasks: BackgroundTasks) -> int:
        tasks.add_task(work)
        return 1

    await serve(app, Client())
    ((active, (count, seconds)),) = seen
    assert (active, count) == (0, 1)
    assert outcomes(recorded) == {("/", 200, None): 1}
    assert recorded.value(DURATION) == (1, seconds)
    assert [value for _, value in recorded.points(EXCEPTIONS)] == [1]


async def test_a_server_error_that_is_only_said_has_its_number(serve, recorded) -> None:
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("later", status_code=503))])
    await serve(app, Client())
    assert outcomes(recorded) == {("/", 503, "503"): 1}
    assert recorded.points(EXCEPTIONS) == []


async def _upload(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def _stream(request: Request) -> StreamingResponse:
    async def endless():
        while True:
            yield "more"
            await asyncio.sleep(0)

    return StreamingResponse(endless())


@pytest.mark.parametrize(
    ("endpoint", "client", "status"),
    [
        (_upload, lambda: Client({"type": "http.request", "body": b"a", "more_body": True}, GONE), None),
        (_stream, lambda: Client(leaves_at=3), 200),
        (_upload, lambda: Client(BODY, leaves_at=0), 200),
        (_upload, lambda: Client(BODY, leaves_at=1), 200),
    ],
    ids=["while it sends", "while it reads", "before the answer", "before its body"],
)
@pytest.mark.parametrize("spec", ["2.3", "2.4"])
@pytest.mark.parametrize("middleware", [[], [Middleware(BaseHTTPMiddleware, dispatch=lambda request, go: go(request))]])
async def test_a_client_that_goes_away_is_no_failure_of_the_service(
    endpoint, client, status, spec, middleware, serve, recorded
) -> None:
    app = Starlette(routes=[Route("/", endpoint, methods=["GET", "POST"])], middleware=middleware)
    await serve(app, client(), asgi={"version": "3.0", "spec_version": spec})
    assert outcomes(recorded) == {("/", status, "client_disconnected"): 1}
    assert recorded.points(EXCEPTIONS) == []


async def test_what_is_answered_to_nobody_has_no_status(serve, recorded) -> None:
    async def watch(request: Request) -> PlainTextResponse:
        assert await request.is_disconnected()
        return PlainTextResponse("nobody reads this")

    await serve(Starlette(routes=[Route("/", watch)]), Client(GONE))
    assert outcomes(recorded) == {("/", None, "client_disconnected"): 1}


async def test_a_client_that_goes_away_is_none_of_a_group_of_tasks_either(serve, recorded) -> None:
    async def upload(request: Request) -> PlainTextResponse:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(request.body)
        return PlainTextResponse("whole")

    await serve(Starlette(routes=[Route("/", upload)]), Client(GONE))
    assert outcomes(recorded) == {("/", None, "client_disconnected"): 1}
    assert recorded.points(EXCEPTIONS) == []


async def _disconnected(app: Any, **tracing: Any) -> None:
    registration = instrument_http(app, **tracing)
    for client in (Client(GONE), Client(BODY, leaves_at=0)):
        with suppress(Exception):
            await app(scope(server=("127.0.0.1", 80)), client.receive, client.send)
    registration.close()


@pytest.mark.parametrize("conventions", ["http", "default"])
async def test_a_client_that_goes_away_is_no_exception_beside_spans(conventions, recorded, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", conventions)
    await _disconnected(Starlette(routes=[Route("/", _upload)]), tracer_provider=TracerProvider(shutdown_on_exit=False))
    assert recorded.points(EXCEPTIONS) == []


async def test_a_client_that_goes_away_is_no_exception_of_an_excluded_request(recorded, monkeypatch) -> None:
    monkeypatch.setenv("OTEL_PYTHON_EXCLUDED_URLS", ".*")
    await _disconnected(Starlette(routes=[Route("/", _upload)]))
    assert recorded.points(DURATION) == recorded.points(EXCEPTIONS) == []


async def test_headers_that_can_be_read_once_reach_the_server(serve, recorded) -> None:
    headers = iter([(b"content-length", b"7")])
    client = Client()
    await serve(
        Starlette(routes=[Mount("/", Silent(START | {"headers": headers}, {"type": "http.response.body"}))]), client
    )
    assert list(client.sent[0]["headers"]) == [(b"content-length", b"7")]
    assert recorded.value(catalogue.SERVER_RESPONSE_BODY_SIZE.name) == (1, 7)


async def test_a_mistake_of_the_application_counts_although_its_client_has_gone(serve, recorded) -> None:
    async def wrong(request: Request) -> PlainTextResponse:
        await request.is_disconnected()
        raise LookupError("a mistake")

    await serve(Starlette(routes=[Route("/", wrong)]), Client(GONE))
    assert [value for _, value in recorded.points(EXCEPTIONS)] == [1]


async def test_a_cancelled_request_says_so(serve, recorded) -> None:
    async def cancelled(request: Request) -> PlainTextResponse:
        raise asyncio.CancelledError

    await serve(Starlette(routes=[Route("/", cancelled)]), Client())
    assert outcomes(recorded) == {("/", None, "asyncio.exceptions.CancelledError"): 1}
    assert recorded.points(EXCEPTIONS) == []


class Silent:
    """An application that does not finish what it says."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = messages

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for message in self.messages:
            await send(message)


START = {"type": "http.response.start", "status": 200, "headers": []}


@pytest.mark.parametrize(
    ("messages", "outcome"),
    [
        ([], ("/", None, "_OTHER")),
        ([START], ("/", 200, "_OTHER")),
        ([START, {"type": "http.response.body", "more_body": True}], ("/", 200, "_OTHER")),
        ([START, {"type": "http.response.body"}], ("/", 200, None)),
        ([START, {"type": "http.response.pathsend", "path": "/etc/hostname"}], ("/", 200, None)),
        ([START, {"type": "http.response.zerocopysend", "file": 0}], ("/", 200, None)),
        ([START, {"type": "http.response.zerocopysend", "file": 0, "more_body": True}], ("/", 200, "_OTHER")),
        ([START | {"trailers": True}, {"type": "http.response.body"}], ("/", 200, "_OTHER")),
        (
            [START | {"trailers": True}, {"type": "http.response.body"}, {"type": "http.response.trailers"}],
            ("/", 200, None),
        ),
        ([{"type": "http.response.debug", "info": {}}, START, {"type": "http.response.body"}], ("/", 200, None)),
    ],
)
async def test_the_last_message_is_told_from_others(messages, outcome, serve, recorded) -> None:
    await serve(Starlette(routes=[Route("/", Silent(*messages))]), Client())
    assert outcomes(recorded) == {outcome: 1}


async def test_a_file_that_the_server_sends_by_itself_is_an_answer(tmp_path, serve, recorded) -> None:
    (tmp_path / "file").write_text("abc")
    app = Starlette(routes=[Route("/", lambda request: FileResponse(tmp_path / "file"))])
    client = Client()
    await serve(app, client, extensions={"http.response.pathsend": {}})
    assert client.sent[-1]["type"] == "http.response.pathsend"
    assert outcomes(recorded) == {("/", 200, None): 1}


class Rewrite:
    """Takes the tenant off the path, in the scope or in a copy of it."""

    def __init__(self, app: Any, copies: bool) -> None:
        self.app = app
        self.copies = copies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = "/" + scope["path"].lstrip("/").partition("/")[2]
        if self.copies:
            scope = {**scope, "path": path}
        else:
            scope["path"] = path
        await self.app(scope, receive, send)


class Refuse:
    """Answers by itself."""

    def __init__(self, app: Any) -> None: ...

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("no", status_code=401)(scope, receive, send)


async def _any(request: Request) -> PlainTextResponse:
    return PlainTextResponse("any")


def _fastapi(*middleware: Middleware) -> FastAPI:
    inner, outer = APIRouter(prefix="/orders"), APIRouter(prefix="/v1")
    inner.get("/{number}")(lambda number: number)
    outer.include_router(inner)
    app = FastAPI(middleware=middleware)
    app.include_router(outer)
    return app


def _starlette(*middleware: Middleware) -> Starlette:
    return Starlette(routes=[Route("/v1/orders/{number}", _any)], middleware=middleware)


@pytest.mark.parametrize("make", [_fastapi, _starlette])
@pytest.mark.parametrize("copies", [False, True])
async def test_the_route_is_that_which_the_router_chose(make, copies, serve, recorded) -> None:
    """Whatever the path was when the request came."""
    app = make(Middleware(Rewrite, copies))
    await serve(app, Client(), path="/acme/v1/orders/7")
    assert outcomes(recorded) == {("/v1/orders/{number}", 200, None): 1}


@pytest.mark.parametrize("make", [_fastapi, _starlette])
async def test_the_route_of_what_no_router_saw_is_found_all_the_same(make, serve, recorded) -> None:
    await serve(make(Middleware(Refuse)), Client(), path="/v1/orders/7")
    assert outcomes(recorded) == {("/v1/orders/{number}", 401, None): 1}


@pytest.mark.parametrize("make", [_fastapi, _starlette])
@pytest.mark.parametrize("copies", [False, True])
async def test_mounts_are_part_of_the_route_whatever_stands_between(make, copies, serve, recorded) -> None:
    inner = make(Middleware(Rewrite, copies))
    app = Starlette(routes=[Mount("/shops/{shop}", app=Starlette(routes=[Mount("/api", app=inner)]))])
    # The middleware takes the first part of the whole path off, so the mounts must leave one more.
    await serve(app, Client(), path="/shops/a/api/v1/orders/7", root_path="")
    ((route, status, _),) = outcomes(recorded)
    assert status in (200, 404)
    assert route in ("/shops/{shop}/api/v1/orders/{number}", "/shops/{shop}/api")


async def test_included_routers_of_fastapi_are_known_below_starlette(serve, recorded) -> None:
    app = Starlette(routes=[Mount("/api", app=_fastapi())])
    await serve(app, Client(), path="/api/v1/orders/7", root_path="")
    assert outcomes(recorded) == {("/api/v1/orders/{number}", 200, None): 1}
    refusing = Starlette(routes=[Mount("/api", app=_fastapi())], middleware=[Middleware(Refuse)])
    await serve(refusing, Client(), path="/api/v1/orders/7", root_path="")
    assert outcomes(recorded)["/api/v1/orders/{number}", 401, None] == 1


async def test_a_copy_of_an_application_serves_by_itself(serve, recorded) -> None:
    app = _starlette()
    await serve(app, Client(), path="/v1/orders/7")
    other = copy(app)
    other.router, other.middleware_stack = Router([Route("/copy", _any)]), None
    await serve(other, Client(), path="/copy")
    assert outcomes(recorded) == {("/v1/orders/{number}", 200, None): 1, ("/copy", 200, None): 1}


@pytest.mark.parametrize("make", [_fastapi, _starlette])
async def test_a_method_that_a_route_does_not_take_has_the_route(make, serve, recorded) -> None:
    await serve(make(), Client(), path="/v1/orders/7", method="DELETE")
    assert outcomes(recorded) == {("/v1/orders/{number}", 405, None): 1}


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("0.9", "0.9"),
        ("1", "1.0"),
        ("1.0", "1.0"),
        ("1.1", "1.1"),
        ("2", "2"),
        ("2.0", None),
        ("3", "3"),
        ("1.7", None),
        ("9", None),
    ],
)
async def test_the_version_is_one_that_there_is(version, shown, serve, recorded) -> None:
    await serve(_starlette(), Client(), http_version=version)
    ((attributes, _),) = recorded.points(DURATION)
    assert attributes.get("network.protocol.version") == shown


@pytest.mark.parametrize(("scheme", "shown"), [("http", "http"), ("https", "https"), ("gopher", None), ("", None)])
async def test_the_scheme_is_one_of_the_conventions(scheme, shown, serve, recorded) -> None:
    await serve(_starlette(), Client(), scheme=scheme)
    for name in (DURATION, ACTIVE):
        ((attributes, _),) = recorded.points(name)
        assert attributes.get("url.scheme") == shown


async def test_what_failed_has_the_span_of_its_request_as_exemplar(recorded) -> None:
    """Although it is recorded when the span has ended."""

    async def fail(request: Request) -> PlainTextResponse:
        raise LookupError

    app = Starlette(routes=[Route("/", fail)])
    tracers = TracerProvider(shutdown_on_exit=False)
    registration = instrument_http(app, tracer_provider=tracers)
    with suppress(LookupError):
        client = Client()
        await app(scope(), client.receive, client.send)
    registration.close()
    ((exemplar,),) = [point.exemplars for point in recorded.metrics()[DURATION].data.data_points]
    assert exemplar.trace_id
