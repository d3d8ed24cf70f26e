"""Which methods of requests are told apart.

The method is the client's to choose, and with each route, status and metric it makes another series. So only those are
recorded by name that the application serves, and those that any client may try; the conventions call the others
``_OTHER`` (HTTP semantic conventions, ``http.request.method``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.instrumentation.http.routes import flatten

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_VARIABLE = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"
_CAPTURE_ALL = "OTEL_PYTHON_INSTRUMENTATION_HTTP_CAPTURE_ALL_METHODS"

# HEAD goes with GET, and OPTIONS is answered by middleware (CORS), not by routes.
_ALWAYS = frozenset(("GET", "HEAD", "OPTIONS"))
_STANDARD = frozenset((*_ALWAYS, "POST", "PUT", "DELETE", "CONNECT", "TRACE", "PATCH", "QUERY"))


class KnownMethods:
    """Tells the methods of one application apart from what clients make up.

    ``OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS``, methods separated by commas, says it instead of the routes. With
    ``OTEL_PYTHON_INSTRUMENTATION_HTTP_CAPTURE_ALL_METHODS`` alone, every method is known.

    Args:
        excluded_paths: Exact paths that are not recorded, whose methods therefore do not matter.
    """

    def __init__(self, excluded_paths: Collection[str] = ()) -> None:
        self._excluded_paths = excluded_paths
        told = os.environ.get(_VARIABLE, "").strip()
        self._told = bool(told)
        self._all = bool(os.environ.get(_CAPTURE_ALL)) and not told
        self._known = frozenset(method.strip() for method in told.split(",")) if told else _ALWAYS

    def knows(self, scope: Mapping[str, Any]) -> bool:
        """Tell whether a request is recorded under its own method.

        Args:
            scope: The ASGI scope, with the application under ``app``.

        Returns:
            True also where there is no method, as of a websocket, and where routes do not say what they serve.
        """
        method = scope.get("method")
        if method is None or self._all or method in self._known:
            return True
        if not self._told:  # there may be new routes
            self._known = _ALWAYS | self._served(getattr(scope.get("app"), "routes", None))
        return method in self._known

    def _served(self, routes: Iterable[Any] | None) -> frozenset[str]:
        try:
            if routes is not None:
                return frozenset(method for route in flatten(routes) for method in self._served_by(route))
        except Exception as error:  # a route of the application's own making must not cost the request
            warn_once(
                ("http.methods", type(error).__name__),
                "Finding which methods the application serves raised %r; requests are recorded under any method of the "
                "conventions.",
                error,
            )
        return _STANDARD

    def _served_by(self, route: Any) -> frozenset[str]:
        if getattr(route, "path", None) in self._excluded_paths:
            return frozenset()
        if hasattr(route, "routes"):  # a mounted application, which may have none to look at
            return _ALWAYS if "StaticFiles" in _kinds(route.app) else self._served(route.routes or None)
        if "WebSocketRoute" in _kinds(getattr(route, "original_route", route)):
            return frozenset()
        methods = getattr(route, "methods", None)
        return _STANDARD if methods is None else frozenset(methods)


def _kinds(one: object) -> set[str]:
    return {kind.__name__ for kind in type(one).__mro__}
