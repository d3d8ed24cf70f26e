"""HTTP/1.1 as far as a scrape needs it: heads of requests in, whole answers out (RFC 9110, RFC 9112)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from otelbridge.diagnostics import logger, warn_once

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PLAIN = "text/plain; charset=utf-8"

# The empty line that ends a head. A bare line feed is found too, and refused then: waiting for more would
# only keep the client waiting.
END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):([^\x00-\x08\x0a-\x1f\x7f]*)")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*")


class HeadError(Exception):
    """A head that is no request.

    Args:
        status: What to answer.
    """

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request. What follows it is never read."""

    method: str
    """Method, as it was sent."""

    path: str
    """Path, as it was sent: nothing is decoded."""

    query: str = field(default="", repr=False)
    """What follows the question mark."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Fields by name in lower case; several of one name are joined with a comma. Holds credentials."""

    names: frozenset[str] = frozenset()
    """Subject alternative names of the client's verified certificate."""

    keep_alive: bool = False
    """Whether the connection can take another request after this one."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole answer."""

    status: HTTPStatus
    """Status."""

    body: bytes = field(default=b"", repr=False)
    """Content. That of an answer to HEAD is left out by whoever sends it."""

    headers: tuple[tuple[str, str], ...] = ()
    """Fields, but for those about length and connection."""


def message(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Response:
    """Make an answer of one line of text.

    Args:
        status: Its status.
        text: What it says, without a line feed at the end.
        *headers: Further fields.
    """
    plain = (("Content-Type", PLAIN), ("Cache-Control", "no-store"))
    return Response(status, f"{text}\n".encode(), plain + headers)


def failure(error: BaseException) -> Response:
    """Make the answer to a request that went wrong here, and say so in the log, once for each kind of error."""
    cause = ("answer", type(error).__qualname__)
    warn_once(cause, "A request to the metrics endpoint failed and got a 500 (%s)", describe(error))
    logger.debug("A request to the metrics endpoint failed", exc_info=error)
    return message(HTTPStatus.INTERNAL_SERVER_ERROR, "This failed; the log says why")


def describe(error: BaseException) -> str:
    """Write an error in one short line, whatever it does when it is asked for its text."""
    try:
        text = f"{error!s:.200}"
    except Exception:  # an error of others, which cannot even say what it is
        text = "(not shown)"
    return f"{type(error).__qualname__}: {text}"


def too_long() -> Response:
    """Make the answer for a client that need wait no longer."""
    return message(HTTPStatus.SERVICE_UNAVAILABLE, "The answer takes too long")


def parse_head(head: bytes, names: frozenset[str] = frozenset()) -> Request:
    """Read the head of a request.

    Args:
        head: Request line and fields, without the empty line at the end.
        names: Names in the client's certificate.

    Returns:
        The request.

    Raises:
        HeadError: It is none, or none of HTTP/1.
    """
    first, *lines = head.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise HeadError(HTTPStatus.BAD_REQUEST)
    method, target, major, minor = line.groups()
    if major != b"1":
        raise HeadError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    headers = _fields(lines)
    modern = minor != b"0"
    # Without one host an HTTP/1.1 request is invalid, with two it means different things to different readers.
    if "," in headers.get("host", "") or (modern and "host" not in headers):
        raise HeadError(HTTPStatus.BAD_REQUEST)
    path, query = _split_target(target.decode("ascii"))
    return Request(
        method=method.decode("ascii"),
        path=path,
        query=query,
        headers=headers,
        names=names,
        keep_alive=modern and not _announces_body(headers) and "close" not in _options(headers),
    )


def encode_head(response: Response, *, keep_alive: bool) -> bytes:
    """Write status line and fields of an answer.

    Args:
        response: The answer.
        keep_alive: Whether the connection stays open after it.

    Returns:
        Everything before the body, with the empty line.
    """
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    lines += [f"Content-Length: {len(response.body)}", f"Date: {formatdate(usegmt=True)}"]
    lines += [] if keep_alive else ["Connection: close"]
    return "\r\n".join((*lines, "", "")).encode("latin-1", "replace")


def join_fields(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Join the fields of a request (RFC 9110, section 5.3).

    Args:
        pairs: Names in lower case and values, in their order.

    Returns:
        One value a name.
    """
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _fields(lines: list[bytes]) -> dict[str, str]:
    found: list[tuple[str, str]] = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise HeadError(HTTPStatus.BAD_REQUEST)
        found.append((match[1].decode("ascii").lower(), match[2].strip(b" \t").decode("latin-1")))
    return join_fields(found)


def _split_target(target: str) -> tuple[str, str]:
    if not target.startswith("/"):
        # A proxy may be told the whole URL (RFC 9112, section 3.2.2).
        target = _ABSOLUTE.sub("", target, count=1) or "/"
    path, _, query = target.partition("?")
    return path or "/", query


def _announces_body(headers: Mapping[str, str]) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _options(headers: Mapping[str, str]) -> frozenset[str]:
    return frozenset(option.strip().lower() for option in headers.get("connection", "").split(","))
