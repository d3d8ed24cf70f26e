"""Requests and WebSockets an application serves (H1 to H4, H6 to H8)."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.trace import NoOpTracerProvider

from otelbridge.diagnostics import inform
from otelbridge.domains.recording import Registration
from otelbridge.errors import ConfigError
from otelbridge.instrumentation.http.exclusion import create_exclusion, user_patterns
from otelbridge.instrumentation.http.hooks import MIDDLEWARE, hook_starlette
from otelbridge.instrumentation.http.methods import KnownMethods
from otelbridge.instrumentation.http.middleware import MetricsMiddleware
from otelbridge.instrumentation.http.routes import Routes
from otelbridge.instrumentation.http.silence import silence_official_metrics
from otelbridge.instrumentation.http.stability import stable_conventions_wanted
from otelbridge.instrumentation.http.stack import add_middleware

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import TracerProvider

    Wrap = Callable[[Any], Any]

_OURS = "_otelbridge_http"
_THEIRS = ("_is_instrumented_by_opentelemetry", "is_instrumented_by_opentelemetry")
_BOTH = (
    "The application is instrumented by the official OpenTelemetry instrumentation already: its spans stay that one's, "
    "its metrics are otelbridge's."
)
_THEIRS_ALONE = (
    "The application is instrumented by the official OpenTelemetry instrumentation already, and metrics are wanted in "
    "the old conventions: both stay that one's. Set OTEL_SEMCONV_STABILITY_OPT_IN=http to have metrics made here."
)


def instrument_http(
    app: Any,
    *,
    tracer_provider: TracerProvider | None = None,
    excluded_paths: tuple[str, ...] = (),
) -> Registration:
    """Record the requests an application serves, in the stable HTTP conventions, and its WebSockets.

    It may be called before or after routes are added, and also while the application starts up. The
    user's ``OTEL_PYTHON_EXCLUDED_URLS`` and ``OTEL_SEMCONV_STABILITY_OPT_IN`` are respected. Exceptions
    that leave the application are counted by ``health.exceptions`` and go on untouched.

    An application that an official instrumentation knows already, or gets to know later, keeps its spans; what that
    would measure of the same requests for our meter provider is left out.

    Args:
        app: A FastAPI or Starlette application, or another with a Starlette-like ``add_middleware``, for
            which there is no ``http.route``.
        tracer_provider: Where spans go, which the official instrumentation makes; None makes none.
        excluded_paths: Exact paths that have no spans, such as that of the scrape endpoint.

    Returns:
        A handle whose `close()` gives the application back as it was. Calling this again for the same
        application returns the same handle.

    Raises:
        MissingDependencyError: The official instrumentation for the application is needed, and not installed.
        ConfigError: The application has no place for middleware, or a pattern of the user is no regular
            expression.
    """
    ours = getattr(app, _OURS, None)
    if isinstance(ours, Registration):
        return ours
    with ExitStack() as undo:
        _attach(app, tracer_provider, excluded_paths, undo)
        registration = Registration(undo.pop_all().close)
    setattr(app, _OURS, registration)
    return registration


def _attach(app: Any, tracers: TracerProvider | None, excluded_paths: tuple[str, ...], undo: ExitStack) -> None:
    framework = _framework_of(app)
    patterns = user_patterns(framework.upper())
    routes, methods = Routes(), KnownMethods(excluded_paths)
    exclusion = create_exclusion(patterns)
    stable = stable_conventions_wanted()
    undo.callback(app.__dict__.pop, _OURS, None)
    if stable:
        silence_official_metrics()
        _MEASURE[framework](app, lambda inner: MetricsMiddleware(inner, routes, methods, exclusion), undo)
    if any(getattr(app, flag, False) for flag in _THEIRS):
        inform(_BOTH if stable else _THEIRS_ALONE)
    elif tracers is not None or not stable:
        from otelbridge.instrumentation.http.official import Official

        official = Official(
            metrics=not stable,
            tracer_provider=tracers or NoOpTracerProvider(),
            patterns=patterns,
            excluded_paths=excluded_paths,
            routes=routes,
            methods=methods,
        )
        official.attach(app, framework, undo)


def _framework_of(app: Any) -> str:
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(app).__mro__}
    if "fastapi.applications.FastAPI" in kinds:
        return "fastapi"
    if "starlette.applications.Starlette" in kinds:
        return "starlette"
    if callable(getattr(app, "add_middleware", None)):
        return "asgi"
    raise ConfigError(
        f"app= is a {type(app).__module__}.{type(app).__qualname__}, which takes no ASGI middleware",
        "Pass the FastAPI or Starlette application itself, before it is wrapped; for another framework leave app= out, "
        "and serve the metrics on a port of their own with prometheus='server'",
    )


def _measure_fastapi(app: Any, wrap: Wrap, undo: ExitStack) -> None:
    _measure_starlette(app, wrap, undo)
    # From 0.165 on it measures by itself: the same requests a second time, unless it was told where to.
    config = cast("dict[str, Any]", getattr(getattr(app, "_native_telemetry", None), "config", {}))
    if config.get("metrics") and config.get("meter_provider") is None:
        config["metrics"] = False
        undo.callback(config.update, metrics=True)


def _measure_starlette(app: Any, wrap: Wrap, undo: ExitStack) -> None:
    setattr(app, MIDDLEWARE, wrap(hook_starlette()))
    undo.callback(app.__dict__.pop, MIDDLEWARE, None)


_MEASURE: dict[str, Callable[[Any, Wrap, ExitStack], None]] = {
    "fastapi": _measure_fastapi,
    "starlette": _measure_starlette,
    "asgi": add_middleware,
}
