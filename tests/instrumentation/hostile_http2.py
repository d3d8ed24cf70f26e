"""The hostile client over HTTP/2, where method, scheme, path and host are headers of their own."""

from __future__ import annotations

import random
import socket
from itertools import product
from typing import TYPE_CHECKING

import hpack
from hyperframe.frame import Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from tests.instrumentation.hostile import HANGING, MADE_UP, ODD, TARGETS, Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Headers = list[tuple[bytes, bytes]]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_SCHEMES = ("http", "https", "ws", "wss", "{word}", "{bytes}", "{long}", "")
_HEADER = 9
_STREAM = 1


def requests(seed: int, count: int) -> Iterator[Headers]:
    """Make up requests, as `tests.instrumentation.hostile.requests` does."""
    chance = random.Random(seed)
    words = Words(chance)
    odd = {**ODD, "scheme": _SCHEMES}
    made_up = {**MADE_UP, "scheme": _SCHEMES}
    parts = ("method", "scheme", "target", "host", "header")
    for number in range(count):
        if number % 2:
            chosen = {part: chance.choice(made_up[part]) for part in parts}
        else:
            part = chance.choice(parts)
            chosen = {part: chance.choice((*odd[part], *made_up[part]))}
        yield _headers({part: form.format_map(words) for part, form in chosen.items()})


def ordinary() -> Iterator[Headers]:
    """Make what ordinary clients send: every route by several methods."""
    for method, target in product(("GET", "HEAD", "POST", "OPTIONS", "PROPFIND"), TARGETS):
        yield _headers({"method": method, "target": target})


def _headers(parts: dict[str, str]) -> Headers:
    headers = [
        (":method", parts.get("method", "GET")),
        (":scheme", parts.get("scheme", "http")),
        (":path", parts.get("target", "/items/7")),
        (":authority", parts.get("host", "shop.example")),
    ]
    for line in filter(None, parts.get("header", "").split("\r\n")):
        name, _, value = line.partition(": ")
        headers.append((name.lower(), value))
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def send(port: int, requests: Iterable[Headers]) -> int:
    """Send requests, each over a connection of its own, since a server ends one that it takes offence at.

    Args:
        port: Where a server listens on the loopback address.
        requests: What is sent.

    Returns:
        How many were answered.
    """
    return sum(_answered(port, headers) for headers in requests)


def _answered(port: int, headers: Headers) -> bool:
    request = HeadersFrame(_STREAM)
    request.data = hpack.Encoder().encode(headers)
    request.flags.add("END_HEADERS")
    request.flags.add("END_STREAM")
    with socket.create_connection(("127.0.0.1", port), timeout=HANGING) as connection:
        connection.sendall(_PREFACE + SettingsFrame(0).serialize() + request.serialize())
        try:
            return any(isinstance(frame, HeadersFrame) for frame in _frames(connection))
        except ConnectionError:
            return False


def _frames(connection: socket.socket) -> Iterator[Frame]:
    """Give the frames of an answer, up to the last one."""
    with connection.makefile("rb") as stream:
        while len(header := stream.read(_HEADER)) == _HEADER:
            frame, length = Frame.parse_frame_header(memoryview(header))
            stream.read(length)
            yield frame
            ended = frame.stream_id == _STREAM and ("END_STREAM" in frame.flags or isinstance(frame, RstStreamFrame))
            if ended or isinstance(frame, GoAwayFrame):
                return
