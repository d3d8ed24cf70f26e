"""Requests an application serves (H1 to H4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from opentelemetry.trace import NoOpTracerProvider

from otelbridge.diagnostics import warn_once
from otelbridge.domains.recording import Registration
from otelbridge.errors import ConfigError
from otelbridge.instrumentation.http.exclusion import Exclusion, user_patterns
from otelbridge.instrumentation.http.methods import KnownMethods
from otelbridge.instrumentation.http.requests import RequestMetrics
from otelbridge.instrumentation.http.routes import SpanDetails
from otelbridge.instrumentation.http.stability import stable_conventions_wanted
from otelbridge.instrumentation.http.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import TracerProvider

    from otelbridge.instrumentation.http.methods import Flatten

    Wrap = Callable[[Any], Any]

_OURS = "_otelbridge_http"
_THEIRS = ("_is_instrumented_by_opentelemetry", "is_instrumented_by_opentelemetry")


def instrument_http(
    app: Any,
    *,
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
        tracer_provider: Where spans go, which the official instrumentation makes; None makes none.
        excluded_paths: Exact paths that are not recorded, such as that of the scrape endpoint.

    Returns:
        A handle whose `close()` gives the application back as it was. Calling this again for the same
        application returns the same handle. An application that somebody else has instrumented is
        reported and left alone.

    Raises:
        MissingDependencyError: The official instrumentation for the application is needed, and not installed.
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
    attached = _attach(app, tracer_provider, excluded_paths)

    def close() -> None:
        if getattr(app, _OURS, None) is registration:
            delattr(app, _OURS)
            attached.close()

    registration = Registration(close)
    setattr(app, _OURS, registration)
    return registration


def _attach(app: Any, tracer_provider: TracerProvider | None, excluded_paths: tuple[str, ...]) -> Registration:
    framework = _framework_of(app)
    patterns = user_patterns(framework.upper())
    flatten = _flatten_of(framework)
    details, methods = SpanDetails(flatten), KnownMethods(flatten, excluded_paths)
    exclusion = Exclusion(excluded_paths, patterns)

    def measured(inner: Any) -> RequestMetrics:
        return RequestMetrics(inner, details, methods, exclusion)

    attach_to = _attach_to_others if framework == "asgi" else _attach_to_stack
    stable = stable_conventions_wanted()
    if stable and tracer_provider is None:
        return attach_to(app, measured)
    from otelbridge.instrumentation.http.official import Official

    official = Official(
        metrics=not stable,
        tracer_provider=tracer_provider or NoOpTracerProvider(),
        patterns=patterns,
        excluded_paths=excluded_paths,
        details=details,
        methods=methods,
        inner=measured if stable else lambda app: app,
    )
    if framework == "fastapi" and official.knows_fastapi:
        return official.attach_to_fastapi(app)
    official.require(framework)
    return attach_to(app, official.wrap)


def _framework_of(app: Any) -> str:
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(app).__mro__}
    if "fastapi.applications.FastAPI" in kinds:
        return "fastapi"
    if "starlette.applications.Starlette" in kinds:
        return "starlette"
    if callable(getattr(app, "add_middleware", None)):
        return "asgi"
    raise ConfigError(
        f"app= is a {type(app).__qualname__}, which takes no middleware",
        "Pass the FastAPI or Starlette application itself, before it is wrapped",
    )


def _flatten_of(framework: str) -> Flatten | None:
    if framework != "fastapi":
        return None
    import fastapi.routing

    # From 0.137 on, included routers stay nested in the list of routes.
    return getattr(fastapi.routing, "iter_route_contexts", None)


def _attach_to_stack(app: Any, wrap: Wrap) -> Registration:
    stack = Stack(app)
    unmute = _mute_native_metrics(app)
    # Around the whole stack, since what turns an exception into a response 500 is its outermost part.
    stack.wrap(lambda: wrap(stack.plain()))

    def close() -> None:
        stack.restore()
        unmute()

    return Registration(close)


def _mute_native_metrics(app: Any) -> Callable[[], None]:
    """Keep FastAPI (from 0.165 on) from measuring the same requests a second time, unless it was told where to."""
    config = cast("dict[str, Any]", getattr(getattr(app, "_native_telemetry", None), "config", {}))
    if not config.get("metrics") or config.get("meter_provider") is not None:
        return lambda: None
    config["metrics"] = False
    return lambda: config.update(metrics=True)


def _attach_to_others(app: Any, wrap: Wrap) -> Registration:
    wrapped: list[Any] = []

    def middleware(inner: Any) -> Any:
        wrapped.append(wrap(inner))
        wrapped[-1].open = registered
        return wrapped[-1]

    registered = True
    app.add_middleware(middleware)

    def close() -> None:
        nonlocal registered
        registered = False
        for each in wrapped:
            each.open = False

    return Registration(close)
