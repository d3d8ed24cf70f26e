"""HTTP metrics of other instrumentations: what of their labels a client cannot choose.

Many record what a request says of itself: its Host header, the version of HTTP it names, its path. Each value makes
another series, so a client could make as many as it likes. The metrics of the stable conventions are declared in
`otelbridge.catalogue.http`, whoever records them; here stand those of the conventions before them, and for all of
them the values that are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from otelbridge.catalogue.buckets import SIZE

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from otelbridge.catalogue.model import Buckets

_KEYS = frozenset(
    ("http.method", "http.scheme", "http.flavor", "http.status_code", "http.target", "http.route", "error.type")
)


@dataclass(frozen=True, slots=True)
class ForeignMetric:
    """A histogram of requests that were served, as other instrumentations record it."""

    name: str
    """Instrument name."""

    keys: frozenset[str] = _KEYS
    """The attributes that are kept. What comes from the Host header is not among them (``http.host``,
    ``http.server_name``, ``net.host.name``, ``net.host.port``)."""

    buckets: Buckets | None = None
    """Boundaries; None leaves it to the reader, whose own are made for milliseconds."""

    scope: str | None = None
    """Scope of the library that records it; None stands for any."""


OLD_METRICS = (
    # In metrics `http.target` is the template of the route, but not here where none matched.
    ForeignMetric("http.server.duration", keys=_KEYS - {"http.target"}, scope="opentelemetry.instrumentation.django"),
    ForeignMetric("http.server.duration"),
    ForeignMetric("http.server.request.size", buckets=SIZE),
    ForeignMetric("http.server.response.size", buckets=SIZE),
)
"""Those of the conventions before the stable ones, recorded where ``OTEL_SEMCONV_STABILITY_OPT_IN`` is unset. The first
that fits holds."""

_SCHEMES = frozenset(("http", "https", "ws", "wss"))
_VERSIONS = frozenset(("0.9", "1.0", "1.1", "2", "3", "HTTP/1.0", "HTTP/1.1"))


class _Templates:
    """Templates of routes: all texts but a method and a path, as Litestar's plugin writes for each request."""

    def __contains__(self, route: object) -> bool:
        first, space, _ = str(route).partition(" ")
        return not space or "/" in first


VALUES: Mapping[str, Container[object]] = MappingProxyType(
    {
        "url.scheme": _SCHEMES,
        "http.scheme": _SCHEMES,
        "network.protocol.version": _VERSIONS,
        "http.flavor": _VERSIONS,
        "http.route": _Templates(),
        "http.target": _Templates(),
    }
)
"""Values an attribute may have in a metric of requests that were served. Another is left out; its request counts."""
