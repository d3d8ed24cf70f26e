"""What the environment says: the standard's variables with their standard meaning, and ours.

Unlike the specification, which wants a wrong value ignored with a warning, a wrong value is an error
here: it comes at the start, where somebody is looking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelbridge.config import service
from otelbridge.config.options import OtlpOptions, PrometheusOptions, Settings
from otelbridge.config.service_links import without_service_links
from otelbridge.config.variables import OTHERS, UNREAD, VARIABLES
from otelbridge.diagnostics import logger
from otelbridge.errors import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX = "OTELBRIDGE_"
_STANDARD = "OTEL_"


def settings_from_environment(environ: Mapping[str, str], *, alone: bool = True) -> Settings:
    """Read the settings the environment holds.

    Args:
        environ: The environment, usually ``os.environ``. Empty values count as unset, and so does what Kubernetes
            makes for its Services.
        alone: Whether nobody else has set a meter provider. If somebody has, ``OTEL_METRICS_EXPORTER`` names the
            exporters of that one, which show and print already: of ours it says only whether OTLP is pushed.

    Returns:
        What it says.

    Raises:
        ConfigError: A variable has a value that cannot be used, or a variable that begins with
            ``OTELBRIDGE_`` is unknown.
    """
    environ = without_service_links(environ, (_PREFIX, _STANDARD))
    _reject_unknown(environ)
    said: dict[str, Any] = {}
    for variable in VARIABLES:
        text = environ.get(variable.name, "").strip()
        if text and variable.target:
            said[variable.target] = variable.read(variable.name, text)
    _apply_exporters(said, alone=alone)
    _apply_destination(said)
    disabled = said.get("disabled")
    return Settings(
        **service.lift("OTEL_RESOURCE_ATTRIBUTES", said.get("resource_attributes"), said),
        detectors=said.get("detectors"),
        prometheus=_options(PrometheusOptions, "prometheus.", said),
        otlp=_as_tuple(_options(OtlpOptions, "otlp.", said)),
        domains=said.get("domains"),
        instrument=said.get("instrument"),
        find_engines=said.get("find_engines"),
        traces=said.get("traces"),
        span_exporters=said.get("span_exporters"),
        exemplar_filter=said.get("exemplar_filter"),
        console=said.get("console"),
        workers=said.get("workers"),
        run_directory=said.get("run_directory"),
        cardinality_limit=said.get("cardinality_limit"),
        series_limit=said.get("series_limit"),
        hide_secrets=said.get("hide_secrets"),
        prometheus_client=said.get("prometheus_client"),
        enabled=None if disabled is None else not disabled,
    )


def _reject_unknown(environ: Mapping[str, str]) -> None:
    known = {variable.name for variable in VARIABLES} | OTHERS
    for name in sorted(environ):
        if name.startswith(_PREFIX) and name not in known:
            raise unknown_name("environment variable", name, known)
    for name in UNREAD:
        if environ.get(name):
            logger.warning(
                "%s is set but not read: spans share this setting with metrics. Set %s for both.",
                name,
                name.replace("_TRACES_", "_"),
            )


def _apply_exporters(said: dict[str, Any], *, alone: bool) -> None:
    spans: tuple[str, ...] | None = said.get("span_exporters")
    if spans is not None:
        said.setdefault("traces", bool(spans))
    exporters: tuple[str, ...] | None = said.pop("exporters", None)
    if exporters is None:
        return
    said["otlp.enabled"] = "otlp" in exporters
    if alone:
        said["console"] = "console" in exporters
        said.setdefault("prometheus.mode", "auto" if "prometheus" in exporters else "off")


def _apply_destination(said: dict[str, Any]) -> None:
    everywhere = said.pop("otlp.all_headers", None)
    if everywhere is not None:
        said.setdefault("otlp.headers", everywhere)
    if "otlp.headers" in said:
        # Headers for metrics alone are credentials that must not reach the receiver of the spans.
        said.setdefault("otlp.traces_headers", everywhere or {})
    whole = said.pop("otlp.export_timeout", None)
    if whole is not None:
        said["otlp.timeout"] = min(whole, said.get("otlp.timeout", whole))


def _options(kind: type, prefix: str, said: Mapping[str, Any]) -> Any:
    values = {target.removeprefix(prefix): value for target, value in said.items() if target.startswith(prefix)}
    return kind(**values) if values else None


def _as_tuple(options: OtlpOptions | None) -> tuple[OtlpOptions, ...] | None:
    return None if options is None else (options,)
