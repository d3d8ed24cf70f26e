"""The template of the route a request belongs to, for where no router has chosen one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Iterable

    Scope = dict[str, Any]

# The values of starlette.routing.Match, which a route of any framework built on Starlette returns.
_PARTIAL, _FULL = 1, 2


class Routes:
    """Finds routes as a router would.

    Beyond what the official instrumentations do, it looks into mounted applications, and it never takes
    the path of the request for a template, which would let clients create series.
    """

    def route(self, scope: Scope) -> str | None:
        """Find the template, for instance ``/orders/{order_id}``.

        Args:
            scope: The ASGI scope, with the application under ``app``.

        Returns:
            The template; None where no route matches or the application has none to look at.
        """
        try:
            return self._find(getattr(scope.get("app"), "routes", ()), scope)
        except Exception as error:  # a route of the application's own making must not cost the request
            warn_once(
                ("http.route", type(error).__name__),
                "Finding the route of a request raised %r; http.route is absent from such requests.",
                error,
            )
            return None

    def _find(self, routes: Iterable[Any], scope: Scope) -> str | None:
        partial: str | None = None
        for route in flatten(routes):
            match, child_scope = route.matches(scope)
            if match.value == _FULL:
                return self._template(route, {**scope, **child_scope})
            if match.value == _PARTIAL and partial is None:
                partial = getattr(route, "path", None)
        return partial

    def _template(self, route: Any, scope: Scope) -> str | None:
        # Hosts have routes but no path; mounts have both, unless what is mounted is no router.
        path: str = getattr(route, "path", None) or ""
        inner = getattr(route, "routes", None)
        below = self._find(inner, scope) if inner else None
        return f"{path}{below or ''}" or None


def flatten(routes: Iterable[Any]) -> Iterable[Any]:
    """Turn the routers that FastAPI includes in others into the routes that answer.

    Args:
        routes: Routes of an application, or of one mounted in it: of Starlette or FastAPI.
    """
    # From 0.137 on, included routers stay nested in the list of routes.
    return getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", iter)(routes)
