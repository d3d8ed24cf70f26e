"""Every environment variable that is read, as data: what it sets, how it is read, what it is for.

The names and meanings of ``OTEL_*`` are those of OpenTelemetry's environment variable specification, OTLP
exporter specification and Prometheus exporter specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otelbridge.config import checks, pairs, prometheus_checks, texts, urls

if TYPE_CHECKING:
    from otelbridge.config.texts import Reader


@dataclass(frozen=True)
class Variable:
    """One environment variable."""

    name: str
    """Its name."""

    target: str
    """What it sets: a field of `Settings`, ``prometheus.`` or ``otlp.`` and a field of these options, or
    ``exporters``. Empty for variables that others read."""

    read: Reader
    """Makes the value from the text."""

    description: str
    """What it says, in one sentence."""


_OTLP = "OTEL_EXPORTER_OTLP_"
_METRICS = "OTEL_EXPORTER_OTLP_METRICS_"
_PULL = "OTELBRIDGE_PROMETHEUS_"

_DESTINATION: tuple[tuple[str, str, Reader, str], ...] = (
    ("PROTOCOL", "otlp.protocol", texts.protocol, "Wire protocol of OTLP: http/protobuf or grpc."),
    ("TIMEOUT", "otlp.timeout", texts.otlp_timeout, "Milliseconds one export may take."),
    ("COMPRESSION", "otlp.compression", texts.word(checks.COMPRESSIONS), "Compression of OTLP: gzip or none."),
    ("CERTIFICATE", "otlp.certificate", checks.text, "File with the CA certificates that the receiver is checked by."),
    ("CLIENT_KEY", "otlp.client_key", checks.text, "File with the key of the client certificate."),
    ("CLIENT_CERTIFICATE", "otlp.client_certificate", checks.text, "File with the client certificate for mTLS."),
    ("INSECURE", "otlp.insecure", texts.flag, "Whether gRPC goes without TLS: true or false."),
)

# Each sets the field of the same name.
_PULL_SETTINGS: tuple[tuple[str, Reader, str], ...] = (
    ("PATH", checks.path, "Path of the scrape endpoint."),
    ("TARGET_INFO", texts.flag, "Whether the resource appears as the series target_info: true or false."),
    (
        "SCOPE_LABELS",
        texts.flag,
        "Whether every series carries otel_scope_name and otel_scope_version: true or false.",
    ),
    (
        "TRANSLATION_STRATEGY",
        texts.word(prometheus_checks.STRATEGIES),
        "How names become Prometheus names: UnderscoreEscapingWithSuffixes, UnderscoreEscapingWithoutSuffixes, "
        "NoUTF8EscapingWithSuffixes or NoTranslation.",
    ),
    (
        "RESOURCE_LABELS",
        texts.names,
        "Resource attributes that every series carries as labels: a list of keys, or none.",
    ),
    ("CREATED", texts.flag, "Whether OpenMetrics says since when a series counts (_created): true or false."),
    ("MAX_BYTES", texts.limit, "Bytes above which whole families are left out of a page, the largest first."),
    ("BEARER_TOKEN", prometheus_checks.bearer_token, "Token that a scrape must show. Secret."),
    ("BEARER_TOKEN_FILE", checks.file, "File with that token, read anew for each request."),
    (
        "CLIENT_NAMES",
        texts.names,
        "Names of which a client's certificate must carry one: a list, or none. Needs a client CA.",
    ),
    ("INSECURE", texts.flag, "Whether everybody who reaches the own metrics server may read: true or false."),
    ("TLS_CERTIFICATE", checks.file, "File with the certificate of the own metrics server."),
    ("TLS_KEY", checks.file, "File with the key of that certificate."),
    ("TLS_CLIENT_CA", checks.file, "File with the CA that clients' certificates must be signed by."),
    ("WEB_CONFIG_FILE", checks.file, "The web.config.yml that says who may read, and how TLS is spoken."),
    ("HEALTH", texts.flag, "Whether /healthz and /-/ready are served beside the metrics: true or false."),
)

VARIABLES: tuple[Variable, ...] = (
    Variable("OTEL_SDK_DISABLED", "disabled", texts.flag, "true switches everything off."),
    Variable("OTEL_RESOURCE_ATTRIBUTES", "resource_attributes", pairs.attributes, "Resource attributes, key=value,..."),
    Variable("OTEL_SERVICE_NAME", "service_name", checks.text, "service.name of the resource."),
    Variable("OTELBRIDGE_SERVICE_VERSION", "service_version", checks.text, "service.version of the resource."),
    Variable("OTELBRIDGE_ENVIRONMENT", "environment", checks.text, "deployment.environment.name of the resource."),
    Variable(
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
        "detectors",
        texts.sdk_detectors,
        "Resource detectors to run: a list, or * for all.",
    ),
    Variable(
        "OTELBRIDGE_DETECTORS",
        "detectors",
        texts.detectors,
        "The same, ours: process, host, os, container, kubernetes; * for all, none for none.",
    ),
    Variable(
        "OTEL_METRICS_EXPORTER",
        "exporters",
        texts.exporters(texts.METRICS_EXPORTERS),
        "Where metrics go: otlp, prometheus, console, several of them, or none. What it does not name is off.",
    ),
    Variable("OTEL_EXPORTER_PROMETHEUS_HOST", "prometheus.host", checks.host, "Address of the own metrics server."),
    Variable("OTEL_EXPORTER_PROMETHEUS_PORT", "prometheus.port", texts.port, "Port of the own metrics server."),
    Variable(
        "OTELBRIDGE_PROMETHEUS",
        "prometheus.mode",
        texts.word(checks.PROMETHEUS_MODES),
        "Where Prometheus scrapes: app, server, auto or off. Wins over OTEL_METRICS_EXPORTER.",
    ),
    *(Variable(f"{_PULL}{name}", f"prometheus.{name.lower()}", read, says) for name, read, says in _PULL_SETTINGS),
    Variable(f"{_OTLP}ENDPOINT", "otlp.endpoint", urls.endpoint, "Base URL of the OTLP receiver. Switches OTLP on."),
    Variable(
        f"{_METRICS}ENDPOINT",
        "otlp.metrics_endpoint",
        urls.endpoint,
        "Full URL for metrics, used as it is. Switches OTLP on.",
    ),
    Variable(f"{_OTLP}TRACES_ENDPOINT", "otlp.traces_endpoint", urls.endpoint, "Full URL for spans, used as it is."),
    Variable(f"{_OTLP}HEADERS", "otlp.all_headers", pairs.headers, "Headers of OTLP requests, name=value,... Secret."),
    Variable(f"{_METRICS}HEADERS", "otlp.headers", pairs.headers, "The same, for metrics only. Secret."),
    Variable(f"{_OTLP}TRACES_HEADERS", "otlp.traces_headers", pairs.headers, "The same, for spans only. Secret."),
    Variable(
        "OTELBRIDGE_OTLP_HEADERS_FILE",
        "otlp.headers_file",
        checks.headers_file,
        "File with further headers for metrics, in the same form or one a line, read anew for each request.",
    ),
    Variable(
        "OTELBRIDGE_OTLP_PROXY",
        "otlp.proxy",
        urls.proxy,
        "HTTP proxy on the way to the receiver, http://host:port, or none. Wins over HTTPS_PROXY and the like. Secret.",
    ),
    *(Variable(f"{_OTLP}{name}", target, read, says) for name, target, read, says in _DESTINATION),
    *(
        Variable(f"{_METRICS}{name}", target, read, f"{says} Wins over {_OTLP}{name}.")
        for name, target, read, says in _DESTINATION
    ),
    Variable(
        f"{_METRICS}TEMPORALITY_PREFERENCE",
        "otlp.temporality",
        texts.word(checks.TEMPORALITIES),
        "Aggregation temporality over OTLP: cumulative, delta or lowmemory.",
    ),
    Variable(
        f"{_METRICS}DEFAULT_HISTOGRAM_AGGREGATION",
        "otlp.histogram_aggregation",
        texts.word(checks.HISTOGRAM_AGGREGATIONS),
        "Histograms over OTLP: explicit_bucket_histogram or base2_exponential_bucket_histogram.",
    ),
    Variable(
        "OTEL_METRIC_EXPORT_INTERVAL", "otlp.interval", texts.milliseconds, "Milliseconds between exports of metrics."
    ),
    Variable(
        "OTEL_METRIC_EXPORT_TIMEOUT",
        "otlp.export_timeout",
        texts.milliseconds,
        "Milliseconds one export may take; the smaller of this and the timeout of OTLP counts.",
    ),
    Variable(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        "exemplar_filter",
        texts.word(checks.EXEMPLAR_FILTERS),
        "Which measurements may become exemplars: trace_based, always_on or always_off.",
    ),
    Variable(
        "OTEL_TRACES_EXPORTER",
        "span_exporters",
        texts.exporters(texts.TRACES_EXPORTERS),
        "Where spans go: otlp, console, both, or none. What it does not name is off.",
    ),
    Variable("OTELBRIDGE_TRACES", "traces", texts.flag, "Whether spans are made: true or false. Wins."),
    Variable("OTELBRIDGE_DOMAINS", "domains", texts.names, "Domains that record: a list, or none."),
    Variable("OTELBRIDGE_INSTRUMENT", "instrument", texts.names, "Instrumentations: auto, a list, or none."),
    Variable(
        "OTELBRIDGE_FIND_ENGINES",
        "find_engines",
        texts.flag,
        "Whether SQLAlchemy engines that were not passed to `init()` are recorded: true, the default, or false.",
    ),
    Variable(
        "OTELBRIDGE_WORKERS",
        "workers",
        texts.word(checks.WORKERS),
        "Whether the worker processes of a service are seen as one: merged or separate.",
    ),
    Variable(
        "OTELBRIDGE_RUN_DIRECTORY",
        "run_directory",
        checks.directory,
        "Absolute path of the directory in which workers share their values.",
    ),
    Variable(
        "OTELBRIDGE_GROUP",
        "",
        checks.text,
        "Names the group of processes that are seen as one. Set by the first of them unless you do.",
    ),
    Variable(
        "OTELBRIDGE_CARDINALITY_LIMIT", "cardinality_limit", texts.limit, "Attribute sets that a stream keeps apart."
    ),
    Variable(
        "OTELBRIDGE_SERIES_LIMIT",
        "series_limit",
        texts.limit,
        "Attribute sets that all streams of a process keep apart together.",
    ),
    Variable(
        "OTELBRIDGE_HIDE_SECRETS",
        "hide_secrets",
        texts.flag,
        "Whether attribute values that look like credentials are shown as [hidden]: true, the default, or false.",
    ),
    Variable(
        "OTELBRIDGE_PROMETHEUS_CLIENT",
        "prometheus_client",
        texts.flag,
        "Whether the metrics of prometheus_client's default registry are shown and pushed too: true or false.",
    ),
    Variable("OTEL_CONFIG_FILE", "", checks.text, "Path of the configuration file."),
    Variable("OTELBRIDGE_CONFIG_FILE", "", checks.text, "The same, ours. Wins."),
)
"""The variables that are read. Where two set the same thing, the later one wins."""

OTHERS: frozenset[str] = frozenset(
    {
        "OTELBRIDGE_CACHE",
        "OTELBRIDGE_NO_DOWNLOAD",
        "OTELBRIDGE_OTELCOL",
        "OTELBRIDGE_PROMETHEUS_SERVER",
        "OTELBRIDGE_PROMTOOL",
        "OTELBRIDGE_REQUIRE_COMPONENTS",
        "OTELBRIDGE_SOAK",
    }
)
"""Variables of ours that are no settings: of the local stack and the tests."""

UNREAD: tuple[str, ...] = tuple(f"{_OTLP}TRACES_{name}" for name, *_ in _DESTINATION)
"""Standard variables somebody may expect to work, and that get a warning because they do not: spans
share the connection settings of metrics, all but endpoint and headers."""
