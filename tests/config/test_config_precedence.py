"""Every setting in every pair of sources: the higher one wins."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics.view import View

from otelbridge.config.arguments import settings_from_arguments
from otelbridge.config.environment import settings_from_environment
from otelbridge.config.file import settings_from_file
from otelbridge.config.options import OtlpOptions, PrometheusOptions, Settings
from otelbridge.config.resolve import resolve

pytestmark = pytest.mark.endtoend

DOMAINS = frozenset({"agents", "business", "tasks"})


def pull(**options: Any) -> dict[str, Any]:
    return {"meter_provider": {"readers": [{"pull": {"exporter": {"prometheus/development": options}}}]}}


def push(reader: dict[str, Any] | None = None, exporter: str = "otlp_http", **options: Any) -> dict[str, Any]:
    periodic = {"exporter": {exporter: options}, **(reader or {})}
    return {"meter_provider": {"readers": [{"periodic": periodic}]}}


def own(**options: Any) -> dict[str, Any]:
    return {"distribution": {"otelbridge": options}}


def attribute(name: str, value: str) -> dict[str, Any]:
    return {"resource": {"attributes": [{"name": name, "value": value}]}}


def otlp(**options: Any) -> dict[str, Any]:
    return {"otlp": OtlpOptions(**options)}


def prometheus(**options: Any) -> dict[str, Any]:
    return {"prometheus": PrometheusOptions(**options)}


TLS = {"tls_certificate": "/c", "tls_key": "/k", "tls_client_ca": "/ca"}
TLS_VARIABLES = {
    "OTELBRIDGE_PROMETHEUS_TLS_CERTIFICATE": "/ec",
    "OTELBRIDGE_PROMETHEUS_TLS_KEY": "/ek",
    "OTELBRIDGE_PROMETHEUS_TLS_CLIENT_CA": "/eca",
}

# One row a setting: how to read it from the Config, its default, then what arguments, environment and file
# say and the value that must come of it; None for a source where the setting cannot be said.
ON = {"OTEL_METRICS_EXPORTER": "otlp,prometheus"}
ROWS: dict[str, tuple[Any, Any, Any, Any, Any]] = {
    "service_name": (
        lambda c: c.service_name,
        None,
        ({"service_name": "a"}, "a"),
        ({"OTEL_SERVICE_NAME": "e"}, "e"),
        (attribute("service.name", "f"), "f"),
    ),
    "service_name as attribute": (
        lambda c: c.service_name,
        None,
        ({"resource_attributes": {"service.name": "a"}}, "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=e"}, "e"),
        ({"resource": {"attributes_list": "service.name=f"}}, "f"),
    ),
    "service_version": (
        lambda c: c.service_version,
        None,
        ({"service_version": "1"}, "1"),
        ({"OTELBRIDGE_SERVICE_VERSION": "2"}, "2"),
        (own(service_version="3"), "3"),
    ),
    "environment": (
        lambda c: c.environment,
        None,
        ({"environment": "a"}, "a"),
        ({"OTELBRIDGE_ENVIRONMENT": "e"}, "e"),
        (own(environment="f"), "f"),
    ),
    "resource_attributes": (
        lambda c: c.resource_attributes.get("team"),
        None,
        ({"resource_attributes": {"team": "a"}}, "a"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=e"}, "e"),
        (attribute("team", "f"), "f"),
    ),
    "detectors": (
        lambda c: c.detectors,
        ("process", "host", "os", "container", "kubernetes"),
        None,
        ({"OTELBRIDGE_DETECTORS": "process"}, ("process",)),
        (own(detectors=["container"]), ("container",)),
    ),
    "prometheus.mode": (
        lambda c: c.prometheus.mode,
        "server",
        ({"prometheus": "app"}, "app"),
        ({"OTELBRIDGE_PROMETHEUS": "off"}, "off"),
        (own(prometheus={"mode": "server"}), "server"),
    ),
    "prometheus on over off": (
        lambda c: c.prometheus.mode,
        "server",
        ({"prometheus": True}, "server"),
        ({"OTEL_METRICS_EXPORTER": "none"}, "off"),
        (pull(), "server"),
    ),
    "prometheus.path": (
        lambda c: c.prometheus.path,
        "/metrics",
        (prometheus(path="/a"), "/a"),
        ({"OTELBRIDGE_PROMETHEUS_PATH": "/e"}, "/e"),
        (own(prometheus={"path": "/f"}), "/f"),
    ),
    "prometheus.host": (
        lambda c: c.prometheus.host,
        "localhost",
        (prometheus(host="a"), "a"),
        ({"OTEL_EXPORTER_PROMETHEUS_HOST": "e"}, "e"),
        (pull(host="f"), "f"),
    ),
    "prometheus.port": (
        lambda c: c.prometheus.port,
        9464,
        (prometheus(port=0), 0),
        ({"OTEL_EXPORTER_PROMETHEUS_PORT": "2"}, 2),
        (pull(port=3), 3),
    ),
    "prometheus.target_info": (
        lambda c: c.prometheus.target_info,
        True,
        (prometheus(target_info=False), False),
        ({"OTELBRIDGE_PROMETHEUS_TARGET_INFO": "True"}, True),
        (pull(**{"target_info_enabled/development": False}), False),
    ),
    "prometheus.scope_labels": (
        lambda c: c.prometheus.scope_labels,
        False,
        (prometheus(scope_labels=False), False),
        ({"OTELBRIDGE_PROMETHEUS_SCOPE_LABELS": "true"}, True),
        (pull(scope_info_enabled=True), True),
    ),
    "prometheus.translation_strategy": (
        lambda c: c.prometheus.translation_strategy,
        "UnderscoreEscapingWithSuffixes",
        (prometheus(translation_strategy="NoUTF8EscapingWithSuffixes"), "NoUTF8EscapingWithSuffixes"),
        ({"OTELBRIDGE_PROMETHEUS_TRANSLATION_STRATEGY": "notranslation"}, "NoTranslation"),
        (
            pull(translation_strategy="underscore_escaping_without_suffixes/development"),
            "UnderscoreEscapingWithoutSuffixes",
        ),
    ),
    "prometheus.resource_labels": (
        lambda c: c.prometheus.resource_labels,
        (),
        (prometheus(resource_labels=()), ()),
        ({"OTELBRIDGE_PROMETHEUS_RESOURCE_LABELS": "service.name, team"}, ("service.name", "team")),
        (pull(resource_constant_labels={"included": ["x", "y"], "excluded": ["x"]}), ("y",)),
    ),
    **{
        f"prometheus.{field}": (
            lambda c, field=field: getattr(c.prometheus, field),
            default,
            (prometheus(**{field: argument}), argument),
            ({f"OTELBRIDGE_PROMETHEUS_{field.upper()}": text}, said),
            (own(prometheus={field: file}), file),
        )
        for field, default, argument, text, said, file in (
            ("created", False, False, "True", True, False),
            ("max_bytes", 50_000_000, 1, "2", 2, 3),
            ("bearer_token", None, "a", "e", "e", "f"),
            ("bearer_token_file", None, "/a", "/e", "/e", "f"),
            ("insecure", False, False, "true", True, False),
            ("web_config_file", None, "/a", "/e", "/e", "f"),
            ("health", True, True, "false", False, True),
        )
    },
    "prometheus.basic_users": (
        lambda c: c.prometheus.basic_users,
        {},
        (prometheus(basic_users={"a": "$2b$a"}), {"a": "$2b$a"}),
        None,
        (own(prometheus={"basic_users": {"f": "$2b$12$f"}}), {"f": "$2b$12$f"}),
    ),
    "prometheus.client_names": (
        lambda c: c.prometheus.client_names,
        (),
        (prometheus(**TLS, client_names=("a",)), ("a",)),
        ({**TLS_VARIABLES, "OTELBRIDGE_PROMETHEUS_CLIENT_NAMES": "e1,e2"}, ("e1", "e2")),
        (own(prometheus={**TLS, "client_names": ["f"]}), ("f",)),
    ),
    "prometheus.tls": (
        lambda c: (c.prometheus.tls_certificate, c.prometheus.tls_key, c.prometheus.tls_client_ca),
        (None, None, None),
        (prometheus(**TLS), ("/c", "/k", "/ca")),
        (TLS_VARIABLES, ("/ec", "/ek", "/eca")),
        (own(prometheus={**TLS, "tls_key": "/f"}), ("/c", "/f", "/ca")),
    ),
    "otlp on": (
        lambda c: bool(c.otlp),
        False,
        ({"otlp": True}, True),
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, False),
        (push(), True),
    ),
    "otlp off": (
        lambda c: bool(c.otlp),
        False,
        ({"otlp": False}, False),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, True),
        (pull(), False),
    ),
    "otlp.endpoint": (
        lambda c: [each.metrics_endpoint for each in c.otlp],
        [],
        ({"otlp": "http://a:1"}, ["http://a:1/v1/metrics"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:1/"}, ["http://e:1/v1/metrics"]),
        (push(endpoint="http://f:1/x"), ["http://f:1/x"]),
    ),
    "otlp.metrics_endpoint": (
        lambda c: [each.metrics_endpoint for each in c.otlp],
        [],
        (otlp(metrics_endpoint="http://a:1/x"), ["http://a:1/x"]),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://e:1/x"}, ["http://e:1/x"]),
        (push(endpoint="http://f:1/x"), ["http://f:1/x"]),
    ),
}


def destination_row(field: str, default: Any, argument: Any, variable: str, text: str, said: Any, file: Any) -> Any:
    """A row for a field of one OTLP destination, which every source also switches on."""
    return (
        lambda c: getattr(c.otlp[0], field) if c.otlp else default,
        default,
        (otlp(enabled=True, **{field: argument}), argument),
        ({**ON, variable: text}, said),
        file,
    )


PREFIX = "OTEL_EXPORTER_OTLP_"
for signal in ("", "METRICS_"):
    ROWS |= {
        f"{signal}protocol": destination_row(
            "protocol",
            "http/protobuf",
            "http/protobuf",
            f"{PREFIX}{signal}PROTOCOL",
            "GRPC",
            "grpc",
            (push(exporter="otlp_http"), "http/protobuf"),
        ),
        f"{signal}headers": destination_row(
            "headers",
            {},
            {"k": "a"},
            f"{PREFIX}{signal}HEADERS",
            "K=e%20e",
            {"k": "e e"},
            (push(headers=[{"name": "K", "value": "f"}]), {"k": "f"}),
        ),
        f"{signal}timeout": destination_row(
            "timeout", 10.0, 1.5, f"{PREFIX}{signal}TIMEOUT", "2500", 2.5, (push(timeout=3500), 3.5)
        ),
        f"{signal}compression": destination_row(
            "compression",
            "none",
            "none",
            f"{PREFIX}{signal}COMPRESSION",
            "gzip",
            "gzip",
            (push(compression="none"), "none"),
        ),
        f"{signal}certificate": destination_row(
            "certificate",
            None,
            "/a",
            f"{PREFIX}{signal}CERTIFICATE",
            "/e",
            "/e",
            (push(tls={"ca_file": "/f"}), "/f"),
        ),
        f"{signal}client_key": destination_row(
            "client_key", None, "/a", f"{PREFIX}{signal}CLIENT_KEY", "/e", "/e", (push(tls={"key_file": "/f"}), "/f")
        ),
        f"{signal}client_certificate": destination_row(
            "client_certificate",
            None,
            "/a",
            f"{PREFIX}{signal}CLIENT_CERTIFICATE",
            "/e",
            "/e",
            (push(tls={"cert_file": "/f"}), "/f"),
        ),
        f"{signal}insecure": destination_row(
            "insecure",
            None,
            False,
            f"{PREFIX}{signal}INSECURE",
            "true",
            True,
            (push(exporter="otlp_grpc", tls={"insecure": False}), False),
        ),
    }
ROWS |= {
    "temporality": destination_row(
        "temporality",
        "cumulative",
        "cumulative",
        f"{PREFIX}METRICS_TEMPORALITY_PREFERENCE",
        "Delta",
        "delta",
        (push(temporality_preference="low_memory"), "lowmemory"),
    ),
    "histogram_aggregation": destination_row(
        "histogram_aggregation",
        "explicit_bucket_histogram",
        "explicit_bucket_histogram",
        f"{PREFIX}METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "base2_exponential_bucket_histogram",
        "base2_exponential_bucket_histogram",
        (push(default_histogram_aggregation="explicit_bucket_histogram"), "explicit_bucket_histogram"),
    ),
    "proxy": (
        lambda c: c.otlp[0].proxy if c.otlp else None,
        None,
        (otlp(enabled=True, proxy=False), False),
        ({**ON, "OTELBRIDGE_OTLP_PROXY": "e:1"}, "http://e:1"),
        ({**push(), **own(otlp={"proxy": "http://f:1"})}, "http://f:1"),
    ),
    "headers_file": (
        lambda c: c.otlp[0].headers_file if c.otlp else None,
        None,
        (otlp(enabled=True, headers_file="a"), "a"),
        ({**ON, "OTELBRIDGE_OTLP_HEADERS_FILE": "e"}, "e"),
        ({**push(), **own(otlp={"headers_file": "/f"})}, "/f"),
    ),
    "interval": destination_row(
        "interval", 60.0, 1.0, "OTEL_METRIC_EXPORT_INTERVAL", "2000", 2.0, (push({"interval": 3000}), 3.0)
    ),
    "export timeout": destination_row(
        "timeout", 10.0, 1.0, "OTEL_METRIC_EXPORT_TIMEOUT", "2000", 2.0, (push({"timeout": 3000}, timeout=9000), 3.0)
    ),
    "domains": (
        lambda c: c.domains,
        DOMAINS,
        ({"domains": ["agents"]}, {"agents"}),
        ({"OTELBRIDGE_DOMAINS": "none"}, frozenset()),
        (own(domains=["tasks", "business"]), {"tasks", "business"}),
    ),
    "instrument": (
        lambda c: c.instrument,
        ("auto",),
        ({"instrument": False}, ()),
        ({"OTELBRIDGE_INSTRUMENT": "fastapi, httpx"}, ("fastapi", "httpx")),
        (own(instrument="auto"), ("auto",)),
    ),
    "traces": (
        lambda c: c.traces,
        False,
        ({"traces": False}, False),
        ({"OTELBRIDGE_TRACES": "true"}, True),
        (own(traces=False), False),
    ),
    "traces by exporter": (
        lambda c: c.traces,
        False,
        ({"traces": True}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": None}}}]}}, True),
    ),
    "where spans go": (
        lambda c: (len(c.spans), c.spans_on_console),
        (0, False),
        None,
        ({"OTEL_TRACES_EXPORTER": "otlp, Console"}, (1, True)),
        ({"tracer_provider": {"processors": [{"simple": {"exporter": {"console": None}}}]}}, (0, True)),
    ),
    "traces_endpoint": (
        lambda c: [each.traces_endpoint for each in c.spans],
        [],
        ({**otlp(traces_endpoint="http://a:1/x"), "traces": True}, ["http://a:1/x"]),
        ({"OTEL_TRACES_EXPORTER": "otlp", f"{PREFIX}TRACES_ENDPOINT": "http://e:1/x"}, ["http://e:1/x"]),
        (
            {"tracer_provider": {"processors": [{"simple": {"exporter": {"otlp_http": {"endpoint": "http://f/x"}}}}]}},
            ["http://f/x"],
        ),
    ),
    "workers": (
        lambda c: c.workers,
        "merged",
        ({"workers": "merged"}, "merged"),
        ({"OTELBRIDGE_WORKERS": "Separate"}, "separate"),
        (own(workers="merged"), "merged"),
    ),
    "run_directory": (
        lambda c: c.run_directory,
        None,
        None,
        ({"OTELBRIDGE_RUN_DIRECTORY": "/e/"}, Path("/e")),
        (own(run_directory="/f"), Path("/f")),
    ),
    "cardinality_limit": (
        lambda c: c.cardinality_limit,
        2000,
        ({"cardinality_limit": 1}, 1),
        ({"OTELBRIDGE_CARDINALITY_LIMIT": "2"}, 2),
        (own(cardinality_limit=3), 3),
    ),
    "series_limit": (
        lambda c: c.series_limit,
        50_000,
        None,
        ({"OTELBRIDGE_SERIES_LIMIT": "2"}, 2),
        (own(series_limit=3), 3),
    ),
    "exemplar_filter": (
        lambda c: c.exemplar_filter,
        "trace_based",
        None,
        ({"OTEL_METRICS_EXEMPLAR_FILTER": "ALWAYS_ON"}, "always_on"),
        ({"meter_provider": {**pull()["meter_provider"], "exemplar_filter": "always_off"}}, "always_off"),
    ),
    "console": (
        lambda c: c.console,
        False,
        None,
        ({"OTEL_METRICS_EXPORTER": "prometheus"}, False),
        (push(exporter="console"), True),
    ),
    "enabled": (
        lambda c: c.enabled,
        True,
        None,
        ({"OTEL_SDK_DISABLED": "false"}, True),
        ({"disabled": True}, False),
    ),
}

SOURCES = ("arguments", "environment", "file")
PAIRS = [
    pytest.param(name, *pair, id=f"{name}: {pair[0]} over {pair[1]}")
    for name, row in ROWS.items()
    for pair in itertools.combinations((*SOURCES, "default"), 2)
    if all(source == "default" or row[2 + SOURCES.index(source)] is not None for source in pair)
]


@pytest.mark.parametrize(("name", "higher", "lower"), PAIRS)
def test_the_higher_source_wins(name: str, higher: str, lower: str, tmp_path: Any) -> None:
    read, default, *said = ROWS[name]
    by_source = dict(zip(SOURCES, said, strict=True))
    settings = {source: Settings() for source in by_source}
    for source in {higher, lower} - {"default"}:
        settings[source] = load(source, by_source[source][0], tmp_path)
    config = resolve(settings["arguments"], settings["environment"], settings["file"], app=False, known_domains=DOMAINS)
    assert read(config) == by_source[higher][1]
    nothing = resolve(Settings(), Settings(), Settings(), app=False, known_domains=DOMAINS)
    assert read(nothing) == default


def load(source: str, said: Any, folder: Any) -> Settings:
    if source == "arguments":
        return settings_from_arguments(**said)
    if source == "environment":
        return settings_from_environment(said)
    path = folder / "otel.json"
    path.write_text(json.dumps({"file_format": "1.0", **said}))
    return settings_from_file(path)


@pytest.mark.parametrize("argument", [None, {"gauge": 1}])
def test_limits_of_readers_in_arguments_win_over_the_file(argument: Any, tmp_path: Any) -> None:
    said = {"counter": 2, "default": 3}
    readers = [
        {"pull": {**pull()["meter_provider"]["readers"][0]["pull"], "cardinality_limits": said}},
        {"periodic": {"exporter": {"otlp_http": None}, "cardinality_limits": said}},
    ]
    file = load("file", {"meter_provider": {"readers": readers}}, tmp_path)
    arguments = settings_from_arguments(
        prometheus=PrometheusOptions(cardinality_limits=argument), otlp=OtlpOptions(cardinality_limits=argument)
    )
    config = resolve(arguments, Settings(), file, app=False, known_domains=DOMAINS)
    assert config.prometheus.cardinality_limits == (argument or said)
    assert [each.cardinality_limits for each in config.otlp] == [argument or said]
    bare = resolve(settings_from_arguments(otlp=True), Settings(), Settings(), app=False, known_domains=DOMAINS)
    assert (bare.prometheus.cardinality_limits, bare.otlp[0].cardinality_limits) == ({}, {})


def test_views_of_all_sources_apply(tmp_path: Any) -> None:
    mine = View(instrument_name="mine")
    views = [{"selector": {"instrument_name": "theirs"}, "stream": {"aggregation": {"drop": {}}}}]
    file = load("file", {"meter_provider": {**pull()["meter_provider"], "views": views}}, tmp_path)
    config = resolve(settings_from_arguments(views=iter([mine])), Settings(), file, app=False, known_domains=DOMAINS)
    assert config.views[0] is mine
    assert len(config.views) == 2
