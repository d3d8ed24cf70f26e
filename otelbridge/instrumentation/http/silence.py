"""Keeps the official ASGI middleware from measuring, for our meter provider, what is measured here already.

The applications of a service may be instrumented by it: by hand, by ``opentelemetry-instrument``, by Logfire; before or
after. Its spans stay. It stands around, inside or below a measured application, so each request is looked at by itself.
"""

from __future__ import annotations

from copy import copy
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any

from opentelemetry.context import attach, detach
from opentelemetry.metrics import Histogram, NoOpHistogram, NoOpUpDownCounter, UpDownCounter
from opentelemetry.trace import INVALID_SPAN, get_current_span, set_span_in_context

from otelbridge.asgi import CONNECTION
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http.hooks import is_measured
from otelbridge.metrics._sdk import real_instrument
from otelbridge.metrics.switch import is_switched

if TYPE_CHECKING:
    from otelbridge.instrumentation.http.connection import Receive, Scope, Send


@lru_cache(maxsize=1)
def silence_official_metrics() -> None:
    """Have the official ASGI middleware, where it is installed, make spans alone of requests that are measured here."""
    if not discovery.found("opentelemetry.instrumentation.asgi"):
        return
    from opentelemetry.instrumentation import asgi

    official: Any = asgi.OpenTelemetryMiddleware
    serve = official.__call__

    @wraps(serve)
    async def call(self: Any, scope: Scope, receive: Receive, send: Send) -> None:
        if CONNECTION not in scope and not is_measured(self.app):
            await serve(self, scope, receive, send)
            return
        token = None
        if get_current_span().get_span_context().is_remote:
            # It is the client's, which this middleware takes for the parent only where it reads it by itself.
            token = attach(set_span_in_context(INVALID_SPAN))
        try:
            await serve(_silent(self), scope, receive, send)
        finally:
            if token is not None:
                detach(token)

    official.__call__ = call


def _silent(middleware: Any) -> Any:
    silent = copy(middleware)
    attributes: dict[str, Any] = middleware.__dict__
    for name, value in attributes.items():
        if isinstance(value, (Histogram, UpDownCounter)) and is_switched(real_instrument(value)):
            nothing = NoOpHistogram if isinstance(value, Histogram) else NoOpUpDownCounter
            setattr(silent, name, nothing(name))
    return silent
