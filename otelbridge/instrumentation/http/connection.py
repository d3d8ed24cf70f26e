"""One connection while the application serves it: what requests and WebSockets have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from otelbridge.catalogue.http import PROTOCOL_VERSION, SCHEME
from otelbridge.diagnostics import warn_once
from otelbridge.domains import health

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

    from opentelemetry.context import Context as OtelContext

    Scope = dict[str, Any]
    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

CLIENT_DISCONNECTED = "client_disconnected"
"""The ``error.type`` of what its client did not wait for."""

SCHEMES = {scheme: scheme for scheme in SCHEME.values}
"""``url.scheme`` by the scheme of an ASGI scope. Any other is left out: a proxy's client may have chosen it."""
VERSIONS = {**{version: version for version in PROTOCOL_VERSION.values}, "1": "1.0"}
"""``network.protocol.version`` by the version of an ASGI scope. Any other is left out: clients write it."""
# What frameworks and servers raise into an application whose client has gone; told by name, since none is imported.
_DISCONNECTS = frozenset(("ClientDisconnect", "WebSocketDisconnect", "OSError"))


class Connection:
    """One connection. By itself it is not measured; `Request` and `Session` are.

    What most connections never change stands on the class: making one is part of what a request costs.

    Args:
        scope: The ASGI scope.
        receive: Gives what the client sends.
        send: Takes what is for the client.
    """

    parent: OtelContext | None = None
    """The context its client sent along, if any."""

    route: str | None = None
    """Template of the route that answers, as soon as a router has chosen it."""

    failed = False
    """Whether an exception has left its route."""

    gone = False
    """Whether the client went away before it had its answer."""

    open = True
    """Whether it is counted among the active ones."""

    finished = False
    """Whether it is recorded."""

    # As soon as it is answered: the span of the request is in it, if there is one.
    _context: Context | None = None

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """Pass on what the client sends."""
        message = await self._receive()
        if message["type"].endswith(".disconnect"):
            self.gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application sends."""
        try:
            await self._send(message)
        except OSError:
            self.gone = True
            raise

    def close(self) -> None:
        """Count it no longer among the active ones. Never raises."""
        self.open = False

    def withdraw(self) -> None:
        """Measure it no further, and record nothing of it."""
        self.close()
        self.finished = True

    def finish(self, error: BaseException | None) -> None:
        """Record what is not recorded yet, when the application has returned. Never raises.

        Args:
            error: What the application raised.
        """
        if isinstance(error, Exception) and not (self.gone and is_disconnect(error)):
            health.exception(error, origin="http")
        if self.open:
            self.close()
        if self.finished:
            return
        failure = self._failure(error)
        if self._context is None:
            self._record(failure)
        else:
            self._context.run(self._record, failure)

    def _failure(self, error: BaseException | None) -> str | None:  # noqa: ARG002  # one that is measured needs it
        """Give ``error.type``."""
        return None

    def _record(self, failure: str | None) -> None:  # noqa: ARG002  # the same
        """Record it, once. Must not raise."""
        self.finished = True


def is_disconnect(error: BaseException) -> bool:
    """Tell whether an exception means that the client went away.

    Args:
        error: What the application raised.
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "BaseExceptionGroup" in kinds:  # of a task group that waited for the client; Python 3.10 has none of its own
        return all(is_disconnect(each) for each in cast("Any", error).exceptions)
    return not _DISCONNECTS.isdisjoint(kinds)


def report(error: Exception) -> None:
    """Say once that recording a connection failed.

    Args:
        error: How.
    """
    warn_once(
        ("http.server", "raised", type(error).__name__),
        "Recording an HTTP request raised %r; the request is served, its measurements may be missing.",
        error,
    )
