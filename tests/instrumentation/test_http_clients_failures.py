"""Requests that fail, in every way, with every client: each is recorded once, with what it failed with."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import aiohttp
import httpx
import httpx2
import pytest

from otelbridge.catalogue.http import CLIENT_REQUEST_DURATION
from otelbridge.domains.operation import error_type
from otelbridge.instrumentation.http import instrument_clients
from tests.instrumentation.outgoing import CALLS, NAMES, Server, nobody_accepts, refused

DURATION = CLIENT_REQUEST_DURATION.name
SOON = 0.05
LATER = 2  # the head of an answer comes before, also on a busy machine

# Refused, no such name, no connection in time, no answer in time, an answer that breaks, none at all.
_HTTPX = ("ConnectError", "ConnectError", "ConnectTimeout", "ReadTimeout", "RemoteProtocolError", "RemoteProtocolError")
_URLLIB3 = (
    "NewConnectionError",
    "NameResolutionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProtocolError",
    "http.client.RemoteDisconnected",
)
_AIOHTTP = (
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "",  # it makes an exception of its own only of what the connector raises
    "SocketTimeoutError",
    "ClientPayloadError",
    "ServerDisconnectedError",
)
_MODULES = {
    "httpx": ("httpx", _HTTPX),
    "httpx2": ("httpx2", _HTTPX),
    "requests": ("urllib3.exceptions", _URLLIB3),
    "urllib3": ("urllib3.exceptions", _URLLIB3),
    "aiohttp-client": ("aiohttp.client_exceptions", _AIOHTTP),
}


def failure(name: str, which: int) -> str:
    module, errors = _MODULES[name]
    if not errors[which]:
        return error_type(asyncio.TimeoutError())
    return errors[which] if "." in errors[which] else f"{module}.{errors[which]}"


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture(params=CALLS)
def client(request, recorded):
    """The name of an instrumentation that is on, and a call."""
    name, call = CALLS[request.param]
    registration = instrument_clients((name,))
    yield name, call
    registration.close()


async def fails(call, url, **timeouts) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # of six libraries
        await call(url, **timeouts)
    assert not isinstance(caught.value, AssertionError)


def only(recorded) -> dict:
    ((attributes, (count, seconds)),) = recorded.points(DURATION)
    assert count == 1
    assert seconds >= 0
    return attributes


def expected(url: str, error: str, **more) -> dict:
    address = urlsplit(url)
    return {
        "http.request.method": "GET",
        "server.address": address.hostname,
        "server.port": address.port or 80,
        "error.type": error,
        **more,
    }


def _status(name: str) -> dict:
    # A pool of urllib3 that is to read the whole answer gives away none whose rest is missing, nor its status.
    return {} if name == "urllib3" else {"http.response.status_code": 200}


async def test_refused(client, recorded) -> None:
    name, call = client
    url = refused()
    await fails(call, url)
    assert only(recorded) == expected(url, failure(name, 0))


async def test_no_such_name(client, recorded) -> None:
    name, call = client
    await fails(call, "http://nobody.invalid/")
    assert only(recorded) == expected("http://nobody.invalid", failure(name, 1))


async def test_no_connection_in_time(client, recorded) -> None:
    name, call = client
    with nobody_accepts() as url:
        await fails(call, url, connect=SOON)
    assert only(recorded) == expected(url, failure(name, 2))


async def test_no_answer_in_time(client, recorded, server) -> None:
    name, call = client
    await fails(call, f"{server.url}/silent", read=SOON)
    assert only(recorded) == expected(server.url, failure(name, 3))


@pytest.mark.endtoend
async def test_the_rest_of_the_answer_does_not_come_in_time(client, recorded, server) -> None:
    name, call = client
    await fails(call, f"{server.url}/stalled", read=LATER)
    assert only(recorded) == expected(server.url, failure(name, 3), **_status(name))


@pytest.mark.parametrize("path", ["broken", "broken-chunks"])
async def test_the_answer_breaks(path, client, recorded, server) -> None:
    name, call = client
    await fails(call, f"{server.url}/{path}")
    assert only(recorded) == expected(server.url, failure(name, 4), **_status(name))


async def test_no_answer(client, recorded, server) -> None:
    name, call = client
    await fails(call, f"{server.url}/closed", method="POST")  # which no client sends again by itself
    assert only(recorded) == {**expected(server.url, failure(name, 5)), "http.request.method": "POST"}


async def test_an_answer_that_is_no_http(client, recorded, server) -> None:
    await fails(client[1], f"{server.url}/garbage")
    assert "http.response.status_code" not in only(recorded)
    assert only(recorded)["error.type"]


async def test_a_status_that_says_failure(client, recorded, server) -> None:
    assert await client[1](f"{server.url}/missing") == 404
    assert only(recorded) == expected(server.url, "404", **{"http.response.status_code": 404})


async def _httpx_stream(library, url, got) -> None:
    async with library.AsyncClient(timeout=60) as client, client.stream("GET", url) as response:
        async for _ in response.aiter_raw():
            got.set()


async def _aiohttp_stream(_library, url, got) -> None:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        async for _ in response.content.iter_any():
            got.set()


async def _aiohttp_response_stream(_library, url, got) -> None:
    async with aiohttp.ClientSession() as session:
        response = await session.get(url)
        async with response:
            await response.content.readany()
            got.set()
            await response.read()


STREAMS = [
    ("httpx", _httpx_stream, httpx),
    ("httpx2", _httpx_stream, httpx2),
    ("aiohttp-client", _aiohttp_stream, aiohttp),
    ("aiohttp-client", _aiohttp_response_stream, aiohttp),
]


@pytest.mark.parametrize("client", ["httpx async", "httpx2 async", "aiohttp"], indirect=True)
async def test_cancelled_before_the_answer(client, recorded, server) -> None:
    task = asyncio.create_task(client[1](f"{server.url}/silent"))
    await asyncio.to_thread(server.asked.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert only(recorded) == expected(server.url, "asyncio.exceptions.CancelledError")


@pytest.mark.parametrize(("name", "stream", "library"), STREAMS)
async def test_cancelled_within_the_answer(name, stream, library, recorded, server) -> None:
    registration = instrument_clients((name,))
    got = asyncio.Event()
    task = asyncio.create_task(stream(library, f"{server.url}/stalled", got))
    await got.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    registration.close()
    told = expected(server.url, "asyncio.exceptions.CancelledError", **{"http.response.status_code": 200})
    assert only(recorded) == told


async def test_a_timeout_of_the_whole_request_is_no_cancellation(recorded) -> None:
    registration = instrument_clients(("aiohttp-client",))
    with nobody_accepts() as url:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SOON)) as session:
            with pytest.raises(asyncio.TimeoutError):
                await session.get(url)
    registration.close()
    assert only(recorded)["error.type"] == error_type(asyncio.TimeoutError())


async def test_all_together_count_once(recorded, server) -> None:
    registration = instrument_clients(NAMES)
    for _, call in CALLS.values():
        await fails(call, f"{server.url}/broken")
    registration.close()
    assert sum(count for _, (count, _) in recorded.points(DURATION)) == len(CALLS)
