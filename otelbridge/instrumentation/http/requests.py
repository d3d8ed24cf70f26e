"""Measures the requests an application serves: H1 to H4 of the catalogue, in the stable HTTP conventions.

Recorded is what the official ASGI instrumentation records, without the spans it makes room for even where there are
none: those are most of what it costs. Where spans are wanted it makes them, around this.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry.context import attach, detach

from otelbridge.catalogue import http as catalogue
from otelbridge.diagnostics import warn_once
from otelbridge.domains import health
from otelbridge.domains.checks import OTHER
from otelbridge.domains.recording import DomainMeter
from otelbridge.instrumentation.http.propagation import incoming

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from otelbridge.instrumentation.http.exclusion import Exclusion
    from otelbridge.instrumentation.http.methods import KnownMethods
    from otelbridge.instrumentation.http.propagation import Headers
    from otelbridge.instrumentation.http.routes import SpanDetails

    Scope = dict[str, Any]
    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]
    Write = Callable[[float], object]

_SERVER_ERROR = 500
_MAX_SETS = 1000
_LENGTH = b"content-length"
# An application mounted in this one may have one of these, too.
_MARK = "otelbridge.measured"

_meter = DomainMeter(catalogue.DOMAIN)
_duration = _meter.recorder(catalogue.SERVER_REQUEST_DURATION)
_active = _meter.recorder(catalogue.SERVER_ACTIVE_REQUESTS)
_request_size = _meter.recorder(catalogue.SERVER_REQUEST_BODY_SIZE)
_response_size = _meter.recorder(catalogue.SERVER_RESPONSE_BODY_SIZE)


class RequestMetrics:
    """Serves requests through an ASGI application and measures them; counts exceptions nobody handled.

    Args:
        app: The application, with what turns its exceptions into responses.
        details: Finds the route of a request.
        methods: Tells which methods are recorded by name.
        exclusion: Tells which requests are not measured.
    """

    def __init__(self, app: App, details: SpanDetails, methods: KnownMethods, exclusion: Exclusion) -> None:
        self.app = app
        """The application."""
        self.open = True
        """False lets everything pass unseen, for where this cannot be taken out again."""
        self._details = details
        self._methods = methods
        self._exclusion = exclusion
        self._handles = _Handles(None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI asks for."""
        if not self.open or scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        # What FastAPI itself puts there for a request it is not to record: one mounted in this application
        # would otherwise count the request a second time.
        scope.setdefault("fastapi.telemetry", None)
        request = self._begin(scope, send) if scope["type"] == "http" and _MARK not in scope else None
        try:
            await self.app(scope, receive, send if request is None else request.send)
        except Exception as error:
            health.exception(error, origin="http")
            raise
        finally:
            if request is not None:
                self._finish(request)

    def _begin(self, scope: Scope, send: Send) -> _Request | None:
        request: _Request | None = None
        try:
            if not _meter.active or self._exclusion.excludes(scope):
                return None
            scope[_MARK] = True
            method = scope["method"] if self._methods.knows(scope) else OTHER
            scheme = scope.get("scheme", "http")
            key = method, scheme, scope.get("http_version"), self._details.route(scope)
            handles = self._current()
            request = _Request(send, key, handles, handles.active(method, scheme), scope["headers"])
            request.active(1)
        except Exception as error:  # a server of its own making must not cost the request
            report(error)
        return request

    def _finish(self, request: _Request) -> None:
        seconds = perf_counter() - request.began
        try:
            handles = self._current()
            if handles is request.handles:  # else another provider has been connected, which has never counted it
                request.active(-1)
            duration, request_size, response_size = handles.sizes((*request.key, request.status))
            duration(seconds)
            if request.size is not None:
                request_size(request.size)
            if request.response_size is not None:
                response_size(request.response_size)
        except Exception as error:
            report(error)
        if request.token is not None:
            detach(request.token)

    def _current(self) -> _Handles:
        handles, generation = self._handles, _meter.generation
        if handles.generation is not generation:
            handles = self._handles = _Handles(generation)
        return handles


class _Handles:
    """What records, by what tells requests apart, for one provider."""

    __slots__ = ("_active", "_writes", "generation")

    def __init__(self, generation: object) -> None:
        self.generation = generation
        self._active: dict[object, Write] = {}
        self._writes: dict[object, tuple[Write, Write, Write]] = {}

    def active(self, method: str, scheme: str) -> Write:
        """Count requests that are under way."""
        write = self._active.get((method, scheme))
        if write is None:
            write = _active.bound({"http.request.method": method, "url.scheme": scheme})
            if len(self._active) < _MAX_SETS:
                self._active[method, scheme] = write
        return write

    def sizes(self, key: tuple[Any, ...]) -> tuple[Write, Write, Write]:
        """Record the duration, and the sizes of request and response."""
        writes = self._writes.get(key)
        if writes is None:
            method, scheme, version, route, status = key
            attributes = {
                "http.request.method": method,
                "url.scheme": scheme,
                "network.protocol.version": version,
                "http.route": route,
                "http.response.status_code": status,
                "error.type": str(status) if status is not None and status >= _SERVER_ERROR else None,
            }
            writes = _duration.bound(attributes), _request_size.bound(attributes), _response_size.bound(attributes)
            if len(self._writes) < _MAX_SETS:
                self._writes[key] = writes
        return writes


class _Request:
    """One request under way."""

    __slots__ = ("_send", "active", "began", "handles", "key", "response_size", "size", "status", "token")

    def __init__(self, send: Send, key: tuple[Any, ...], handles: _Handles, active: Write, headers: Headers) -> None:
        self._send = send
        self.key = key
        self.handles = handles
        self.active = active
        self.status: int | None = None
        self.response_size: int | None = None
        self.size = _length(headers)
        context = incoming(headers)
        self.token = None if context is None else attach(context)
        self.began = perf_counter()

    async def send(self, message: Message) -> None:
        """Pass on what the application sends."""
        if message["type"] == "http.response.start":
            try:
                self.response_size = _length(message.get("headers", ()))
                self.status = int(message["status"])  # an HTTPStatus has another text
            except Exception as error:
                report(error)
        await self._send(message)


def _length(headers: Headers) -> int | None:
    for name, value in headers:
        if len(name) == len(_LENGTH) and name.lower() == _LENGTH:
            try:
                return int(value)
            except ValueError:
                return None
    return None


def report(error: Exception) -> None:
    """Say once that recording a request failed.

    Args:
        error: How.
    """
    warn_once(
        ("http.server", "raised", type(error).__name__),
        "Recording an HTTP request raised %r; the request is served, its measurements may be missing.",
        error,
    )
