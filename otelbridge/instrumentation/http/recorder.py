"""What stands between the server and the application: the official middleware, made safe."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from opentelemetry.semconv.attributes.http_attributes import HTTP_REQUEST_METHOD_ORIGINAL
from opentelemetry.trace import get_current_span

from otelbridge.domains.checks import OTHER
from otelbridge.instrumentation.http.connection import Connection, report
from otelbridge.instrumentation.http.exclusion import is_excluded

if TYPE_CHECKING:
    from collections.abc import Collection

    from otelbridge.instrumentation.http.connection import App, Receive, Scope, Send
    from otelbridge.instrumentation.http.methods import KnownMethods


class RequestRecorder:
    """Runs requests through the official ASGI middleware and counts exceptions nobody handled.

    The official middleware is not taken as it is, for two reasons. It decodes headers in a way that raises
    on bytes any client can send, which would turn telemetry into an outage: such a request is shown to it
    a second time with its bytes made readable. And it keeps the size of the response on itself, where
    concurrent requests overwrite it and a streamed response finds that of another: so each request has a
    shallow copy of its own.

    Args:
        middleware: An official ``OpenTelemetryMiddleware`` around the application.
        excluded_paths: Exact paths that are not recorded.
        methods: Tells which methods are recorded by name.
        plain: The application with nothing around it.
    """

    def __init__(self, middleware: Any, excluded_paths: Collection[str], methods: KnownMethods, plain: App) -> None:
        self._middleware = middleware
        self._methods = methods
        self._excluded_paths = frozenset(excluded_paths)
        self._inner: App = middleware.app
        self._plain = plain
        self.app = middleware
        """The official middleware. FastAPI records requests by itself unless it finds one by following ``app``
        through the stack; hidden, every request would count twice."""
        self.open = True
        """False lets everything pass unseen, for where the recorder cannot be taken out again."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI asks for."""
        if not self.open or scope["type"] not in ("http", "websocket"):
            await self._plain(scope, receive, send)
            return
        # What FastAPI itself puts there for a request it is not to record: one mounted in this application
        # would otherwise count the request a second time.
        scope.setdefault("fastapi.telemetry", None)
        run = _Run(self._inner, scope)
        if is_excluded(scope, self._excluded_paths):
            await run(scope, receive, send)
            return
        shown = scope if self._methods.knows(scope) else {**scope, "method": OTHER}
        trouble = await self._record(run, shown, receive, send)
        if trouble is not None and not run.entered:
            trouble = await self._record(run, _readable(shown), receive, send)
        if trouble is not None:
            report(trouble)
            if not run.entered:
                await run(scope, receive, send)

    async def _record(self, run: _Run, scope: Scope, receive: Receive, send: Send) -> Exception | None:
        """Run the application within the official middleware; gives back what the latter itself raised."""
        middleware = copy(self._middleware)
        middleware.app = run
        try:
            await middleware(scope, receive, send)
        except Exception as error:
            if run.error is not None:
                raise run.error  # noqa: B904 - the application's own, as if nothing stood in between
            return error
        return None


class _Run:
    """One run of the application, always on the true scope: notes whether it began and how it failed."""

    __slots__ = ("_app", "_scope", "entered", "error")

    def __init__(self, app: App, scope: Scope) -> None:
        self._app = app
        self._scope = scope
        self.entered = False
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.entered = True
        if scope.get("method") != self._scope.get("method"):
            get_current_span().set_attribute(HTTP_REQUEST_METHOD_ORIGINAL, self._scope["method"])
        connection = Connection(self._scope, receive, send)
        try:
            await self._app(self._scope, connection.receive, connection.send)
        except Exception as error:
            self.error = error
            connection.finish(error)
            raise


def _readable(scope: Scope) -> Scope:
    """Copy a scope with UTF-8 for whatever bytes the client sent, which HTTP takes for Latin-1."""
    headers = [(_utf8(name), _utf8(value)) for name, value in scope.get("headers", ())]
    return {**scope, "headers": headers, "query_string": _utf8(scope.get("query_string", b""))}


def _utf8(text: bytes) -> bytes:
    return text.decode("latin-1").encode()
