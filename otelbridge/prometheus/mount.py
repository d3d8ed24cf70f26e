"""Puts the endpoint on a FastAPI or Starlette application, and takes it off again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelbridge.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.prometheus.serving import AsgiEndpoint


def mount(app: Any, path: str, endpoint: AsgiEndpoint) -> Callable[[], None]:
    """Serve the endpoint on an application.

    Args:
        app: A FastAPI or Starlette application.
        path: The exact path.
        endpoint: What answers there.

    Returns:
        A function that takes the route away again.

    Raises:
        ConfigError: The object is no such application, or it serves the path already.
        MissingDependencyError: Starlette is not installed.
    """
    try:
        from starlette.routing import BaseRoute, Match, Route
    except ImportError as error:
        raise MissingDependencyError("app=", "starlette", "fastapi") from error

    class EndpointRoute(Route):
        """A route that costs the requests for others next to nothing, since it comes before all of them."""

        def matches(self, scope: Any) -> tuple[Match, Any]:
            return super().matches(scope) if scope.get("path", "").endswith(self.path) else (Match.NONE, {})

    routes: list[BaseRoute] | None = getattr(getattr(app, "router", None), "routes", None)
    if routes is None:
        raise ConfigError(
            f"app= is a {type(app).__qualname__}, which has no routes to add {path} to",
            "Pass a FastAPI or Starlette application, or serve a port of its own with prometheus='server'",
        )
    if any(getattr(route, "path", None) == path for route in routes):
        raise ConfigError(
            f"The application serves {path} already",
            "Give the metrics another path with prometheus=PrometheusOptions(path=...), or remove that route",
        )
    route = EndpointRoute(path, endpoint, include_in_schema=False)
    # First in line, so that a catch-all route of the application does not swallow it.
    routes.insert(0, route)

    def unmount() -> None:
        if route in routes:
            routes.remove(route)

    return unmount
