"""Requests an application serves (H1 to H4), through the official instrumentations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import NoOpTracerProvider

from otelbridge.diagnostics import warn_once
from otelbridge.domains.recording import Registration
from otelbridge.errors import ConfigError, MissingDependencyError
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.http.exclusion import user_patterns
from otelbridge.instrumentation.http.methods import KnownMethods
from otelbridge.instrumentation.http.recorder import RequestRecorder
from otelbridge.instrumentation.http.routes import SpanDetails
from otelbridge.instrumentation.http.stability import choose_stable_conventions
from otelbridge.instrumentation.http.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from otelbridge.instrumentation.http.methods import Flatten

    Attach = Callable[[Any, MeterProvider, TracerProvider, tuple[str, ...]], Registration]

_OURS = "_otelbridge_http"
_THEIRS = ("_is_instrumented_by_opentelemetry", "is_instrumented_by_opentelemetry")

# Spans of single ASGI messages would double the cost of a request and say little.
_NO_MESSAGE_SPANS = ("receive", "send")


def instrument_http(
    app: Any,
    *,
    meter_provider: MeterProvider,
    tracer_provider: TracerProvider | None = None,
    excluded_paths: tuple[str, ...] = (),
) -> Registration:
    """Record the requests an application serves, in the stable HTTP conventions.

    It may be called before or after routes are added, and also while the application starts up. The
    user's ``OTEL_PYTHON_EXCLUDED_URLS`` and ``OTEL_SEMCONV_STABILITY_OPT_IN`` are respected. Exceptions
    that leave the application are counted by ``health.exceptions`` and go on untouched.

    Args:
        app: A FastAPI or Starlette application, or another with a Starlette-like ``add_middleware``, for
            which there is no ``http.route``.
        meter_provider: Where measurements go.
        tracer_provider: Where spans go; None makes none.
        excluded_paths: Exact paths that are not recorded, such as that of the scrape endpoint.

    Returns:
        A handle whose `close()` gives the application back as it was. Calling this again for the same
        application returns the same handle. An application that somebody else has instrumented is
        reported and left alone.

    Raises:
        MissingDependencyError: The official instrumentation for the application is not installed.
        ConfigError: The application has no place for middleware, or a pattern of the user is no regular
            expression.
    """
    ours = getattr(app, _OURS, None)
    if isinstance(ours, Registration):
        return ours
    if any(getattr(app, flag, False) for flag in _THEIRS):
        warn_once(
            ("http.server", "instrumented"),
            "The application is instrumented already, not by otelbridge: it is left as it is. Its metrics go "
            "to the global meter provider. Remove that instrumentation to have it done here.",
        )
        return Registration(lambda: None)
    attach = _attach_of(app)
    choose_stable_conventions()
    attached = attach(app, meter_provider, tracer_provider or NoOpTracerProvider(), excluded_paths)

    def close() -> None:
        if getattr(app, _OURS, None) is registration:
            delattr(app, _OURS)
            attached.close()

    registration = Registration(close)
    setattr(app, _OURS, registration)
    return registration


def _attach_of(app: Any) -> Attach:
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(app).__mro__}
    fastapi = "fastapi.applications.FastAPI" in kinds
    if fastapi and discovery.installed("fastapi"):
        return _attach_fastapi
    if not discovery.found("opentelemetry.instrumentation.asgi"):
        extra, package = ("fastapi", "fastapi") if fastapi else ("starlette", "asgi")
        raise MissingDependencyError(
            f"Recording the requests of a {type(app).__qualname__}", f"opentelemetry-instrumentation-{package}", extra
        )
    if "starlette.applications.Starlette" in kinds:
        return _attach_starlette
    if callable(getattr(app, "add_middleware", None)):
        return _attach_other
    raise ConfigError(
        f"app= is a {type(app).__qualname__}, which takes no middleware",
        "Pass the FastAPI or Starlette application itself, before it is wrapped",
    )


def _attach_fastapi(
    app: Any, meter_provider: MeterProvider, tracer_provider: TracerProvider, excluded_paths: tuple[str, ...]
) -> Registration:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    patterns = user_patterns("FASTAPI")
    flatten = _fastapi_flatten()
    details, methods = SpanDetails(flatten), KnownMethods(flatten, excluded_paths)
    stack = Stack(app)
    app.build_middleware_stack = stack.plain
    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        excluded_urls=patterns,
        exclude_spans=list(_NO_MESSAGE_SPANS),
    )
    official_build = app.build_middleware_stack

    def build() -> Any:
        built = official_build()
        middleware = getattr(built, "app", None)
        if isinstance(middleware, OpenTelemetryMiddleware):
            middleware.default_span_details = details
            built.app = RequestRecorder(middleware, excluded_paths, methods)
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


def _fastapi_flatten() -> Flatten | None:
    import fastapi.routing

    # From 0.137 on, included routers stay nested in the list of routes.
    return getattr(fastapi.routing, "iter_route_contexts", None)


def _attach_starlette(
    app: Any, meter_provider: MeterProvider, tracer_provider: TracerProvider, excluded_paths: tuple[str, ...]
) -> Registration:
    wrap = _asgi_recorder("STARLETTE", meter_provider, tracer_provider, excluded_paths)
    stack = Stack(app)
    # Around the whole stack, since what turns an exception into a response 500 is its outermost part.
    stack.wrap(lambda: wrap(stack.plain()))
    return Registration(stack.restore)


def _attach_other(
    app: Any, meter_provider: MeterProvider, tracer_provider: TracerProvider, excluded_paths: tuple[str, ...]
) -> Registration:
    wrap = _asgi_recorder("ASGI", meter_provider, tracer_provider, excluded_paths)
    recorders: list[RequestRecorder] = []

    def middleware(inner: Any) -> RequestRecorder:
        recorders.append(wrap(inner))
        recorders[-1].open = registered
        return recorders[-1]

    registered = True
    app.add_middleware(middleware)

    def close() -> None:
        nonlocal registered
        registered = False
        for recorder in recorders:
            recorder.open = False

    return Registration(close)


def _asgi_recorder(
    instrumentation: str,
    meter_provider: MeterProvider,
    tracer_provider: TracerProvider,
    excluded_paths: tuple[str, ...],
) -> Callable[[Any], RequestRecorder]:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    patterns = user_patterns(instrumentation)

    def wrap(app: Any) -> RequestRecorder:
        middleware = OpenTelemetryMiddleware(
            app,
            excluded_urls=patterns,
            default_span_details=SpanDetails(),
            tracer_provider=tracer_provider,
            meter_provider=meter_provider,
            exclude_spans=list(_NO_MESSAGE_SPANS),
        )
        return RequestRecorder(middleware, excluded_paths, KnownMethods(excluded_paths=excluded_paths))

    return wrap
