"""What stands between the server and the application: the official middleware, made safe."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.domains import health
from otelbridge.instrumentation.http.exclusion import is_excluded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    Scope = dict[str, Any]
    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RequestRecorder:
    """Runs requests through the official ASGI middleware and counts exceptions nobody handled.

    The official middleware is not taken as it is, for two reasons. It decodes headers in a way that raises
    on bytes any client can send, which would turn telemetry into an outage: what it raises before the
    application was reached is reported once, and the request goes on without it. And it keeps the size of
    the response on itself, where concurrent requests overwrite it and a streamed response finds that of
    another: so each request has a shallow copy of its own.

    Args:
        middleware: An official ``OpenTelemetryMiddleware`` around the application.
        excluded_paths: Exact paths that are not recorded.
    """

    def __init__(self, middleware: Any, excluded_paths: Collection[str]) -> None:
        self._middleware = middleware
        self._excluded_paths = frozenset(excluded_paths)
        self.app: App = middleware.app
        self.open = True
        """False lets everything pass unseen, for where the recorder cannot be taken out again."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI asks for."""
        if not self.open or scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        run = _Run(self.app)
        if is_excluded(scope, self._excluded_paths):
            await run(scope, receive, send)
            return
        middleware = copy(self._middleware)
        middleware.app = run
        try:
            await middleware(scope, receive, send)
        except Exception as error:
            if run.error is not None:
                raise run.error  # noqa: B904 - the application's own, as if nothing stood in between
            warn_once(
                ("http.server", "raised", type(error).__name__),
                "Recording an HTTP request raised %r; the request is served, its measurements may be missing.",
                error,
            )
            if not run.entered:
                await run(scope, receive, send)


class _Run:
    """One run of the application: notes whether it began and how it failed."""

    __slots__ = ("_app", "entered", "error")

    def __init__(self, app: App) -> None:
        self._app = app
        self.entered = False
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered = True
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            self.error = error
            health.exception(error, origin="http")
            raise
