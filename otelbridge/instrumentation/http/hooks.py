"""Hooks into Starlette, and so into FastAPI: the connections of an application, and the routes its routers choose.

They stand on the classes, for as long as the process lives, and let pass whatever belongs to no measured application.
So it makes no difference when the application builds its stack of middlewares, who wraps it, and who rewrites or copies
the scope on its way to the router.
"""

from __future__ import annotations

from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

from otelbridge.asgi import CONNECTION
from otelbridge.instrumentation.http.connection import report
from otelbridge.instrumentation.imports import when_imported

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.instrumentation.http.connection import App, Connection, Receive, Scope, Send

MIDDLEWARE = "_otelbridge_middleware"
"""Name of the attribute in which a Starlette application has its `MetricsMiddleware`."""

_MOUNTED = "otelbridge.mounted"
_MAX_DEPTH = 50  # of middlewares around an application: an attribute may lead in circles


def is_measured(app: object) -> bool:
    """Tell whether the connections of an application are measured, also through middlewares that stand around it.

    Args:
        app: Anything.
    """
    for _ in range(_MAX_DEPTH):
        if app is None or MIDDLEWARE in getattr(app, "__dict__", ()):
            break
        app = getattr(app, "app", None)  # which is what middlewares call it
    return MIDDLEWARE in getattr(app, "__dict__", ())


@lru_cache(maxsize=1)
def hook_starlette() -> App:
    """Have applications serve their connections through their middleware, and routes say that they were chosen.

    Returns:
        What serves a connection by the application in its scope, as that did before.
    """
    from starlette.applications import Starlette
    from starlette.routing import Mount, Route, WebSocketRoute

    serve: Any = Starlette.__call__

    @wraps(serve)
    async def call(self: Any, scope: Any, receive: Any, send: Any) -> None:
        middleware = self.__dict__.get(MIDDLEWARE)
        if middleware is None:
            await serve(self, scope, receive, send)
        else:
            scope["app"] = self  # which is the first that it does itself
            await middleware(scope, receive, send)

    Starlette.__call__ = call
    for kind, note in ((Route, _route), (WebSocketRoute, _route), (Mount, _mount)):
        _hook(kind, note)
    when_imported("fastapi.routing", _hook_fastapi)  # whose routes may be below those of Starlette

    # The application may be a copy of the one that was given to be measured, with all of its attributes.
    async def serve_in_scope(scope: Scope, receive: Receive, send: Send) -> None:
        await serve(scope["app"], scope, receive, send)

    return serve_in_scope


def _hook_fastapi(routing: Any) -> None:
    if "handle" in vars(routing.APIRoute):  # from 0.137 on
        _hook(routing.APIRoute, _included)


def _hook(kind: Any, note: Callable[[Any, Scope, Connection], None]) -> None:
    handle = kind.handle

    @wraps(handle)
    async def noted(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope.get(CONNECTION)
        if connection is None:
            await handle(self, scope, receive, send)
            return
        try:
            note(self, scope, connection)
        except Exception as error:  # a route of the application's own making must not cost the request
            report(error)
        try:
            await handle(self, scope, receive, send)
        except Exception:
            connection.failed = True
            raise

    kind.handle = noted


def _route(route: Any, scope: Scope, connection: Connection) -> None:
    connection.route = (scope.get(_MOUNTED, "") + route.path) or None


def _mount(mount: Any, scope: Scope, connection: Connection) -> None:
    # What is mounted gets this scope, too.
    scope[_MOUNTED] = scope.get(_MOUNTED, "") + mount.path
    connection.route = scope[_MOUNTED] or None


def _included(route: Any, scope: Scope, connection: Connection) -> None:
    # There is no public name for it; any other route has all of its path.
    context = scope.get("fastapi", {}).get("effective_route_context")
    if context is not None and context.original_route is route:
        connection.route = (scope.get(_MOUNTED, "") + context.path) or None
