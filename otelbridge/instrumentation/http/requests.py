"""Measures the requests an application serves: H1 to H4 of the catalogue, in the stable HTTP conventions.

Recorded is what the official ASGI instrumentation records, without the spans it makes room for even where there are
none: those are most of what it costs.
"""

from __future__ import annotations

from contextvars import copy_context
from time import perf_counter
from typing import TYPE_CHECKING

from otelbridge.catalogue import http as catalogue
from otelbridge.domains.checks import OTHER
from otelbridge.domains.operation import error_type
from otelbridge.domains.recording import DomainMeter
from otelbridge.instrumentation.http.connection import CLIENT_DISCONNECTED, SCHEMES, VERSIONS, Connection, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otelbridge.instrumentation.http.connection import Message, Receive, Scope, Send
    from otelbridge.instrumentation.http.methods import KnownMethods
    from otelbridge.instrumentation.http.routes import Routes

    Write = Callable[[float], object]
    Writes = tuple[Write, Write, Write]
    Outcome = tuple[str | None, int | None, str | None]

_SERVER_ERROR = 500
_MAX_SETS = 1000
LENGTH = b"content-length"
# The messages an answer can end with, and what says that another one comes (ASGI, "HTTP", and its extensions).
_LAST = {
    "http.response.body": "more_body",
    "http.response.pathsend": "",  # it is the last one always
    "http.response.zerocopysend": "more_body",
}
_TRAILERS = {"http.response.trailers": "more_trailers"}

_domain = DomainMeter(catalogue.DOMAIN)
_meter = _domain.meter
_duration = _domain.recorder(catalogue.SERVER_REQUEST_DURATION)
_active = _domain.recorder(catalogue.SERVER_ACTIVE_REQUESTS)
_request_size = _domain.recorder(catalogue.SERVER_REQUEST_BODY_SIZE)
_response_size = _domain.recorder(catalogue.SERVER_RESPONSE_BODY_SIZE)


class Request(Connection):
    """One request under way.

    It lasts until the last message of its answer was sent: what the application does afterwards is no part of it. It
    is recorded then, unless it failed: the cause is known when the application has returned.

    Args:
        kind: What it has in common with others.
        scope: The ASGI scope.
        length: The field ``Content-Length``.
        receive: Gives what the client sends.
        send: Takes what is for the client.
    """

    _status: int | None = None
    _response_size: float | None = None
    _last = _LAST
    _sent = False
    _broken = False
    _seconds = 0.0

    def __init__(self, kind: RequestKind, scope: Scope, length: bytes | None, receive: Receive, send: Send) -> None:
        self._kind = kind
        self._scope = scope
        self._receive = receive
        self._send = send
        self._size = None if length is None else _number(length)
        kind.active(1)
        self._began = perf_counter()

    async def receive(self) -> Message:
        """Pass on what the client sends."""
        message = await self._receive()
        if not self._sent and message["type"] == "http.disconnect":
            self.gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application sends."""
        last = False
        if message["type"] == "http.response.start":
            self._start(message)
        elif not message.get(self._last.get(message["type"], "type")):
            last = self._sent = True  # a client that leaves from here on has its answer
            self._broken = self.failed  # a middleware may end an answer, and let the exception go on afterwards
        try:
            await self._send(message)
        except BaseException as error:
            if last:
                self._sent = False
            if isinstance(error, OSError):
                self.gone = True
            raise
        if last and self.open:
            self.close()
            if not self._broken and self._status is not None and self._status < _SERVER_ERROR:
                self._record(None)

    def _start(self, message: Message) -> None:
        try:
            self._context = copy_context()
            if message.get("trailers"):
                self._last = _TRAILERS
            if self.gone:
                return  # nobody gets it
            self._status = int(message["status"])  # an HTTPStatus has another text
            headers: Iterable[tuple[bytes, bytes]] = message.get("headers", ())
            if not isinstance(headers, (list, tuple)):  # which may be read only once
                message["headers"] = headers = list(headers)
            for name, value in headers:
                if name == LENGTH or name.lower() == LENGTH:
                    self._response_size = _number(value)
                    break
        except Exception as error:
            report(error)

    def close(self) -> None:
        """Count it no longer among the active ones. Never raises."""
        if self.open:
            self.open = False
            self._seconds = perf_counter() - self._began
            if self._kind.generation is _meter.generation:  # else its provider has gone
                self._kind.active(-1)

    def _record(self, failure: str | None) -> None:
        self.finished = True
        try:
            kind = self._kind
            route = self.route or kind.routes.route(self._scope)
            duration, request_size, response_size = kind.writes((route, self._status, failure))
            duration(self._seconds)
            if self._response_size is not None:
                response_size(self._response_size)
            if self._size is not None:
                request_size(self._size)
        except Exception as error:
            report(error)

    def _failure(self, error: BaseException | None) -> str | None:
        if self.gone:
            return CLIENT_DISCONNECTED
        failed = self._status is not None and self._status >= _SERVER_ERROR
        if error is not None and (failed or self._broken or not self._sent):
            return error_type(error)
        if failed:
            return str(self._status)
        return None if self._sent else OTHER


class RequestKinds:
    """The kinds of requests that one application gets.

    Args:
        routes: Finds the route of a request that no router has seen.
        methods: Tells which methods are recorded by name.
    """

    def __init__(self, routes: Routes, methods: KnownMethods) -> None:
        self._routes = routes
        self._methods = methods
        self._generation: object = None
        self._kinds: dict[tuple[str, str, str], RequestKind] = {}

    def find(self, scope: Scope) -> RequestKind:
        """Find the kind of a request.

        Args:
            scope: The ASGI scope.
        """
        if self._generation is not _meter.generation:
            self._generation, self._kinds = _meter.generation, {}
        key = scope["method"], scope.get("scheme", "http"), scope.get("http_version", "")
        return self._kinds.get(key) or self._find(scope, key)

    def _find(self, scope: Scope, key: tuple[str, str, str]) -> RequestKind:
        method, scheme, version = key
        named = method if self._methods.knows(scope) else OTHER, SCHEMES.get(scheme, ""), VERSIONS.get(version, "")
        kind = self._kinds.get(named)
        if kind is None:
            kind = self._kinds[named] = RequestKind(self._routes, *named)
        return kind


class RequestKind:
    """What requests of one method, scheme and version have in common, for the provider that is connected.

    Args:
        routes: Finds the route of a request that no router has seen.
        method: ``http.request.method``.
        scheme: ``url.scheme``, or nothing.
        version: ``network.protocol.version``, or nothing.
    """

    def __init__(self, routes: Routes, method: str, scheme: str, version: str) -> None:
        self.routes = routes
        """Finds the route of a request that no router has seen."""
        self.active: Write = _active.bound({"http.request.method": method, "url.scheme": scheme or None})
        """Counts requests that are under way."""
        self.generation = _meter.generation
        """Of the provider that counts them."""
        self._attributes = {
            "http.request.method": method,
            "url.scheme": scheme or None,
            "network.protocol.version": version or None,
        }
        self._writes: dict[Outcome, Writes] = {}

    def writes(self, outcome: Outcome) -> Writes:
        """Give what records the duration, and the sizes of request and response.

        Args:
            outcome: ``http.route``, ``http.response.status_code`` and ``error.type``.
        """
        if self.generation is not _meter.generation:
            return self._bind(outcome)
        writes = self._writes.get(outcome)
        if writes is None:
            writes = self._bind(outcome)
            if len(self._writes) < _MAX_SETS:
                self._writes[outcome] = writes
        return writes

    def _bind(self, outcome: Outcome) -> Writes:
        route, status, failure = outcome
        attributes = {
            **self._attributes,
            "http.route": route,
            "http.response.status_code": status,
            "error.type": failure,
        }
        return _duration.bound(attributes), _request_size.bound(attributes), _response_size.bound(attributes)


def _number(text: bytes) -> float | None:
    try:
        return float(int(text))
    except (ValueError, OverflowError):
        return None
