"""HTTP/1.1 on a connection: the head of a request, and the answer to it. The standard library parses the latter."""

from __future__ import annotations

import http.client
import zlib
from contextlib import closing
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from otelbridge.otlp.connection import AnswerTooLongError
from otelbridge.otlp.verdict import MAX_ANSWER, HttpAnswer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from otelbridge.otlp.connection import Connection, Deadline

# We ask for none, but not everybody listens. True where the body has to be decompressed.
_ENCODINGS = {"": False, "identity": False, "gzip": True, "x-gzip": True, "deflate": True}
_CHUNK = 64 * 1024
# What a failure has to say besides its status is worth this many seconds.
_PATIENCE = 1.0

MAX_HEAD = 64 * 1024
"""Most bytes of the head of an answer that are read."""


def request_head(method: str, target: str, fields: Mapping[str, str]) -> bytes:
    """Encode the head of a request.

    Args:
        method: Its method.
        target: Its target.
        fields: Its headers.

    Returns:
        The head with the empty line behind it.
    """
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("ascii")


def receive(connection: Connection, deadline: Deadline) -> tuple[HttpAnswer, bool]:
    """Read the answer to a POST.

    Args:
        connection: Where it comes.
        deadline: When all of it has to be here.

    Returns:
        The answer, decoded, and whether the connection can be kept after it.

    Raises:
        AnswerTooLongError: It is longer than an answer may be.
        OSError: The connection is broken; `TimeoutError` when it does not come in time.
        http.client.HTTPException: What comes is not HTTP, or ends too early.
        zlib.error: The body cannot be decoded.
    """
    with closing(http.client.HTTPResponse(cast("socket.socket", connection), method="POST")) as response:
        response.begin()
        body, whole = _body(response, connection, deadline)
        return describe(response, body), whole and not response.will_close


def describe(response: http.client.HTTPResponse, body: bytearray | None) -> HttpAnswer:
    """Take of a response what a verdict needs.

    Args:
        response: A response whose head has been read.
        body: Its decoded body; None where it was not read.

    Returns:
        The answer.
    """
    get = response.headers.get
    return HttpAnswer(
        status=response.status,
        content_type=get("content-type", ""),
        retry_after=get("retry-after", ""),
        date=get("date", ""),
        location=get("location", ""),
        body=body,
    )


def _body(
    response: http.client.HTTPResponse, connection: Connection, deadline: Deadline
) -> tuple[bytearray | None, bool]:
    if response.status == HTTPStatus.OK:
        connection.expect(MAX_ANSWER + MAX_HEAD, deadline)
        return _read(response), True
    # The status says enough; a body that does not come, or does not end, changes nothing about it.
    connection.expect(MAX_ANSWER + MAX_HEAD, deadline.within(_PATIENCE))
    try:
        return _read(response), True
    except (OSError, http.client.HTTPException, AnswerTooLongError, zlib.error):
        return None, False


def _read(response: http.client.HTTPResponse) -> bytearray:
    if (response.length or 0) > MAX_ANSWER:
        raise AnswerTooLongError
    body = bytearray()
    for piece in _decoded(response):
        body += piece
        if len(body) > MAX_ANSWER:
            raise AnswerTooLongError
    if response.length:
        raise http.client.IncompleteRead(b"")
    return body


def _decoded(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Give the body in pieces of at most 64 KiB, decompressed."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in _ENCODINGS:
        raise zlib.error
    if not _ENCODINGS[encoding]:
        while chunk := response.read1(_CHUNK):
            yield chunk
        return
    unzip, begun = zlib.decompressobj(zlib.MAX_WBITS | 32), False
    while chunk := response.read1(_CHUNK):
        begun = True
        while chunk and not unzip.eof:
            yield unzip.decompress(chunk, _CHUNK)
            chunk = unzip.unconsumed_tail
    if begun and not unzip.eof:
        raise zlib.error
