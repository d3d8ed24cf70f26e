"""What `otelbridge.init` is told by its caller, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast

from otelbridge.config import checks, service, urls
from otelbridge.config.options import OtlpOptions, PrometheusOptions, Settings
from otelbridge.config.prometheus_checks import PROMETHEUS_CHECKS
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from typing import Literal

    from opentelemetry.sdk.metrics.view import View

    from otelbridge.config.checks import Check
    from otelbridge.config.options import MetricsRegistry, PrometheusChoice, ResourceValue, Workers

_ATTRIBUTE_TYPES = (str, bool, int, float)


def _headers(where: str, value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is no mapping (not shown, it may be secret)", "Give a mapping of names to values")
    pairs = cast("Mapping[object, object]", value)
    return dict(checks.header(where, name, content) for name, content in pairs.items())


OTLP_CHECKS: Mapping[str, Check] = {
    "enabled": checks.flag,
    "endpoint": urls.endpoint,
    "metrics_endpoint": urls.endpoint,
    "traces_endpoint": urls.endpoint,
    "protocol": checks.protocol,
    "headers": _headers,
    "traces_headers": _headers,
    "headers_file": checks.headers_file,
    "timeout": checks.seconds,
    "interval": checks.seconds,
    "compression": checks.choice(checks.COMPRESSIONS),
    "temporality": checks.choice(checks.TEMPORALITIES),
    "histogram_aggregation": checks.choice(checks.HISTOGRAM_AGGREGATIONS),
    "insecure": checks.flag,
    "certificate": checks.text,
    "client_certificate": checks.text,
    "client_key": checks.text,
    "proxy": urls.proxy,
    "cardinality_limits": checks.cardinality_limits,
}
"""The check of each field of `OtlpOptions`."""


def settings_from_arguments(
    *,
    service_name: str | None = None,
    service_version: str | None = None,
    environment: str | None = None,
    resource_attributes: Mapping[str, ResourceValue] | None = None,
    prometheus: PrometheusOptions | PrometheusChoice | bool | None = None,
    otlp: OtlpOptions | Sequence[OtlpOptions] | str | bool | None = None,
    domains: Iterable[str] | None = None,
    views: Iterable[View] | None = None,
    instrument: Iterable[str] | Literal["auto"] | bool | None = None,
    find_engines: bool | None = None,
    traces: bool | None = None,
    workers: Workers | None = None,
    cardinality_limit: int | None = None,
    hide_secrets: bool | None = None,
    prometheus_client: bool | MetricsRegistry | None = None,
) -> Settings:
    """Check the arguments and bring them into the form every source has.

    Args:
        service_name: ``service.name``.
        service_version: ``service.version``.
        environment: ``deployment.environment.name``.
        resource_attributes: Further resource attributes, texts, truth values, numbers or sequences of one
            of these.
        prometheus: True is ``"auto"``, False is ``"off"``.
        otlp: A base URL, one or several destinations, True for the default endpoint, False for none.
        domains: Domains that record.
        views: Views of the user.
        instrument: Names, ``"auto"`` or True for what is installed, False for none.
        find_engines: Whether SQLAlchemy engines that were not passed to `init()` are recorded.
        traces: Whether spans are made and exported.
        workers: Whether the worker processes of a service are seen as one.
        cardinality_limit: Attribute sets that a stream keeps apart.
        hide_secrets: Whether attribute values that look like credentials are hidden.
        prometheus_client: Whether the metrics of prometheus_client are shown, or the registry whose are.

    Returns:
        What the arguments say.

    Raises:
        ConfigError: A value cannot be used.
    """
    named = {
        "service_name": _optional(checks.text, "service_name", service_name),
        "service_version": _optional(checks.text, "service_version", service_version),
        "environment": _optional(checks.text, "environment", environment),
    }
    return Settings(
        **service.lift("resource_attributes", _attributes(resource_attributes), named),
        prometheus=_prometheus(prometheus),
        otlp=_otlp(otlp),
        domains=_optional(checks.names, "domains", domains),
        views=_views(views),
        instrument=_instrument(instrument),
        find_engines=_optional(checks.flag, "find_engines", find_engines),
        traces=_optional(checks.flag, "traces", traces),
        workers=_optional(checks.choice(checks.WORKERS), "workers", workers),
        cardinality_limit=_optional(checks.limit, "cardinality_limit", cardinality_limit),
        hide_secrets=_optional(checks.flag, "hide_secrets", hide_secrets),
        prometheus_client=_registry(prometheus_client),
    )


def _optional(check: Check, where: str, value: object) -> Any:
    return None if value is None else check(where, value)


def _registry(value: Any) -> Any:
    if value is None or isinstance(value, bool) or callable(getattr(value, "collect", None)):
        return value
    raise ConfigError(
        f"prometheus_client is {type(value).__name__}, which is no registry",
        "Give a prometheus_client.CollectorRegistry, True for the default one, or False",
    )


def _attributes(value: object) -> Mapping[str, ResourceValue] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ConfigError(f"resource_attributes is {type(value).__name__}", "Give a mapping of keys to values")
    attributes = cast("Mapping[object, object]", value)
    for key, item in attributes.items():
        if not isinstance(key, str) or not key:
            raise ConfigError(f"resource_attributes has the key {key!r}", "Give keys that are texts")
        if not _is_attribute(item):
            raise ConfigError(
                f"resource_attributes[{key!r}] is a value of type {type(item).__name__} that no attribute can hold",
                "Give a text, a truth value, a number of at most 64 bits, or a sequence of one of these types",
            )
    return cast("Mapping[str, ResourceValue]", dict(attributes))


def _is_attribute(value: object) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**63  # what OTLP can carry
    if isinstance(value, _ATTRIBUTE_TYPES):
        return True
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
        return False
    items = cast("Sequence[object]", value)
    return all(isinstance(item, _ATTRIBUTE_TYPES) for item in items) and len({type(item) for item in items}) <= 1


def _prometheus(value: PrometheusOptions | str | bool | None) -> PrometheusOptions | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return PrometheusOptions(mode="auto" if value else "off")
    if isinstance(value, PrometheusOptions):
        return _checked(value, "prometheus", PROMETHEUS_CHECKS)
    # A mapping of options may hold a token, so it is not shown.
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(
            f"prometheus is {type(value).__name__}, which says nothing of the pull path",
            f"Give PrometheusOptions, True, False or one of: {', '.join(checks.PROMETHEUS_MODES)}",
        )
    mode: Any = PROMETHEUS_CHECKS["mode"]("prometheus", value)
    return PrometheusOptions(mode=mode)


def _otlp(value: OtlpOptions | Sequence[OtlpOptions] | str | bool | None) -> tuple[OtlpOptions, ...] | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return (OtlpOptions(enabled=True),) if value else ()
    if isinstance(value, str):
        return (OtlpOptions(endpoint=urls.endpoint("otlp", value)),)
    if isinstance(value, OtlpOptions):
        return (_checked(value, "otlp", OTLP_CHECKS),)
    items: list[object] | None = list(value) if isinstance(value, Sequence) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    if items is None or not all(isinstance(item, OtlpOptions) for item in items):
        raise ConfigError(
            f"otlp is {type(value).__name__}, which names no destination",
            "Give a base URL, OtlpOptions, a list of OtlpOptions, True or False",
        )
    several = cast("list[OtlpOptions]", items)
    return tuple(_checked(item, f"otlp[{number}]", OTLP_CHECKS) for number, item in enumerate(several))


def _checked(options: Any, where: str, table: Mapping[str, Check]) -> Any:
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    return type(options)(**{name: _optional(table[name], f"{where}.{name}", value) for name, value in values.items()})


def _views(value: object) -> tuple[View, ...] | None:
    from opentelemetry.sdk.metrics.view import View

    if value is None:
        return None
    items = list(cast("Iterable[object]", value)) if isinstance(value, Iterable) else [value]
    for item in items:
        if not isinstance(item, View):
            raise ConfigError(
                f"views holds a {type(item).__name__}", "Give a list of opentelemetry.sdk.metrics.view.View"
            )
    return tuple(cast("list[View]", items))


def _instrument(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return ("auto",) if value else ()
    if isinstance(value, str):
        if value != "auto":
            raise ConfigError(f"instrument is the text {value!r}", "Give a list of names, or the text 'auto'")
        return ("auto",)
    return checks.names("instrument", value)
