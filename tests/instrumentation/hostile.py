"""A client that chooses all a client can choose, over raw sockets: what it sends is the same for the same seed."""

from __future__ import annotations

import http.client
import random
import socket
import string
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_CONNECTIONS = 4
HANGING = 60.0

# In braces stands what is made up anew each time; see `Words`. All is Latin-1, a byte a character.
ODD: dict[str, tuple[str, ...]] = {
    "method": (
        "HEAD",
        "POST",
        "PUT",
        "DELETE",
        "PATCH",
        "OPTIONS",
        "TRACE",
        "QUERY",
        "PRI",
        "get",
        "_OTHER",
        "GE\0T",
        "",
    ),
    "target": (
        *("/", "/items/{number}", "/items/{word}", "/items/{long}", "/items/{bytes}", "/items/%{hex}", "/items/"),
        *("/items/{number}?{word}={word}", "/items/{number};{word}={word}", "/items//{number}", "/ITEMS/{number}"),
        *("/shop/orders/{word}", "/shop/{word}", "/static/hostile.py", "/static/{word}", "/static/../{word}"),
        *(
            "/tenants/{word}/orders/{word}",
            "/tenants/{word}/{word}",
            "/api/users/{word}",
            "/api/{word}",
            "/socket/{word}",
            "/%00",
            "/?",
            "?",
            "*",
            "",
            "http:///",
            "://",
        ),
        *("http://{host}/items/{number}", "{word}://{host}/items/{number}", "ws://{host}/socket/{word}"),
    ),
    "version": ("HTTP/1.0", "HTTP/0.9", "HTTP/2", "HTTP/2.0", "HTTP/3", "HTTP/{digit}.{digit}", "http/1.1", ""),
    "header": (
        *("X-Forwarded-Proto: https", "X-Forwarded-Proto: wss", "Transfer-Encoding: chunked", "Expect: 100-continue"),
        *(
            "Content-Length: {word}",
            "Content-Length: -{number}",
            "Content-Length: {number}",
            "Content-Length: {digits}",
        ),
        *("Transfer-Encoding: {word}", "Range: bytes={number}-", "Upgrade: h2c\r\nHTTP2-Settings: {word}"),
    ),
    "host": ("", "{host}\r\nHost: {host}", "[::{hex}]:{port}"),
    "websocket": (
        "{upgrade}\r\nSec-WebSocket-Version: 13",
        "{upgrade}\r\nSec-WebSocket-Version: {number}",
        "{upgrade}\r\nSec-WebSocket-Version: {word}",
        "{upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {word}, {word}",
        "{upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {bytes}",
        "{upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: {word}; {word}={number}",
        "{upgrade}\r\nSec-WebSocket-Version: 13\r\nOrigin: {host}",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {word}\r\nSec-WebSocket-Version: 13",
        "Upgrade: {word}\r\nConnection: Upgrade",
    ),
    "body": ("{word}", '{{"name": "{word}"}}', "{digit}\r\n{word}\r\n0\r\n\r\n"),
}
"""Forms of each part of a request that servers or applications may take for something of their own."""

MADE_UP: dict[str, tuple[str, ...]] = {
    "method": ("{word}", "{upper}", "{long}", "{bytes}", "GET{digit}", "X-{word}"),
    "target": (
        *(
            "/{word}",
            "/{word}/{word}",
            "/{long}",
            "/{bytes}",
            "/%{hex}%{hex}",
            "/%2e%2e/{word}",
            "/../{word}",
            "{word}",
        ),
        *("/{word}?{bytes}", "/#{word}", "//{word}/{word}", "/{word} {word}", "https://{host}:{port}/{word}"),
        *("{word}://{host}/{word}", "{host}:{port}"),
    ),
    "version": ("HTTP/4.{digit}", "HTTP/{number}", "HTTP/1.{number}", "HTTP/{word}", "{word}/1.1", "{long}", "{bytes}"),
    "header": (
        *("X-Forwarded-Proto: {word}", "X-Forwarded-Proto: {bytes}", "X-Forwarded-Proto: {long}", "X-Scheme: {word}"),
        *("X-Forwarded-For: {address}", "X-Forwarded-For: {word}", "X-Forwarded-Host: {host}", "X-Real-IP: {address}"),
        *(
            "X-Forwarded-Port: {port}",
            "X-Forwarded-Prefix: /{word}",
            "X-Forwarded-Scheme: {word}",
            "Via: {number} {word}",
        ),
        *("Forwarded: for={address};host={host};proto={word}", "X-Original-URL: /{word}", "X-Rewrite-URL: /{word}"),
        *("X-HTTP-Method-Override: {word}", "X-Script-Name: /{word}", "X-Request-Id: {long}", "{word}: {word}"),
        *(
            "traceparent: 00-{hex32}-{hex16}-01",
            "traceparent: {word}",
            "tracestate: {word}={word}",
            "tracestate: {bytes}",
        ),
        *("baggage: {word}={word}", "baggage: {bytes}", "User-Agent: {word}/{number}", "User-Agent: {long}"),
        *("User-Agent: {bytes}", "Content-Type: {word}/{word}", "Content-Type: {bytes}", "Accept: {word}/{word}"),
        *("Origin: http://{host}", "Referer: http://{host}/{word}", "Cookie: {word}={bytes}", "Authorization: {word}"),
        *("Access-Control-Request-Method: {word}", "Expect: {word}", "TE: {word}", "Trailer: {word}"),
        *("Content-Encoding: {word}", "HTTP2-Settings: {word}", "Upgrade: {word}"),
    ),
    "host": ("{host}", "{host}:{port}", "{word}", "{bytes}", "{address}:{port}", "{long}.{word}", "{host}/{word}"),
    "websocket": ("", "", "Sec-WebSocket-Version: {number}", "Sec-WebSocket-Protocol: {word}"),
    "body": ("", "{word}", "{bytes}"),
}
"""Forms of each part that mean nothing to anybody."""

_UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
TARGETS = (
    *("/", "/items/7", "/items/seven", "/items/", "/items", "/unknown", "/shop/orders/7", "/shop/unknown", "/shop"),
    *("/tenants/one/orders/7", "/tenants/one/unknown"),
    *("/static/hostile.py", "/static/unknown", "/api/users/name", "/socket/7"),
)


class Words(dict[str, str]):
    """What stands for the words in braces."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance

    def __missing__(self, word: str) -> str:
        return getattr(self, f"_{word}")()

    def _text(self, letters: str, least: int, most: int) -> str:
        return "".join(self._chance.choices(letters, k=self._chance.randint(least, most)))

    def _word(self) -> str:
        return self._text(string.ascii_letters, 1, 12)

    def _upper(self) -> str:
        return self._text(string.ascii_uppercase, 3, 8)

    def _long(self) -> str:
        return self._text(string.ascii_letters + string.digits, 1000, 3000)

    def _bytes(self) -> str:
        return self._text("".join(map(chr, range(0x80, 0x100))), 1, 20)

    def _digit(self) -> str:
        return self._text(string.digits, 1, 1)

    def _number(self) -> str:
        return str(self._chance.randrange(100_000))

    def _digits(self) -> str:
        return self._text(string.digits, 19, 40)

    def _hex(self) -> str:
        return self._text(string.hexdigits, 2, 2)

    def _hex16(self) -> str:
        return self._text("0123456789abcdef", 16, 16)

    def _hex32(self) -> str:
        return self._text("0123456789abcdef", 32, 32)

    def _host(self) -> str:
        return f"{self._word()}.example"

    def _port(self) -> str:
        return str(self._chance.randrange(1, 100_000))

    def _address(self) -> str:
        return ".".join(str(self._chance.randrange(256)) for _ in range(4))

    def _upgrade(self) -> str:
        return _UPGRADE


@dataclass(frozen=True)
class Request:
    """One request as it is sent."""

    method: str
    """What the client takes for its method; tells whether the answer has a body."""

    data: bytes
    """All of it."""

    last: bool
    """Whether nothing can be sent after it, since the server may wait for more of it."""


def requests(seed: int, count: int) -> Iterator[Request]:
    """Make up requests: in every other one a single part is odd or made up, in the others all are made up.

    Args:
        seed: Chooses them.
        count: How many.
    """
    chance = random.Random(seed)
    texts = Words(chance)
    for number in range(count):
        if number % 2:
            chosen = {part: chance.choice(forms) for part, forms in MADE_UP.items()}
        else:
            part = chance.choice((*ODD,))
            chosen = {part: chance.choice((*ODD[part], *MADE_UP[part]))}
        yield _request({part: form.format_map(texts) for part, form in chosen.items()})


def ordinary() -> Iterator[Request]:
    """Make what ordinary clients send: every route by several methods, the other methods, version and scheme once."""
    for method, target in product(("GET", "HEAD", "POST", "OPTIONS", "PROPFIND"), TARGETS):
        yield _request({"method": method, "target": target})
        yield _request({"method": method, "target": target, "body": "{}"})
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "QUERY"):
        yield _request({"method": method})
    yield _request({"version": "HTTP/1.0"})
    yield _request({"header": "X-Forwarded-Proto: https"})
    yield _request({"websocket": f"{_UPGRADE}\r\nSec-WebSocket-Version: 13"})


def _request(parts: Mapping[str, str]) -> Request:
    method, version = parts.get("method", "GET"), parts.get("version", "HTTP/1.1")
    target = parts.get("target", "/socket/7" if "websocket" in parts else "/items/7")
    lines = [f"{method} {target} {version}", f"Host: {parts.get('host', 'shop.example')}"]
    lines += [parts[part] for part in ("header", "websocket") if parts.get(part)]
    body = parts.get("body", "")
    # After these the server may wait for more than it gets.
    longer = any(word in line for line in lines for word in ("Content-Length", "Transfer-Encoding", "Upgrade"))
    if body and not longer:
        lines.append(f"Content-Length: {len(body)}")
    return Request(method, "\r\n".join((*lines, "", body)).encode("latin-1"), last=longer)


def send(port: int, requests: Iterable[Request]) -> int:
    """Send requests over several connections at a time; each is kept for as long as the server keeps it.

    Args:
        port: Where a server listens on the loopback address.
        requests: What is sent.

    Returns:
        How many were answered in HTTP/1.
    """
    requests = list(requests)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        shares = [requests[first::_CONNECTIONS] for first in range(_CONNECTIONS)]
        return sum(pool.map(lambda share: _send(port, share), shares))


def _send(port: int, requests: Iterable[Request]) -> int:
    answered, connection = 0, None
    for request in requests:
        if connection is None:
            connection = socket.create_connection(("127.0.0.1", port), timeout=HANGING)
        try:
            kept = _answered(connection, request)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, TimeoutError):
                raise AssertionError(f"neither answered nor closed: {request.data!r:.2000}") from error
            kept = False
        else:
            answered += 1
        if not kept:
            connection.close()
            connection = None
    if connection is not None:
        connection.close()
    return answered


def _answered(connection: socket.socket, request: Request) -> bool:
    """Send a request and read its answer; tells whether the connection can be used for another one."""
    connection.sendall(request.data)
    if request.last:
        connection.shutdown(socket.SHUT_WR)
    answer = http.client.HTTPResponse(connection, method=request.method)
    try:
        answer.begin()
        if answer.status == http.client.SWITCHING_PROTOCOLS:
            return False
        answer.read()
        return not (request.last or answer.will_close)
    finally:
        answer.close()
