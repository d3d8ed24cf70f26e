"""Measures the WebSockets an application serves: H6 to H8 of the catalogue."""

from __future__ import annotations

from contextvars import copy_context
from time import perf_counter
from typing import TYPE_CHECKING, Any

from otelbridge.catalogue import http as catalogue
from otelbridge.domains.checks import OTHER
from otelbridge.domains.operation import error_type
from otelbridge.domains.recording import DomainMeter
from otelbridge.instrumentation.http.connection import (
    CLIENT_DISCONNECTED,
    SCHEMES,
    VERSIONS,
    Connection,
    is_disconnect,
    report,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.instrumentation.http.connection import Message, Receive, Scope, Send
    from otelbridge.instrumentation.http.routes import Routes

_SWITCHING, _FORBIDDEN, _SERVER_ERROR = 101, 403, 500
# A client may send any code up to 4999; these are the ones that say something (RFC 6455, and the registry of IANA).
_REGISTERED = frozenset((*range(1000, 1004), *range(1005, 1016)))

_domain = DomainMeter(catalogue.DOMAIN)
_meter = _domain.meter
_active = _domain.recorder(catalogue.WEBSOCKET_ACTIVE_CONNECTIONS)
_duration = _domain.recorder(catalogue.WEBSOCKET_CONNECTION_DURATION)
_messages = _domain.recorder(catalogue.WEBSOCKET_MESSAGES)


class Session(Connection):
    """One WebSocket: from the handshake until either side closes it.

    Args:
        routes: Finds the route of a WebSocket that no router has seen.
        scope: The ASGI scope.
        receive: Gives what the client sends.
        send: Takes what is for the client.
    """

    _accepted: dict[str, Any] | None = None
    _status: int | None = None
    _close_code: str | None = None
    _generation: object = None
    _seconds = 0.0

    def __init__(self, routes: Routes, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self._routes = routes
        self._received: Callable[[float], object] = _discard
        self._sent: Callable[[float], object] = _discard
        self._began = perf_counter()

    async def receive(self) -> Message:
        """Pass on what the client sends."""
        message = await self._receive()
        kind = message["type"]
        if kind == "websocket.receive":
            self._received(1)
        elif kind == "websocket.disconnect":
            self.gone = True
            self._closed(message.get("code"), _REGISTERED)
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application sends."""
        kind = message["type"]
        try:
            await self._send(message)
        except OSError:
            self.gone = True
            raise
        if kind == "websocket.send":
            self._sent(1)
        elif kind in _SENT:
            _SENT[kind](self, message)

    def _accept(self, _message: Message) -> None:
        try:
            self._context = copy_context()
            self._status = _SWITCHING
            self.route = self.route or self._routes.route(self._scope)
            route = {"http.route": self.route}
            self._generation = _meter.generation
            self._received = _messages.bound({**route, "network.io.direction": "receive"})
            self._sent = _messages.bound({**route, "network.io.direction": "transmit"})
            self._accepted = {**route, "url.scheme": SCHEMES.get(self._scope.get("scheme", "ws"))}
            if self.open:  # else the client left meanwhile
                _active.record(1, self._accepted)
        except Exception as error:
            report(error)

    def _close_sent(self, message: Message) -> None:
        if self._status is None:
            self._status = _FORBIDDEN  # which is what a server answers to a handshake that is not accepted
            self.close()
        else:
            self._closed(message.get("code", 1000), None)

    def _denied(self, message: Message) -> None:
        try:
            self._status = int(message["status"])
        except Exception as error:
            report(error)

    def _closed(self, code: Any, known: frozenset[int] | None) -> None:
        if self._status == _SWITCHING and self._close_code is None:
            # A server that was not told has 1005 for it (RFC 6455, section 7.1.5).
            code = 1005 if code is None else code
            self._close_code = str(code) if known is None or code in known else OTHER
        self.close()

    def close(self) -> None:
        """Count it no longer among the active ones. Never raises."""
        if not self.open:
            return
        self.open = False
        self._seconds = perf_counter() - self._began
        if self._accepted is not None and self._generation is _meter.generation:
            _active.record(-1, self._accepted)

    def _record(self, failure: str | None) -> None:
        self.finished = True
        try:
            attributes = {
                "http.route": self.route or self._routes.route(self._scope),
                "url.scheme": SCHEMES.get(self._scope.get("scheme", "ws")),
                "network.protocol.version": VERSIONS.get(self._scope.get("http_version", "")),
                "http.response.status_code": self._status,
                "websocket.close.code": self._close_code,
                "error.type": failure,
            }
            _duration.record(self._seconds, attributes)
        except Exception as error:
            report(error)

    def _failure(self, error: BaseException | None) -> str | None:
        if error is not None:
            return None if self.gone and is_disconnect(error) else error_type(error)
        if self._status is None:
            return CLIENT_DISCONNECTED if self.gone else OTHER
        return str(self._status) if self._status >= _SERVER_ERROR else None


_SENT: dict[str, Callable[[Session, Any], None]] = {
    "websocket.accept": Session._accept,  # pyright: ignore[reportPrivateUsage]
    "websocket.close": Session._close_sent,  # pyright: ignore[reportPrivateUsage]
    "websocket.http.response.start": Session._denied,  # pyright: ignore[reportPrivateUsage]
}


def _discard(_count: float) -> None:
    """Take a count of a connection that was not accepted."""
