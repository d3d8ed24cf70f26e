"""The context that a client sends along, for what the application calls in turn."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from opentelemetry.context import get_current
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import INVALID_SPAN, get_current_span

from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator

    Headers = Iterable[tuple[bytes, bytes]]


class _HeaderGetter(Getter["Headers"]):
    def get(self, carrier: Headers, key: str) -> list[str] | None:
        wanted = key.lower().encode("latin-1")
        return [value.decode("latin-1") for name, value in carrier if name.lower() == wanted] or None

    def keys(self, carrier: Headers) -> list[str]:
        return [name.decode("latin-1").lower() for name, _ in carrier]


_GETTER = _HeaderGetter()
_STANDARD = {"traceparent", "tracestate", "baggage"}


def incoming(headers: Headers) -> Context | None:
    """Read what the global propagator reads out of the headers of a request.

    Args:
        headers: Names, in lower case as ASGI has them, and values.

    Returns:
        The context to serve it in; None for the present one: where no header belongs to one, as of most requests, and
        where there is a span already, which then belongs to this request.
    """
    propagator = get_global_textmap()
    try:
        fields = _fields_of(propagator)
        if fields is not None and fields.isdisjoint([name for name, _ in headers]):
            return None
        if get_current_span() is not INVALID_SPAN:
            return None
        return propagator.extract(headers, get_current(), _GETTER)
    except Exception as error:  # somebody else's propagator must not cost the request
        warn_once(
            ("http.propagation", type(error).__name__),
            "Reading the context out of a request's headers raised %r; the request is served without it.",
            error,
        )
    return None


# Finding out which headers a propagator reads takes longer than reading them.
@lru_cache(maxsize=4)
def _fields_of(propagator: TextMapPropagator) -> frozenset[bytes] | None:
    fields = propagator.fields
    # What others write is not all they read.
    return frozenset(field.encode() for field in fields) if fields <= _STANDARD else None
