from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)

from otelbridge.config.arguments import settings_from_arguments
from otelbridge.config.environment import settings_from_environment
from otelbridge.config.options import Config, OtlpOptions, PrometheusOptions, Settings
from otelbridge.config.resolve import differences, resolve
from otelbridge.config.view import FileView
from otelbridge.errors import ConfigError
from otelbridge.metrics.view import View as OwnView

DOMAINS = frozenset({"agents", "tasks"})


def decide(
    environ: dict[str, str] | None = None, file: Settings | None = None, *, app: bool = False, **arguments: Any
) -> Config:
    return resolve(
        settings_from_arguments(**arguments),
        settings_from_environment(environ or {}),
        file or Settings(),
        app=app,
        known_domains=DOMAINS,
    )


@pytest.mark.parametrize(
    ("environ", "arguments", "mode", "otlp"),
    [
        ({}, {}, "app", 0),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e"}, {}, "app", 1),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}, {}, "app", 0),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, {}, "off", 1),
        ({"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://e"}, {}, "app", 0),
        ({"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://e"}, {}, "off", 0),
        ({"OTEL_METRICS_EXPORTER": "none"}, {"otlp": "http://a", "prometheus": True}, "app", 1),
        ({"OTEL_METRICS_EXPORTER": "none"}, {"otlp": OtlpOptions(timeout=3)}, "off", 0),
        ({"OTELBRIDGE_PROMETHEUS": "server"}, {"prometheus": True}, "server", 0),
        ({"OTEL_METRICS_EXPORTER": "otlp,prometheus"}, {"otlp": False}, "app", 0),
    ],
)
def test_which_paths_are_on(environ: dict[str, str], arguments: dict[str, Any], mode: str, otlp: int) -> None:
    config = decide(environ, app=True, **arguments)
    assert (config.prometheus.mode, len(config.otlp)) == (mode, otlp)


def test_a_higher_endpoint_hides_the_special_ones_below() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://e/m",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://e/t",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "k=e",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
    }
    config = decide(environ, otlp=OtlpOptions(endpoint="https://a/base/", headers={"K": "a"}), traces=True)
    assert config.otlp[0].metrics_endpoint == "https://a/base/v1/metrics"
    assert config.spans[0].traces_endpoint == "https://a/base/v1/traces"
    assert config.spans[0].headers == {"k": "a"}
    assert config.otlp[0].timeout == 2.0


def test_higher_headers_hide_a_file_below_and_not_beside() -> None:
    environ = {"OTELBRIDGE_OTLP_HEADERS_FILE": "/e", "OTEL_EXPORTER_OTLP_HEADERS": "k=e"}
    beside = decide(environ, otlp=True).otlp[0]
    below = decide(environ, otlp=OtlpOptions(enabled=True, headers={"k": "a"})).otlp[0]
    above = decide(environ, otlp=OtlpOptions(enabled=True, headers_file="/a")).otlp[0]
    assert (beside.headers, beside.headers_file) == ({"k": "e"}, "/e")
    assert (below.headers, below.headers_file) == ({"k": "a"}, None)
    assert (above.headers, above.headers_file) == ({"k": "e"}, "/a")


def test_a_file_of_headers_is_for_metrics_alone() -> None:
    config = decide({"OTELBRIDGE_OTLP_HEADERS_FILE": "/e"}, otlp=True, traces=True)
    assert [each.headers_file for each in (*config.otlp, *config.spans)] == ["/e", None]


def test_the_query_of_a_base_endpoint_stays_at_the_end() -> None:
    assert decide(otlp="http://a/x?k=v").otlp[0].metrics_endpoint == "http://a/x/v1/metrics?k=v"


def test_grpc_endpoints_are_used_as_they_are() -> None:
    config = decide({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, otlp=True)
    assert config.otlp[0].metrics_endpoint == "http://localhost:4317"
    assert config.otlp[0].traces_endpoint == "http://localhost:4317"


def test_several_destinations_stand_as_they_are() -> None:
    several = [OtlpOptions(endpoint="http://a"), OtlpOptions(endpoint="http://b", enabled=False), OtlpOptions()]
    config = decide({"OTEL_EXPORTER_OTLP_TIMEOUT": "1000"}, otlp=several, traces=True)
    assert [each.metrics_endpoint for each in config.otlp] == [
        "http://a/v1/metrics",
        "http://localhost:4318/v1/metrics",
    ]
    assert {each.timeout for each in config.otlp} == {10.0}
    assert len(config.spans) == 3


def test_a_higher_single_destination_replaces_several_and_can_switch_them() -> None:
    file = Settings(otlp=(OtlpOptions(endpoint="http://a"), OtlpOptions(endpoint="http://b")))
    assert len(decide({}, file).otlp) == 2
    assert len(decide({"OTEL_METRIC_EXPORT_INTERVAL": "1000"}, file).otlp) == 2
    assert decide({"OTEL_METRICS_EXPORTER": "none"}, file).otlp == ()
    assert [each.metrics_endpoint for each in decide({}, file, otlp="http://c").otlp] == ["http://c/v1/metrics"]


def test_spans_do_not_depend_on_metrics_being_pushed() -> None:
    environ = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_TRACES_EXPORTER": "otlp"}
    config = decide({**environ, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"})
    assert config.otlp == ()
    assert [each.traces_endpoint for each in config.spans] == ["http://t/x"]
    assert decide(traces=True, otlp=False).spans == ()


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"OTEL_TRACES_EXPORTER": "console"}, (0, True)),
        ({"OTEL_TRACES_EXPORTER": "otlp,console"}, (1, True)),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, (1, False)),
        ({"OTEL_TRACES_EXPORTER": "none"}, (0, False)),
        ({"OTEL_TRACES_EXPORTER": "console", "OTELBRIDGE_TRACES": "true"}, (0, True)),
        ({"OTEL_TRACES_EXPORTER": "otlp,console", "OTELBRIDGE_TRACES": "false"}, (0, False)),
        ({"OTELBRIDGE_TRACES": "true"}, (1, False)),
    ],
)
def test_spans_go_where_the_exporters_say(said: Any, where: Any) -> None:
    config = decide(said)
    assert (len(config.spans), config.spans_on_console) == where
    assert config.traces is (where != (0, False))


def test_an_argument_for_spans_is_heard_where_no_exporter_is_named() -> None:
    assert len(decide({"OTEL_TRACES_EXPORTER": "none"}, traces=True).spans) == 1
    printed = decide({"OTEL_TRACES_EXPORTER": "console"}, traces=True)
    assert (printed.spans, printed.spans_on_console) == ((), True)


def test_spans_go_only_where_an_endpoint_for_them_is_named() -> None:
    several = [OtlpOptions(endpoint="http://a"), OtlpOptions(endpoint="http://b", traces_endpoint="http://t")]
    assert [each.traces_endpoint for each in decide(otlp=several, traces=True).spans] == ["http://t"]


@pytest.mark.parametrize(
    ("arguments", "environ", "where"),
    [({"domains": ["agent"]}, {}, "domains"), ({}, {"OTELBRIDGE_DOMAINS": "agent"}, "OTELBRIDGE_DOMAINS")],
)
def test_an_unknown_domain_is_named_with_its_source(arguments: Any, environ: Any, where: str) -> None:
    with pytest.raises(ConfigError, match=f"domain in {where} 'agent'.*Did you mean 'agents'"):
        decide(environ, **arguments)


def test_resource_attributes_are_merged_key_by_key() -> None:
    config = decide(
        {"OTEL_RESOURCE_ATTRIBUTES": "a=e,b=e"},
        Settings(resource_attributes={"a": "f", "b": "f", "c": "f"}),
        resource_attributes={"a": "a"},
    )
    assert config.resource_attributes == {"a": "a", "b": "e", "c": "f"}


def view(boundary: float = 1.0) -> View:
    return View(instrument_name="x", aggregation=ExplicitBucketHistogramAggregation([boundary]))


def test_differences_name_settings_and_show_no_values() -> None:
    one = decide(service_name="a", otlp=OtlpOptions(endpoint="http://a", headers={"k": "1"}), views=[view()])
    same = decide(service_name="a", otlp=OtlpOptions(endpoint="http://a", headers={"k": "1"}), views=[view()])
    assert differences(one, same) == ()
    other = replace(one, service_name="b", otlp=(replace(one.otlp[0], headers={"k": "2"}),), views=(view(2.0),))
    assert differences(one, other) == ("service_name", "otlp", "views")
    assert differences(one, replace(one, views=())) == ("views",)


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (lambda: View(instrument_name="x", aggregation=DropAggregation()), SumAggregation()),
        (lambda: FileView(instrument_name="x", aggregation=SumAggregation()), LastValueAggregation()),
        (lambda: FileView(instrument_name="x", aggregation=ExplicitBucketHistogramAggregation([1.0])), None),
    ],
)
def test_views_that_say_the_same_are_no_difference(make: Any, other: Any) -> None:
    one, same = (replace(decide(), views=(make(),)) for _ in range(2))
    assert differences(one, same) == ()
    different = make()
    vars(different)["aggregation" if isinstance(different, FileView) else "_aggregation"] = other
    assert differences(one, replace(one, views=(different,))) == ("views",)


def test_the_settings_of_our_own_views_make_a_difference() -> None:
    def said(**settings: Any) -> Config:
        return decide(views=[OwnView(instrument_name="x", **settings)])

    settings = {"cardinality_limit": 3, "exclude_attribute_keys": ["a"], "forget_after": 9.0, "merge": "max"}
    assert differences(said(**settings), said(**settings)) == ()
    for changed in (
        {"cardinality_limit": 4},
        {"exclude_attribute_keys": ["b"]},
        {"forget_after": 1.0},
        {"merge": None},
    ):
        assert differences(said(**settings), said(**{**settings, **changed})) == ("views",)


def test_views_that_make_reservoirs_differently_differ() -> None:
    one, other = (decide(views=[View(instrument_name="x", exemplar_reservoir_factory=lambda kind: kind)]) for _ in "ab")
    assert differences(one, other) == ("views",)


def test_limits_and_workers_make_a_difference() -> None:
    def said(limit: int = 5) -> Config:
        return decide(
            {"OTELBRIDGE_RUN_DIRECTORY": f"/run/{limit}", "OTELBRIDGE_SERIES_LIMIT": str(limit)},
            workers="merged" if limit == 5 else "separate",
            cardinality_limit=limit,
            prometheus=PrometheusOptions(cardinality_limits={"gauge": limit}),
            otlp=OtlpOptions(enabled=True, cardinality_limits={"gauge": limit}),
        )

    assert differences(said(), said()) == ()
    changed = ("prometheus", "otlp", "workers", "run_directory", "cardinality_limit", "series_limit")
    assert differences(said(), said(6)) == changed
