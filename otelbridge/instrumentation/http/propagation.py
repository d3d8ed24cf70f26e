"""The context that a client sends along, for what the application calls in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import get_current
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import INVALID_SPAN, get_current_span

from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import TextMapPropagator

    Headers = Mapping[bytes, bytes]


class _HeaderGetter(Getter["Headers"]):
    def get(self, carrier: Headers, key: str) -> list[str] | None:
        value = carrier.get(key.lower().encode("latin-1"))
        return None if value is None else [value.decode("latin-1")]

    def keys(self, carrier: Headers) -> list[str]:
        return [name.decode("latin-1").lower() for name in carrier]


_GETTER = _HeaderGetter()
_STANDARD = {"traceparent", "tracestate", "baggage"}


class Propagation:
    """Reads what the global propagator reads out of the headers of requests."""

    def __init__(self) -> None:
        self._propagator: TextMapPropagator | None = None
        self._fields: frozenset[bytes] | None = frozenset()

    def incoming(self, headers: Headers) -> Context | None:
        """Read the context that a request brings.

        Args:
            headers: Values by name, in lower case as ASGI has them.

        Returns:
            The context to serve it in; None for the present one: where no header belongs to one, as of most requests,
            and where there is a span already, which then belongs to this request.
        """
        propagator = get_global_textmap()
        if propagator is not self._propagator:
            self._fields = _fields_of(propagator)
            self._propagator = propagator
        if self._fields is not None and self._fields.isdisjoint(headers):
            return None
        return _extract(propagator, headers)


def _extract(propagator: TextMapPropagator, headers: Headers) -> Context | None:
    try:
        if get_current_span() is INVALID_SPAN:
            return propagator.extract(headers, get_current(), _GETTER)
    except Exception as error:  # somebody else's propagator must not cost the request
        warn_once(
            ("http.propagation", type(error).__name__),
            "Reading the context out of a request's headers raised %r; the request is served without it.",
            error,
        )
    return None


def _fields_of(propagator: TextMapPropagator) -> frozenset[bytes] | None:
    # Finding out which headers a propagator reads takes longer than reading them.
    try:
        fields = frozenset(propagator.fields)
    except Exception:  # somebody else's; reading will tell
        return None
    # What others write is not all they read.
    return frozenset(field.encode() for field in fields) if fields <= _STANDARD else None
