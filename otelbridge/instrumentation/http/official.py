"""The official HTTP instrumentations: for spans, and for metrics in the old conventions where somebody wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.semconv.attributes.http_attributes import HTTP_ROUTE
from opentelemetry.util.http import sanitize_method

from otelbridge.diagnostics import warn_once
from otelbridge.domains.checks import OTHER
from otelbridge.errors import MissingDependencyError
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http.recorder import RequestRecorder
from otelbridge.instrumentation.http.stability import choose_stable_conventions
from otelbridge.instrumentation.http.stack import Stack, add_middleware
from otelbridge.metrics.switch import switch

if TYPE_CHECKING:
    from contextlib import ExitStack

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from otelbridge.instrumentation.http.methods import KnownMethods
    from otelbridge.instrumentation.http.routes import Routes

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

    routes: Routes
    """Finds the route of a request."""

    methods: KnownMethods
    """Tells which methods are recorded by name."""

    @property
    def meter_provider(self) -> MeterProvider:
        """Where its measurements go."""
        return switch if self.metrics else NoOpMeterProvider()

    def attach(self, app: Any, framework: str, undo: ExitStack) -> None:
        """Put it into an application.

        Args:
            app: The application.
            framework: ``fastapi``, ``starlette`` or ``asgi``.
            undo: Gets what gives the application back as it was.

        Raises:
            MissingDependencyError: The official instrumentation is not installed.
        """
        if framework == "fastapi" and discovery.installed("fastapi"):
            self._attach_to_fastapi(app, undo)
            return
        self._require(framework)
        if framework == "asgi":
            add_middleware(app, self._wrap, undo)
            return
        stack = Stack(app)
        undo.callback(stack.restore)
        # Around the whole stack, since what turns an exception into a response 500 is its outermost part.
        stack.wrap(lambda: self._wrap(stack.plain()))

    def span_details(self, scope: dict[str, Any]) -> tuple[str, dict[str, str]]:
        """Name the span of a request, in the shape the official ASGI middleware asks for. Never raises.

        Args:
            scope: The ASGI scope.

        Returns:
            The name and the attributes known so far.
        """
        method: str = cast("Any", sanitize_method)(scope.get("method", "").strip())
        shown = "HTTP" if method == OTHER else method
        route = self.routes.route(scope)
        if not route:
            return shown or scope["type"], {}
        return f"{shown} {route}".strip(), {HTTP_ROUTE: route}

    def _require(self, framework: str) -> None:
        if not discovery.found("opentelemetry.instrumentation.asgi"):
            extra, package = ("fastapi", "fastapi") if framework == "fastapi" else ("starlette", "asgi")
            raise MissingDependencyError(
                f"Spans and old metrics of a {framework} application", f"opentelemetry-instrumentation-{package}", extra
            )
        choose_stable_conventions(metrics=self.metrics)

    def _wrap(self, app: Any) -> RequestRecorder:
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        middleware = OpenTelemetryMiddleware(
            app,
            excluded_urls=self.patterns,
            default_span_details=self.span_details,
            tracer_provider=self.tracer_provider,
            meter_provider=self.meter_provider,
            exclude_spans=list(_NO_MESSAGE_SPANS),
        )
        return RequestRecorder(middleware, self.excluded_paths, self.methods, app)

    def _attach_to_fastapi(self, app: Any, undo: ExitStack) -> None:
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
                middleware.default_span_details = self.span_details
                built.app = RequestRecorder(middleware, self.excluded_paths, self.methods, cast("Any", middleware).app)
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
        undo.callback(close)
