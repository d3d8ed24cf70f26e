"""HTTP metrics of other instrumentations: what of their labels a client cannot choose.

Many record what a request says of itself: its Host header, the version of HTTP it names, its path. Each value makes
another series, so a client could make as many as it likes. The metrics of the stable conventions are declared in
`otelbridge.catalogue.http`, whoever records them; here stand those of the conventions before them, and for all of
them the values that are kept.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from otelbridge.catalogue.buckets import SIZE
from otelbridge.catalogue.http import PROTOCOL_VERSION, SCHEME

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from otelbridge.catalogue.model import Buckets

OLD_METRICS: Mapping[str, Buckets | None] = MappingProxyType(
    {
        "http.server.duration": None,  # in milliseconds, for which the default boundaries are made
        "http.server.request.size": SIZE,
        "http.server.response.size": SIZE,
    }
)
"""Histograms of the conventions before the stable ones, recorded where ``OTEL_SEMCONV_STABILITY_OPT_IN`` is unset, and
the boundaries they get."""

OLD_KEYS = frozenset(("http.method", "http.scheme", "http.flavor", "http.status_code", "http.route", "error.type"))
"""What those keep. Left out are the client's Host header (``http.host``, ``http.server_name``, ``net.host.name``,
``net.host.port``) and ``http.target``: mostly the template of the route, but the path where Django finds none, and with
the path in it below a mount of Starlette that has parameters."""

_VERSIONS = frozenset((*PROTOCOL_VERSION.values, "HTTP/1.0", "HTTP/1.1"))


class _Templates:
    """Templates of routes: all texts but a method and a path, as Litestar's plugin writes for each request."""

    def __contains__(self, route: object) -> bool:
        first, space, _ = str(route).partition(" ")
        return not space or "/" in first


VALUES: Mapping[str, Container[object]] = MappingProxyType(
    {
        "url.scheme": SCHEME.values,
        "http.scheme": SCHEME.values,
        "network.protocol.version": _VERSIONS,
        "http.flavor": _VERSIONS,
        "http.route": _Templates(),
    }
)
"""Values an attribute may have in a metric of requests that were served. Another is left out; its request counts."""
