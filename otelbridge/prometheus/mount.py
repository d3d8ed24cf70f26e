"""Puts the endpoint on a FastAPI or Starlette application, and takes it off again."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import inform, warn_once
from otelbridge.errors import ConfigError, MissingDependencyError
from otelbridge.prometheus.client_endpoints import registry_shown_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.routing import BaseRoute

    from otelbridge.prometheus.serving import AsgiEndpoint


_ANOTHER_PATH = (
    "Give the metrics another path with prometheus=PrometheusOptions(path=...) or OTELBRIDGE_PROMETHEUS_PATH"
)


def serves(app: Any, path: str) -> bool:
    """Tell whether an application has a route of exactly this path.

    Args:
        app: A FastAPI or Starlette application.
        path: The path.
    """
    return bool(_routes_at(path, _routes_of(app) or []))


def mount(
    app: Any, path: str, endpoint: AsgiEndpoint, *, registry: Callable[[], Any] = lambda: None
) -> Callable[[], None]:
    """Serve the endpoint on an application.

    Args:
        app: A FastAPI or Starlette application.
        path: The exact path.
        endpoint: What answers there.
        registry: Gives the registry of prometheus_client that the endpoint shows beside ours, or None. What the
            application has at that path to show this registry, and nothing else, is put behind the endpoint.

    Returns:
        A function that takes the route away again.

    Raises:
        ConfigError: The object is no such application, or it serves the path already.
        MissingDependencyError: Starlette is not installed.
    """
    try:
        from starlette.routing import Match, Mount, Route
    except ImportError as error:
        raise MissingDependencyError("app=", "starlette", "fastapi") from error

    routes = _routes_of(app)
    if routes is None:
        raise ConfigError(
            f"app= is a {type(app).__qualname__}, which has no routes to add {path} to",
            "Pass a FastAPI or Starlette application, or serve a port of its own with prometheus='server'",
        )

    class EndpointRoute(Route):
        """A route that costs the requests for others next to nothing, since it comes before all of them."""

        looked = False

        def matches(self, scope: Any) -> tuple[Match, Any]:
            return super().matches(scope) if scope.get("path", "").endswith(self.path) else (Match.NONE, {})

        async def handle(self, scope: Any, receive: Any, send: Any) -> None:
            if not self.looked:  # by the first scrape all routes are there
                self.looked = True
                _tell_of_hidden(path, [each for each in routes if each not in (*ours, *theirs)], registry())
            await super().handle(scope, receive, send)

    theirs = _routes_at(path, routes)
    for route in theirs:
        _check_shows(route, path, registry())
    # What is mounted answers one character further.
    paths = [path, f"{path}/"] if any(isinstance(route, Mount) for route in theirs) else [path]
    ours = [EndpointRoute(each, endpoint, include_in_schema=False) for each in paths]
    # First in line, so that a catch-all route of the application does not swallow it.
    routes[:0] = ours

    # A route of FastAPI's own holds the application, so that whoever holds the routes would keep it alive.
    reference = weakref.ref(app)

    def unmount() -> None:
        served = _routes_of(reference())
        if served is not None:
            served[:] = [route for route in served if getattr(route, "endpoint", None) is not endpoint]

    return unmount


def _routes_of(app: Any) -> list[BaseRoute] | None:
    return getattr(getattr(app, "router", None), "routes", None)


def _routes_at(path: str, routes: Sequence[BaseRoute]) -> list[BaseRoute]:
    return [route for route in routes if getattr(route, "path", None) == path]


def _tell_of_hidden(path: str, routes: Sequence[BaseRoute], registry: Any) -> None:
    for route in _routes_at(path, routes):
        try:
            _check_shows(route, path, registry)
        except ConfigError as error:
            warn_once(("hidden route", path), "A route that was added after init() is not reached: %s", error)


def _check_shows(route: BaseRoute, path: str, registry: Any) -> None:
    shown = registry_shown_by(route)
    if shown is None:
        raise ConfigError(
            f"The application serves {path} already",
            f"{_ANOTHER_PATH}, or remove that route",
        )
    if shown is not registry:
        raise ConfigError(
            f"The application shows a registry of prometheus_client at {path}, which otelbridge does not show",
            f"Have it shown with init(prometheus_client=registry). {_ANOTHER_PATH} otherwise",
        )
    inform(
        "The application shows prometheus_client's registry at %s; otelbridge does so now, with its own metrics.", path
    )
