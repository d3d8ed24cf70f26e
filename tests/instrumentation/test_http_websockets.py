"""WebSockets measured: a real server, a real client, and what a client may write."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import anyio
import pytest
import websockets.sync.client as websocket_client
from fastapi import FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.routing import Mount, Route
from websockets.exceptions import ConnectionClosed, InvalidStatus

from otelbridge.catalogue import health
from otelbridge.catalogue import http as catalogue
from otelbridge.instrumentation.http import instrument_http
from tests.instrumentation.serving import served

ACTIVE = catalogue.WEBSOCKET_ACTIVE_CONNECTIONS.name
DURATION = catalogue.WEBSOCKET_CONNECTION_DURATION.name
MESSAGES = catalogue.WEBSOCKET_MESSAGES.name
EXCEPTIONS = health.EXCEPTIONS.name


class Chat:
    """An application with one WebSocket, and a way to wait until it has left it."""

    def __init__(self) -> None:
        self.left = threading.Semaphore(0)
        self.app = FastAPI()
        self.app.websocket("/rooms/{room}")(self._serve)

    async def _serve(self, websocket: WebSocket, room: str) -> None:
        if room == "secret":
            await websocket.close(4403)
            return
        await websocket.accept()
        if room == "broken":
            raise LookupError(room)
        if room == "brief":
            await websocket.close(4001)
            return
        if room == "tasks":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(websocket.receive_text)
        async for text in websocket.iter_text():
            await websocket.send_text(text)
            await websocket.send_text(text)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "websocket":
                self.left.release()

    def wait(self) -> None:
        assert self.left.acquire(timeout=60)


@pytest.fixture
def chat(recorded):
    chat = Chat()
    registration = instrument_http(chat.app)
    with served(chat, ws="websockets-sansio") as url:
        yield chat, url.replace("http", "ws", 1)
    registration.close()


def ended(recorded: Any) -> list[tuple[Any, ...]]:
    """How each series of WebSockets ended: status, close code, failure, and how many."""
    keys = ("http.response.status_code", "websocket.close.code", "error.type")
    found = [(*(attributes.get(key) for key in keys), count) for attributes, (count, _) in recorded.points(DURATION)]
    return sorted(found, key=str)


def test_connections_messages_and_durations(chat, recorded) -> None:
    application, url = chat
    with websocket_client.connect(f"{url}/rooms/a") as one, websocket_client.connect(f"{url}/rooms/b") as other:
        for connection, text in ((one, "x"), (one, "y"), (other, "z")):
            connection.send(text)
            assert [connection.recv(), connection.recv()] == [text, text]
        assert recorded.points(ACTIVE) == [({"http.route": "/rooms/{room}", "url.scheme": "ws"}, 2)]
        assert recorded.points(DURATION) == []
    application.wait()
    application.wait()
    assert recorded.value(ACTIVE) == 0
    assert {attributes["network.io.direction"]: value for attributes, value in recorded.points(MESSAGES)} == {
        "receive": 3,
        "transmit": 6,
    }
    ((attributes, (count, _)),) = recorded.points(DURATION)
    assert count == 2
    assert attributes == {
        "http.route": "/rooms/{room}",
        "url.scheme": "ws",
        "network.protocol.version": "1.1",
        "http.response.status_code": 101,
        "websocket.close.code": "1000",
    }
    assert recorded.points(EXCEPTIONS) == []


@pytest.mark.parametrize(
    ("code", "shown"), [(1000, "1000"), (1001, "1001"), (1011, "1011"), (3123, "_OTHER"), (4999, "_OTHER")]
)
def test_a_client_chooses_no_label_by_its_close_code(code, shown, chat, recorded) -> None:
    application, url = chat
    with websocket_client.connect(f"{url}/rooms/a") as connection:
        connection.close(code)
    application.wait()
    assert ended(recorded) == [(101, shown, None, 1)]


def test_a_client_that_just_vanishes_is_no_failure(chat, recorded) -> None:
    application, url = chat
    with websocket_client.connect(f"{url}/rooms/a") as connection:
        connection.socket.shutdown(socket.SHUT_RDWR)
    application.wait()
    ((status, code, failure, count),) = ended(recorded)
    assert (status, failure, count) == (101, None, 1)
    assert code in ("1005", "1006")
    assert recorded.points(EXCEPTIONS) == []


def test_a_client_that_leaves_a_group_of_tasks_is_no_failure(chat, recorded) -> None:
    application, url = chat
    with websocket_client.connect(f"{url}/rooms/tasks"):
        pass
    application.wait()
    assert ended(recorded) == [(101, "1000", None, 1)]
    assert recorded.points(EXCEPTIONS) == []


def test_how_the_application_ends_it(chat, recorded) -> None:
    """It closes with a code of its own, refuses, or fails."""
    application, url = chat
    with websocket_client.connect(f"{url}/rooms/brief") as connection, pytest.raises(ConnectionClosed):
        connection.recv()
    application.wait()
    with pytest.raises(InvalidStatus), websocket_client.connect(f"{url}/rooms/secret"):
        pass
    application.wait()
    with websocket_client.connect(f"{url}/rooms/broken") as connection, pytest.raises(ConnectionClosed):
        connection.recv()
    application.wait()
    assert ended(recorded) == [
        (101, "4001", None, 1),
        (101, None, "LookupError", 1),
        (403, None, None, 1),
    ]
    assert [value for _, value in recorded.points(EXCEPTIONS)] == [1]
    assert recorded.value(ACTIVE) == 0


class Scripted:
    """A WebSocket application that sends what it is told to."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = messages

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in self.messages:
            await send(message)


@pytest.mark.parametrize(
    ("messages", "end"),
    [
        ([{"type": "websocket.http.response.start", "status": 503, "headers": []}], (503, None, "503", 1)),
        ([{"type": "websocket.http.response.start", "status": 404, "headers": []}], (404, None, None, 1)),
        ([{"type": "websocket.http.response.start", "status": "?", "headers": []}], (None, None, "_OTHER", 1)),
        ([], (None, None, "_OTHER", 1)),
        ([{"type": "websocket.accept"}], (101, None, None, 1)),
        ([{"type": "websocket.accept"}, {"type": "websocket.close"}], (101, "1000", None, 1)),
    ],
)
def test_what_servers_are_told(messages, end, recorded) -> None:
    app = Starlette(routes=[Mount("/raw", app=Scripted(*messages))])
    registration = instrument_http(app)
    scope = {
        "type": "websocket",
        "path": "/raw/",
        "headers": [],
        "query_string": b"",
        "scheme": "ws",
        "subprotocols": [],
    }

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None: ...

    asyncio.run(app(scope, receive, send))
    registration.close()
    assert ended(recorded) == [end]
    ((attributes, _),) = recorded.points(DURATION)
    assert attributes["http.route"] == "/raw"
    assert all(value == 0 for _, value in recorded.points(ACTIVE))


def test_a_client_that_leaves_while_it_is_accepted_is_not_active(recorded) -> None:
    left = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        watch = asyncio.create_task(receive())
        await send({"type": "websocket.accept"})
        await watch

    async def receive() -> dict[str, Any]:
        left.set()
        return {"type": "websocket.disconnect", "code": 1006}

    async def send(message: dict[str, Any]) -> None:
        await left.wait()

    app = Starlette(routes=[Mount("/raw", app=application)])
    registration = instrument_http(app)
    asyncio.run(app({"type": "websocket", "path": "/raw/", "headers": [], "scheme": "ws"}, receive, send))
    registration.close()
    assert ended(recorded) == [(101, None, None, 1)]
    assert recorded.points(ACTIVE) == []


def test_a_request_is_no_websocket(recorded) -> None:
    app = FastAPI(routes=[Route("/", lambda request: None)])
    instrument_http(app).close()
    assert recorded.points(DURATION) == []
