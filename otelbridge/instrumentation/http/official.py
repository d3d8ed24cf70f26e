"""The official HTTP instrumentations: for spans, and for metrics in the old conventions where somebody wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.metrics import NoOpMeterProvider

from otelbridge.diagnostics import warn_once
from otelbridge.domains.recording import Registration
from otelbridge.errors import MissingDependencyError
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http.recorder import RequestRecorder
from otelbridge.instrumentation.http.stability import choose_stable_conventions
from otelbridge.instrumentation.http.stack import Stack
from otelbridge.metrics.switch import switch

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from otelbridge.instrumentation.http.methods import KnownMethods
    from otelbridge.instrumentation.http.routes import SpanDetails

# Spans of single ASGI messages would double the cost of a request and say little.
_NO_MESSAGE_SPANS = ("receive", "send")


@dataclass(frozen=True)
class Official:
    """How the official middleware is set up."""

    metrics: bool
    """Whether it measures, too, or makes spans alone."""

    tracer_provider: TracerProvider
    """Where its spans go."""

    patterns: str
    """See `otelbridge.instrumentation.http.exclusion.user_patterns`."""

    excluded_paths: tuple[str, ...]
    """Exact paths that are not recorded."""

    details: SpanDetails
    """Names spans and finds routes."""

    methods: KnownMethods
    """Tells which methods are recorded by name."""

    inner: Callable[[Any], Any]
    """Wraps what the middleware runs."""

    @property
    def meter_provider(self) -> MeterProvider:
        """Where its measurements go."""
        return switch if self.metrics else NoOpMeterProvider()

    @property
    def knows_fastapi(self) -> bool:
        """Whether the instrumentation for FastAPI itself is there; that for ASGI does without."""
        return discovery.installed("fastapi")

    def require(self, framework: str) -> None:
        """Make sure that the official middleware is there.

        Args:
            framework: ``fastapi``, ``starlette`` or ``asgi``.

        Raises:
            MissingDependencyError: It is not installed.
        """
        if not discovery.found("opentelemetry.instrumentation.asgi"):
            extra, package = ("fastapi", "fastapi") if framework == "fastapi" else ("starlette", "asgi")
            raise MissingDependencyError(
                f"Spans and old metrics of a {framework} application", f"opentelemetry-instrumentation-{package}", extra
            )
        choose_stable_conventions(metrics=self.metrics)

    def wrap(self, app: Any) -> RequestRecorder:
        """Put the official ASGI middleware around an application.

        Args:
            app: The application.
        """
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        middleware = OpenTelemetryMiddleware(
            self.inner(app),
            excluded_urls=self.patterns,
            default_span_details=self.details,
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            exclude_spans=list(_NO_MESSAGE_SPANS),
        )
        return RequestRecorder(middleware, self.excluded_paths, self.methods, app)

    def attach_to_fastapi(self, app: Any) -> Registration:
        """Switch on the official instrumentation for FastAPI.

        Args:
            app: The application.

        Returns:
            A handle whose `close()` gives the application back as it was.
        """
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
        from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

        choose_stable_conventions(metrics=self.metrics)
        stack = Stack(app)
        app.build_middleware_stack = stack.plain
        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            excluded_urls=self.patterns,
            exclude_spans=list(_NO_MESSAGE_SPANS),
        )
        official_build = app.build_middleware_stack

        def build() -> Any:
            built = official_build()
            middleware = getattr(built, "app", None)
            if isinstance(middleware, OpenTelemetryMiddleware):
                middleware.default_span_details = self.details
                plain = cast("Any", middleware).app
                middleware.app = self.inner(plain)
                built.app = RequestRecorder(middleware, self.excluded_paths, self.methods, plain)
            else:
                warn_once(
                    ("http.server", "stack"),
                    "The application builds a middleware stack the official FastAPI instrumentation does not know; "
                    "its requests are not recorded. Give the FastAPI application the usual build_middleware_stack.",
                )
            return built

        def close() -> None:
            app.build_middleware_stack = official_build
            # The official way back builds the stack once more; this keeps the application's own from being
            # made anew for nothing.
            app._original_build_middleware_stack = lambda: app.router
            FastAPIInstrumentor.uninstrument_app(app)
            stack.restore()

        stack.wrap(build)
        return Registration(close)
