"""Where OTLP goes, decided: which destinations there are, and with what."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from otelbridge.config.options import Otlp, OtlpOptions
from otelbridge.config.urls import for_http

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otelbridge.config.options import OtlpProtocol

# OTLP exporter specification, "Configuration Options".
_DEFAULT_ENDPOINTS: Mapping[OtlpProtocol, str] = {
    "http/protobuf": "http://localhost:4318",
    "grpc": "http://localhost:4317",
}
# A special setting of a lower source must not survive the general one of a higher source.
_HIDDEN_BY: Mapping[str, str] = {
    "metrics_endpoint": "endpoint",
    "traces_endpoint": "endpoint",
    "traces_headers": "headers",
    "headers_file": "headers",
}
_CARRIED_OVER = frozenset(each.name for each in fields(OtlpOptions)) & {each.name for each in fields(Otlp)}


def resolve_otlp(
    sources: Sequence[tuple[OtlpOptions, ...] | None],
) -> tuple[tuple[Otlp, ...], tuple[Otlp, ...]]:
    """Decide the destinations.

    Args:
        sources: What each source says, the highest first.

    Returns:
        The destinations of metrics, and those of spans in case there are spans. Spans go to the
        destinations that name an endpoint for them, if any does, else to all.

    Raises:
        ConfigError: An endpoint has a form that its protocol does not know.
    """
    wanted = _merge(sources)
    marked = [options for options in wanted if options.traces_endpoint]
    metrics = tuple(_decide(options) for options in wanted if options.enabled)
    return metrics, tuple(_decide(options, headers=_span_headers(options)) for options in marked or wanted)


def _merge(sources: Sequence[tuple[OtlpOptions, ...] | None]) -> list[OtlpOptions]:
    single: list[OtlpOptions] = []
    for said in sources:
        if said is None:
            continue
        if len(said) == 1:
            single.extend(said)
        elif not said:
            return [_fill(single)] if single else []
        elif not any(map(_names_endpoint, single)):
            # Several stand as they are. All a higher source without an endpoint can say is on or off.
            return [_switch(options, [*single, options], default=True) for options in said]
        else:
            break
    return [_fill(single)]


def _fill(sources: Sequence[OtlpOptions]) -> OtlpOptions:
    values: dict[str, Any] = {}
    hidden: set[str] = set()
    for source in sources:
        said = {each.name: getattr(source, each.name) for each in fields(source)}
        said = {name: value for name, value in said.items() if value is not None}
        values = {**{name: value for name, value in said.items() if name not in hidden}, **values}
        hidden |= {special for special, general in _HIDDEN_BY.items() if general in said}
    return _switch(OtlpOptions(**values), sources, default=False)


def _switch(options: OtlpOptions, sources: Sequence[OtlpOptions], *, default: bool) -> OtlpOptions:
    decisions = (True if _names_endpoint(source) and source.enabled is None else source.enabled for source in sources)
    return replace(options, enabled=next((on for on in decisions if on is not None), default))


def _names_endpoint(options: OtlpOptions) -> bool:
    return bool(options.endpoint or options.metrics_endpoint)


def _span_headers(options: OtlpOptions) -> Mapping[str, str]:
    return (options.headers if options.traces_headers is None else options.traces_headers) or {}


def _decide(options: OtlpOptions, *, headers: Mapping[str, str] | None = None) -> Otlp:
    protocol = options.protocol or "http/protobuf"
    base = options.endpoint or _DEFAULT_ENDPOINTS[protocol]
    said: dict[str, Any] = {
        name: getattr(options, name) for name in _CARRIED_OVER - {"metrics_endpoint", "traces_endpoint"}
    }
    said = {name: value for name, value in said.items() if value is not None}
    if headers is not None:
        said |= {"headers": headers, "headers_file": None}
    return Otlp(
        metrics_endpoint=_full_url(options.metrics_endpoint, base, protocol, "metrics"),
        traces_endpoint=_full_url(options.traces_endpoint, base, protocol, "traces"),
        **said,
    )


def _full_url(said: str | None, base: str, protocol: OtlpProtocol, signal: str) -> str:
    if protocol == "grpc":
        return said or base
    path = f"/v1/{signal}"
    if said:
        return for_http(said, path)
    parts = urlsplit(for_http(base, ""))
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))
