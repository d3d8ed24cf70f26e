"""What stands between the server and the application: measures each connection and counts exceptions nobody handled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import attach, detach

from otelbridge.asgi import CONNECTION
from otelbridge.catalogue import http as catalogue
from otelbridge.domains.recording import DomainMeter
from otelbridge.instrumentation.http.connection import Connection, report
from otelbridge.instrumentation.http.propagation import Propagation
from otelbridge.instrumentation.http.requests import LENGTH, Request, RequestKinds
from otelbridge.instrumentation.http.websockets import Session

if TYPE_CHECKING:
    from otelbridge.instrumentation.http.connection import App, Receive, Scope, Send
    from otelbridge.instrumentation.http.exclusion import Exclusion
    from otelbridge.instrumentation.http.methods import KnownMethods
    from otelbridge.instrumentation.http.routes import Routes


_meter = DomainMeter(catalogue.DOMAIN).meter


class MetricsMiddleware:
    """Serves connections through an ASGI application and measures them.

    Args:
        app: The application, with what turns its exceptions into responses.
        routes: Finds the route of a request that no router has seen.
        methods: Tells which methods are recorded by name.
        exclusion: Tells which requests are not measured; None measures all.
    """

    def __init__(self, app: App, routes: Routes, methods: KnownMethods, exclusion: Exclusion | None = None) -> None:
        self.app = app
        """The application."""
        self.open = True
        """False lets everything pass unseen, for where this cannot be taken out again."""
        self._routes = routes
        self._exclusion = exclusion
        self._kinds = RequestKinds(routes, methods)
        self._propagation = Propagation()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI asks for."""
        if not self.open or CONNECTION in scope or scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        connection = self._begin(scope, receive, send)
        token = None if connection.parent is None else attach(connection.parent)
        try:
            await self.app(scope, connection.receive, connection.send)
        except BaseException as error:
            connection.finish(error)
            raise
        finally:
            if not connection.finished:
                connection.finish(None)
            scope.pop(CONNECTION, None)  # the two know each other, and would have to wait for the garbage collector
            if token is not None:
                detach(token)

    def _begin(self, scope: Scope, receive: Receive, send: Send) -> Connection:
        connection: Connection
        try:
            # What FastAPI itself puts there for a request it is not to record: one mounted in this application
            # would otherwise count the request a second time.
            scope.setdefault("fastapi.telemetry", None)
            headers = dict(scope["headers"])
            parent = self._propagation.incoming(headers)
            if not _meter.active or (self._exclusion is not None and self._exclusion.excludes(scope)):
                connection = Connection(scope, receive, send)
            elif scope["type"] == "http":
                connection = Request(self._kinds.find(scope), scope, headers.get(LENGTH), receive, send)
            else:
                connection = Session(self._routes, scope, receive, send)
            if parent is not None:
                connection.parent = parent
        except Exception as error:  # a server of its own making must not cost the request
            report(error)
            connection = Connection(scope, receive, send)
        scope[CONNECTION] = connection
        return connection
