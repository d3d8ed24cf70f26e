"""The settings themselves, one dataclass a concern. What is set in them is what the user meant.

Everywhere, ``None`` means "not said here": a lower source (environment, file, default) decides.
`otelbridge.config.resolve` merges the sources into one `Config`, in which nothing is left unsaid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from otelbridge.config.prometheus_options import (
    Prometheus,
    PrometheusChoice,
    PrometheusOptions,
    TranslationStrategy,
)

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.metrics.view import View

    from otelbridge.config.view import FileView

__all__ = [
    "Compression",
    "Config",
    "ExemplarFilter",
    "HistogramAggregation",
    "MetricsRegistry",
    "Otlp",
    "OtlpOptions",
    "OtlpProtocol",
    "Prometheus",
    "PrometheusChoice",
    "PrometheusOptions",
    "ResourceValue",
    "Settings",
    "Temporality",
    "TranslationStrategy",
    "Workers",
]

ResourceValue = str | bool | int | float | Sequence[str] | Sequence[bool] | Sequence[int] | Sequence[float]
OtlpProtocol = Literal["http/protobuf", "grpc"]
Compression = Literal["gzip", "none"]
Temporality = Literal["cumulative", "delta", "lowmemory"]
HistogramAggregation = Literal["explicit_bucket_histogram", "base2_exponential_bucket_histogram"]
ExemplarFilter = Literal["always_on", "always_off", "trace_based"]
Workers = Literal["merged", "separate"]
MetricsRegistry = Any
"""A ``prometheus_client.CollectorRegistry``, or whatever has a ``collect()`` like it."""


@dataclass(frozen=True, kw_only=True)
class OtlpOptions:
    """One OTLP destination."""

    enabled: bool | None = None
    """Whether metrics are pushed to it. By default where an endpoint for them is said. Spans do not
    depend on it."""

    endpoint: str | None = field(default=None, repr=False)
    """Base URL of the receiver. ``/v1/metrics`` is added to it for HTTP, as the specification does with
    ``OTEL_EXPORTER_OTLP_ENDPOINT``. Default ``http://localhost:4318`` for HTTP, ``http://localhost:4317``
    for gRPC. A socket of this machine is ``unix:/run/otlp.sock``, for HTTP also ``http+unix://%2Frun%2Fotlp.sock/path``;
    gRPC takes ``host:port`` too, with TLS unless `insecure` is true."""

    metrics_endpoint: str | None = field(default=None, repr=False)
    """Full URL for metrics, used as it is. Wins over `endpoint`."""

    traces_endpoint: str | None = field(default=None, repr=False)
    """Full URL for traces, used as it is. Wins over `endpoint`."""

    protocol: OtlpProtocol | None = None
    """Wire protocol. Default ``http/protobuf``."""

    headers: Mapping[str, str] | None = field(default=None, repr=False)
    """Request headers. Usually credentials, so they appear in no log, error or ``repr``."""

    traces_headers: Mapping[str, str] | None = field(default=None, repr=False)
    """Request headers for spans, instead of `headers`, so that the credentials of one receiver do not
    reach another."""

    headers_file: str | None = None
    """File with further request headers for metrics, ``name=value`` divided by commas or line breaks. It is
    read before every request, so that credentials can be exchanged, and wins over `headers`."""

    timeout: float | None = None
    """Seconds one export may take. Default 10."""

    interval: float | None = None
    """Seconds between exports of metrics. Default 60."""

    compression: Compression | None = None
    """Compression of the body. Default ``none``."""

    temporality: Temporality | None = None
    """Aggregation temporality. Default ``cumulative``."""

    histogram_aggregation: HistogramAggregation | None = None
    """Aggregation of histograms that no view says otherwise for. Default explicit buckets."""

    insecure: bool | None = None
    """Whether gRPC goes without TLS. By default as the scheme of the endpoint says; with TLS where it has none."""

    certificate: str | None = None
    """File with the CA certificates that the receiver's must be signed by."""

    client_certificate: str | None = None
    """File with the client certificate for mTLS."""

    client_key: str | None = None
    """File with the key of the client certificate."""

    proxy: str | Literal[False] | None = field(default=None, repr=False)
    """URL of the HTTP proxy through which the receiver is reached, ``http://user:password@host:port``; ``NO_PROXY``
    does not matter then. False, an empty text or ``"none"`` mean none. By default what ``HTTP_PROXY``, ``HTTPS_PROXY``,
    ``ALL_PROXY`` and ``NO_PROXY`` say."""

    cardinality_limits: Mapping[str, int] | None = None
    """Attribute sets that a stream keeps apart in an export, by kind of instrument, as in
    `PrometheusOptions.cardinality_limits`. By default that of the process."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one source says. Every field is optional: ``None`` leaves it to the next source."""

    service_name: str | None = None
    """``service.name`` of the resource."""

    service_version: str | None = None
    """``service.version`` of the resource."""

    environment: str | None = None
    """``deployment.environment.name`` of the resource."""

    resource_attributes: Mapping[str, ResourceValue] | None = None
    """Further resource attributes. Sources are merged key by key, the higher one winning."""

    detectors: tuple[str, ...] | None = None
    """Names of the resource detectors to run."""

    prometheus: PrometheusOptions | None = None
    """The pull path. Sources are merged field by field."""

    otlp: tuple[OtlpOptions, ...] | None = None
    """The push path, one entry a destination; empty switches it off. A single destination is merged
    field by field with the sources below, several stand as they are."""

    domains: tuple[str, ...] | None = None
    """Domains that record; the others stay silent."""

    views: tuple[View | FileView, ...] | None = None
    """Views of the user. Those of all sources apply, the higher source's first."""

    instrument: tuple[str, ...] | None = None
    """Instrumentations to switch on; ``("auto",)`` takes what is installed, empty takes none."""

    find_engines: bool | None = None
    """Whether SQLAlchemy engines that were not passed to `init()` are recorded, each from its first connection on. By
    default they are, where the instrumentation ``sqlalchemy`` is switched on."""

    traces: bool | None = None
    """Whether spans are made and exported."""

    span_exporters: tuple[str, ...] | None = None
    """Where spans go, of ``otlp`` and ``console``; none said is ``otlp``."""

    exemplar_filter: ExemplarFilter | None = None
    """Which measurements may become exemplars."""

    console: bool | None = None
    """Whether metrics are also printed to standard output, for a first look."""

    enabled: bool | None = None
    """False switches everything off (``OTEL_SDK_DISABLED``)."""

    workers: Workers | None = None
    """Whether the worker processes of a service are seen as one, ``merged``, or each by itself."""

    run_directory: Path | None = None
    """Absolute path of the directory in which workers share their values."""

    cardinality_limit: int | None = None
    """Attribute sets that a stream keeps apart; what is more goes into its overflow series."""

    series_limit: int | None = None
    """Attribute sets that all streams of a process keep apart together."""

    hide_secrets: bool | None = None
    """Whether attribute values that look like credentials are shown as ``[hidden]``."""

    prometheus_client: bool | MetricsRegistry | None = None
    """Whether the metrics an application keeps with prometheus_client are shown and pushed with ours: True for
    those of its default registry, False for none, a registry for what that holds.

    By default those of the default registry, as soon as the application has imported prometheus_client and
    registered a metric or collector. Then the registry is shown whole, also what prometheus_client itself puts
    there (``process_*``, ``python_info``, ``python_gc_*``): whoever moves their scrape here misses nothing. A
    registry that holds nothing else, because some library imported prometheus_client, is not shown. What
    upstream's exporter (``opentelemetry-exporter-prometheus``) has registered never is, since it would show
    metrics of OpenTelemetry a second time."""


@dataclass(frozen=True, kw_only=True)
class Otlp:
    """One OTLP destination, decided."""

    metrics_endpoint: str = field(repr=False)
    """Full URL for metrics (for gRPC the base URL)."""

    traces_endpoint: str = field(repr=False)
    """Full URL for traces (for gRPC the base URL)."""

    protocol: OtlpProtocol = "http/protobuf"
    """Wire protocol."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Request headers, secret."""

    headers_file: str | None = None
    """File with further request headers for metrics, read before every request."""

    timeout: float = 10.0
    """Seconds one export may take."""

    interval: float = 60.0
    """Seconds between exports of metrics."""

    compression: Compression = "none"
    """Compression of the body."""

    temporality: Temporality = "cumulative"
    """Aggregation temporality."""

    histogram_aggregation: HistogramAggregation = "explicit_bucket_histogram"
    """Aggregation of histograms without a view."""

    insecure: bool | None = None
    """Whether gRPC goes without TLS; None decides by the scheme."""

    certificate: str | None = None
    """CA file."""

    client_certificate: str | None = None
    """Client certificate file."""

    client_key: str | None = None
    """Client key file."""

    proxy: str | Literal[False] | None = field(default=None, repr=False)
    """URL of a proxy, False for none; None leaves it to the environment."""

    cardinality_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Attribute sets a stream keeps apart, by kind of instrument; empty leaves it to the process."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything decided: what `otelbridge.bridge` builds from. Two equal configs build the same thing."""

    service_name: str | None
    """``service.name``; None leaves the SDK's ``unknown_service``."""

    service_version: str | None
    """``service.version``, if said."""

    environment: str | None
    """``deployment.environment.name``, if said."""

    resource_attributes: Mapping[str, ResourceValue]
    """Further resource attributes, merged."""

    detectors: tuple[str, ...]
    """Resource detectors to run."""

    prometheus: Prometheus
    """The pull path."""

    otlp: tuple[Otlp, ...]
    """The push path, one entry a destination."""

    domains: frozenset[str]
    """Domains that record."""

    views: tuple[View | FileView, ...]
    """The user's views, the most important first; those of a file as data."""

    instrument: tuple[str, ...]
    """Instrumentations to switch on; ``("auto",)`` takes what is installed."""

    find_engines: bool = True
    """Whether SQLAlchemy engines that were not passed to `init()` are recorded."""

    traces: bool
    """Whether spans are made and exported."""

    spans: tuple[Otlp, ...] = ()
    """Where spans go, with the headers for spans; empty without `traces`. Metrics may go elsewhere or
    nowhere."""

    spans_on_console: bool = False
    """Whether spans are printed to standard output."""

    exemplar_filter: ExemplarFilter
    """Which measurements may become exemplars."""

    console: bool
    """Whether metrics are also printed."""

    enabled: bool
    """False means: start nothing."""

    workers: Workers
    """Whether the worker processes of a service are seen as one, or each by itself."""

    run_directory: Path | None
    """Directory in which workers share their values; None lets it be found."""

    cardinality_limit: int
    """Attribute sets that a stream keeps apart where neither its view nor the reader says."""

    series_limit: int
    """Attribute sets that all streams of this process keep apart together."""

    hide_secrets: bool = True
    """Whether attribute values that look like credentials are shown as ``[hidden]``."""

    prometheus_client: Literal["auto"] | bool | MetricsRegistry = "auto"
    """The registry of prometheus_client that is shown; ``"auto"`` is the default one if anything was registered."""
