"""The context that a client sends along, for what the application calls in turn."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import Getter

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


def incoming(headers: Headers) -> Context | None:
    """Read what the global propagator reads out of the headers of a request.

    Args:
        headers: Names, in lower case as ASGI has them, and values.

    Returns:
        The context; None where no header belongs to one, as of most requests.
    """
    propagator = get_global_textmap()
    try:
        fields = _fields_of(propagator)
        if any(name in fields for name, _ in headers):
            return propagator.extract(headers, getter=_GETTER)
    except Exception as error:  # somebody else's propagator must not cost the request
        warn_once(
            ("http.propagation", type(error).__name__),
            "Reading the context out of a request's headers raised %r; the request is served without it.",
            error,
        )
    return None


# Finding out which headers a propagator reads takes longer than reading them.
@lru_cache(maxsize=4)
def _fields_of(propagator: TextMapPropagator) -> frozenset[bytes]:
    return frozenset(field.lower().encode("latin-1") for field in propagator.fields)
