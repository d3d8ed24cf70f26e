from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelbridge.config.file import settings_from_file
from otelbridge.config.options import OtlpOptions, PrometheusOptions, Settings
from otelbridge.config.resolve import differences, resolve
from otelbridge.errors import ConfigError
from otelbridge.metrics.view import View

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend

SECRET = "s3cr3t-canary"


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load(said: Any) -> Settings:
        path = tmp_path / "otel.yaml"
        path.write_text(said if isinstance(said, str) else yaml.safe_dump({"file_format": "1.0", **said}))
        return settings_from_file(path)

    return load


def metrics(reader: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"meter_provider": {"readers": [reader], **more}}


def periodic(exporter: dict[str, Any], **more: Any) -> dict[str, Any]:
    return metrics({"periodic": {"exporter": exporter, **more}})


def pull(**options: Any) -> dict[str, Any]:
    return {"pull": {"exporter": {"prometheus/development": options}}}


def viewed(selector: dict[str, Any], **stream: Any) -> dict[str, Any]:
    return metrics(pull(), views=[{"selector": selector, "stream": stream}])


def built(settings: Settings) -> list[View]:
    return [View(**vars(view)) for view in settings.views or ()]


def spans(**exporter: Any) -> dict[str, Any]:
    return {"tracer_provider": {"processors": [{"batch": {"exporter": exporter}}]}}


def test_a_minimal_file_says_nothing(load: Any) -> None:
    assert load({}) == Settings()


def test_readers_are_all_there_is(load: Any) -> None:
    only_pull = load(metrics(pull()))
    only_push = load(periodic({"otlp_http": None}))
    assert only_pull.prometheus == PrometheusOptions(mode="auto")
    assert only_pull.otlp == (OtlpOptions(enabled=False),)
    assert only_push.prometheus == PrometheusOptions(mode="off")
    assert only_push.otlp[0].metrics_endpoint == "http://localhost:4318/v1/metrics"


def test_our_section_speaks_of_pull_without_a_pull_reader(load: Any) -> None:
    settings = load({**periodic({"console": None}), "distribution": {"otelbridge": {"prometheus": {"path": "/m"}}}})
    assert settings.prometheus == PrometheusOptions(path="/m")
    assert settings.console is True


@pytest.mark.parametrize("mode", ["prometheus: off", "prometheus: {mode: off}", "prometheus: 'off'"])
def test_a_bare_off_is_understood(load: Any, mode: str) -> None:
    settings = load(f'file_format: "1.0"\ndistribution: {{otelbridge: {{{mode}}}}}')
    assert settings.prometheus == PrometheusOptions(mode="off")


def test_several_otlp_readers_are_several_destinations(load: Any) -> None:
    readers = [
        {"periodic": {"exporter": {"otlp_http": {"endpoint": "http://a/v1/metrics"}}, "interval": 5000}},
        {"periodic": {"exporter": {"otlp_grpc": {"endpoint": "http://b:4317", "tls": {"insecure": True}}}}},
    ]
    settings = load({"meter_provider": {"readers": readers}})
    assert [each.protocol for each in settings.otlp] == ["http/protobuf", "grpc"]
    assert [each.interval for each in settings.otlp] == [5.0, None]
    assert settings.otlp[1].insecure is True


def test_headers_come_from_both_forms(load: Any) -> None:
    pairs = [{"name": "A", "value": "2"}, {"name": "C", "value": None}]
    settings = load(periodic({"otlp_http": {"headers_list": "a=1,b=x%20y", "headers": pairs}}))
    assert settings.otlp[0].headers == {"a": "2", "b": "x y"}
    assert settings.otlp[0].traces_headers == {}


def test_our_section_names_a_file_of_headers_for_the_one_exporter(load: Any) -> None:
    own = {"distribution": {"otelbridge": {"otlp": {"headers_file": "/run/secrets/headers"}}}}
    (with_exporter,) = load({**periodic({"otlp_http": {"endpoint": "http://a/x"}}), **own}).otlp
    assert (with_exporter.metrics_endpoint, with_exporter.headers_file) == ("http://a/x", "/run/secrets/headers")
    assert load(own).otlp == (OtlpOptions(headers_file="/run/secrets/headers"),)
    assert load({"distribution": {"otelbridge": {"otlp": {}}}}).otlp is None


def test_our_section_names_a_proxy_for_all_exporters(load: Any) -> None:
    two = {"meter_provider": {"readers": 2 * [{"periodic": {"exporter": {"otlp_http": None}}}]}}
    for said, meant in (("proxy:3128", "http://proxy:3128"), (False, False), ("none", False)):
        settings = load({**two, "distribution": {"otelbridge": {"otlp": {"proxy": said}}}})
        assert [each.proxy for each in settings.otlp] == [meant] * 2


def test_the_exporter_of_spans_joins_the_destination_of_metrics(load: Any) -> None:
    settings = load(
        {
            **periodic({"otlp_http": {"headers_list": "m=1"}}),
            **spans(otlp_http={"endpoint": "http://t/x", "headers_list": "s=1"}),
        }
    )
    assert settings.traces is True
    (only,) = settings.otlp
    assert (only.traces_endpoint, only.traces_headers, only.headers) == ("http://t/x", {"s": "1"}, {"m": "1"})


def test_spans_alone_do_not_switch_metrics_on(load: Any) -> None:
    (only,) = load({**metrics(pull()), **spans(otlp_grpc=None)}).otlp
    assert (only.enabled, only.traces_endpoint, only.protocol) == (False, "http://localhost:4317", "grpc")


def test_resource_attributes_have_their_types(load: Any) -> None:
    attributes = [
        {"name": "s", "value": "x"},
        {"name": "i", "value": 3, "type": "int"},
        {"name": "d", "value": 3, "type": "double"},
        {"name": "b", "value": True, "type": "bool"},
        {"name": "l", "value": ["x", "y"], "type": "string_array"},
        {"name": "n", "value": None},
        {"name": "service.name", "value": "shop"},
    ]
    settings = load({"resource": {"attributes": attributes, "attributes_list": "s=low,k=%2C"}})
    assert settings.resource_attributes == {"s": "x", "i": 3, "d": 3.0, "b": True, "l": ["x", "y"], "k": ","}
    assert settings.service_name == "shop"


def test_detectors(load: Any) -> None:
    found = [{"host": None}, {"service": None}, {"kubernetes": None}, {"process": None}]
    settings = load({"resource": {"detection/development": {"detectors": found}}})
    assert settings.detectors == ("host", "os", "kubernetes", "process")


@pytest.mark.parametrize(
    ("aggregation", "kind"),
    [
        ({"default": None}, "Sum"),
        ({"sum": None}, "Sum"),
        ({"last_value": None}, "Gauge"),
        ({"explicit_bucket_histogram": {"boundaries": [1, 2]}}, "Histogram"),
        ({"base2_exponential_bucket_histogram": {"max_size": 20}}, "ExponentialHistogram"),
        ({"drop": None}, None),
    ],
)
def test_views_work_in_the_sdk(load: Any, aggregation: Any, kind: str | None) -> None:
    settings = load(
        viewed(
            {"instrument_name": "x", "instrument_type": "counter", "unit": "s"},
            name="y",
            description="d",
            attribute_keys={"included": ["keep"]},
            aggregation=aggregation,
        )
    )
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=built(settings), shutdown_on_exit=False)
    provider.get_meter("m").create_counter("x", "s").add(1, {"keep": 1, "lose": 2})
    data = reader.get_metrics_data()
    provider.shutdown()
    found = [metric for each in data.resource_metrics for metric in each.scope_metrics[0].metrics] if data else []
    assert [(metric.name, type(metric.data).__name__) for metric in found] == ([("y", kind)] if kind else [])
    assert all(dict(metric.data.data_points[0].attributes) == {"keep": 1} for metric in found)


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({"excluded": ["b"]}, {"a": 1, "c": 3}),
        ({"included": ["a", "b"], "excluded": ["b"]}, {"a": 1}),
        ({"included": ["a"]}, {"a": 1}),
    ],
)
def test_views_keep_and_leave_out_attributes(load: Any, keys: Any, kept: Any) -> None:
    (view,) = built(load(viewed({"instrument_name": "x"}, attribute_keys=keys, aggregation_cardinality_limit=7)))
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=[view], shutdown_on_exit=False)
    provider.get_meter("m").create_counter("x").add(1, {"a": 1, "b": 2, "c": 3})
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert dict(point.attributes or {}) == kept
    assert view.cardinality_limit == 7


def test_limits_of_readers(load: Any) -> None:
    readers = [
        {"pull": {**pull()["pull"], "cardinality_limits": {"default": 9, "gauge": None}}},
        {"periodic": {"exporter": {"otlp_http": None}, "cardinality_limits": {"observable_up_down_counter": 8}}},
        {"periodic": {"exporter": {"otlp_grpc": None}}},
    ]
    settings = load({"meter_provider": {"readers": readers}})
    assert settings.prometheus.cardinality_limits == {"default": 9}
    assert [each.cardinality_limits for each in settings.otlp] == [{"observable_up_down_counter": 8}, None]
    own = load({"distribution": {"otelbridge": {"prometheus": {"cardinality_limits": {"histogram": 4}}}}})
    assert own.prometheus == PrometheusOptions(cardinality_limits={"histogram": 4})


def test_a_file_read_twice_says_the_same(load: Any) -> None:
    said = viewed({"instrument_name": "x"}, attribute_keys={"excluded": ["a"]}, aggregation={"drop": None})
    one, same = (resolve(Settings(), Settings(), load(said), app=False, known_domains=frozenset()) for _ in range(2))
    assert differences(one, same) == ()
    said["meter_provider"]["views"][0]["stream"]["attribute_keys"] = {"excluded": ["b"]}
    other = resolve(Settings(), Settings(), load(said), app=False, known_domains=frozenset())
    assert differences(one, other) == ("views",)


@pytest.mark.parametrize("kind", ["gauge", "histogram", "observable_gauge", "up_down_counter"])
def test_views_select_by_type_of_instrument(load: Any, kind: str) -> None:
    settings = load(viewed({"instrument_type": kind}, aggregation={"drop": None}))
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=built(settings), shutdown_on_exit=False)
    meter = provider.get_meter("m")
    meter.create_gauge("gauge").set(1)
    meter.create_histogram("histogram").record(1)
    meter.create_up_down_counter("up_down_counter").add(1)
    meter.create_observable_gauge("observable_gauge", [lambda options: []])
    data = reader.get_metrics_data()
    provider.shutdown()
    assert data is not None
    names = {metric.name for metric in data.resource_metrics[0].scope_metrics[0].metrics}
    assert names == {"gauge", "histogram", "up_down_counter"} - {kind}


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ({"meter_providr": {}}, "meter_provider"),
        ({"meter_provider": {}}, "meter_provider"),
        (metrics(pull(prt=1)), "meter_provider.readers[0].pull.exporter.prometheus/development"),
        (metrics(pull(port=70000)), "prometheus/development.port"),
        (metrics(pull(resource_constant_labels={"excluded": ["x"]})), "development.resource_constant_labels does not"),
        (metrics(pull(resource_constant_labels={})), "development.resource_constant_labels does not"),
        (metrics(pull(resource_constant_labels={"included": ["x.*"]})), "has the pattern 'x.*'"),
        (metrics(pull(resource_constant_labels={"included": ["x"], "excluded": ["?"]})), "has the pattern '?'"),
        (metrics(pull(resource_constant_labels={"included": [""]})), "resource_constant_labels.included is ''"),
        (metrics(pull(translation_strategy="none")), "translation_strategy"),
        ({"meter_provider": {"readers": [pull(), pull()]}}, "meter_provider.readers"),
        (metrics({"pull": {"exporter": {"mine": None}}}), "pull.exporter is mine"),
        (
            metrics({"pull": {**pull()["pull"], "cardinality_limits": {"gauge": 0}}}),
            "readers[0].pull.cardinality_limits",
        ),
        (
            metrics({"pull": {**pull()["pull"], "cardinality_limits": {"gauge": 2.0}}}),
            "cardinality_limits.gauge is 2.0",
        ),
        (metrics({"pull": {**pull()["pull"], "cardinality_limits": {"guage": 1}}}), "unknown key guage"),
        (periodic({"console": None}, cardinality_limits={"default": 1}), "periodic.cardinality_limits"),
        (metrics(pull(), **{"meter_configurator/development": {}}), "meter_configurator/development"),
        (periodic({"otlp_http": None}, producers=[{"opencensus": None}]), "periodic.producers"),
        (periodic({"otlp_http": None}, **{"max_export_batch_size/development": 1}), "max_export_batch_size"),
        (periodic({"otlp_http": None}, interval=0), "periodic.interval"),
        (periodic({"otlp_http": {"timeout": 0}}), "otlp_http.timeout"),
        (periodic({"otlp_http": {"encoding": "json"}}), "otlp_http.encoding"),
        (periodic({"otlp_http": {"compression": "zstd"}}), "otlp_http.compression"),
        (periodic({"otlp_http": {"endpoint": "localhost"}}), "otlp_http.endpoint"),
        (periodic({"otlp_file/development": None}), "otlp_file/development"),
        (periodic({"mine": {}}), "periodic.exporter is mine"),
        (periodic({"console": None}, interval=1000), "periodic.interval"),
        (periodic({"console": {"temporality_preference": "delta"}}), "console.temporality_preference"),
        (viewed({}), "meter_provider.views[0].selector"),
        (viewed({"instrument_name": "x*"}, name="y"), "views[0].stream.name"),
        (viewed({"instrument_name": "x"}, attribute_keys={"excluded": ["y?"]}), "attribute_keys.excluded"),
        (viewed({"instrument_name": "x"}, attribute_keys={"included": ["y*"]}), "attribute_keys.included"),
        (viewed({"instrument_name": "x"}, aggregation_cardinality_limit=3.0), "aggregation_cardinality_limit is 3.0"),
        (viewed({"instrument_name": "x"}, aggregation={"explicit_bucket_histogram": {"boundaries": [2, 1]}}), "rise"),
        ({"resource": {"schema_url": "http://x"}}, "resource.schema_url"),
        ({"resource": {"detection/development": {"attributes": {"included": ["x"]}}}}, "detection/development"),
        ({"resource": {"detection/development": {"detectors": [{"hots": None}]}}}, "Did you mean 'host'"),
        ({"resource": {"attributes": [{"name": "n", "value": "x", "type": "int"}]}}, "resource.attributes[0]"),
        ({"resource": {"attributes": [{"name": "n", "value": "x", "type": "int_array"}]}}, "resource.attributes[0]"),
        ({"resource": {"attributes_list": "x"}}, "resource.attributes_list"),
        ({"distribution": {"otelbridge": {"domain": []}}}, "Did you mean 'domains'"),
        ({"distribution": {"otelbridge": {"prometheus": {"pth": "/"}}}}, "Did you mean 'path'"),
        ({"distribution": {"otelbridge": {"prometheus": 3}}}, "distribution.otelbridge.prometheus"),
        ({"distribution": {"otelbridge": {"domains": "agents"}}}, "distribution.otelbridge.domains"),
        ({"distribution": {"otelbridge": {"traces": "yes"}}}, "distribution.otelbridge.traces"),
        ({"distribution": {"otelbridge": {"detectors": ["x"]}}}, "distribution.otelbridge.detectors"),
        ({"distribution": {"otelbridge": {"workers": 4}}}, "distribution.otelbridge.workers 4"),
        ({"distribution": {"otelbridge": {"run_directory": "run"}}}, "distribution.otelbridge.run_directory is 'run'"),
        ({"distribution": {"otelbridge": {"cardinality_limit": 0}}}, "distribution.otelbridge.cardinality_limit is 0"),
        ({"distribution": {"otelbridge": {"series_limit": "9"}}}, "distribution.otelbridge.series_limit is '9'"),
        (
            {"distribution": {"otelbridge": {"prometheus": {"cardinality_limits": {"x": 1}}}}},
            "kind of instrument in distribution.otelbridge.prometheus.cardinality_limits",
        ),
        ({"distribution": {"otelbridge": {"otlp": {"headers": "/x"}}}}, "Did you mean 'headers_file'"),
        ({"distribution": {"otelbridge": {"otlp": "/x"}}}, "distribution.otelbridge.otlp is str"),
        ({"distribution": {"otelbridge": {"otlp": {"headers_file": 3}}}}, "distribution.otelbridge.otlp.headers_file"),
        (
            {
                "meter_provider": {"readers": 2 * [{"periodic": {"exporter": {"otlp_http": None}}}]},
                "distribution": {"otelbridge": {"otlp": {"headers_file": "/x"}}},
            },
            "headers_file is for one OTLP exporter, and the file has 2",
        ),
        ({**periodic({"otlp_http": None}), **spans(otlp_grpc=None)}, "tracer_provider.processors[0].batch"),
        ({"file_format": "2.0"}, "file_format"),
        ("", "empty"),
        ("- x", "mapping"),
        ("a: [", "line 1"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_key_path(load: Any, said: Any, where: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(said)
    assert where in str(raised.value)
    assert raised.value.cure


@pytest.mark.parametrize("name", ["missing.yaml", ".", "otel.toml", "latin.yaml"])
def test_an_unreadable_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "otel.toml").write_text("")
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="configuration file"):
        settings_from_file(tmp_path / name)


@pytest.mark.parametrize(
    "said",
    [
        periodic({"otlp_http": {"headers": [{"name": "a", "value": SECRET, "x": SECRET}]}}),
        periodic({"otlp_http": {"headers": [{"name": "a", "value": [SECRET]}]}}),
        periodic({"otlp_http": {"headers": {"authorization": SECRET}}}),
        periodic({"otlp_http": {"headers": [{"name": "a", "value": f"{SECRET}\n"}]}}),
        periodic({"otlp_http": {"headers": [{"name": f"{SECRET}:", "value": "x"}]}}),
        periodic({"otlp_http": {"headers_list": SECRET}}),
        periodic({"otlp_http": {"endpoint": f"http://u:{SECRET}@host:x"}}),
        {"distribution": {"otelbridge": {"otlp": f"headers_file:{SECRET}"}}},
        {"distribution": {"otelbridge": {"otlp": {"headers_file": f"key={SECRET}"}}}},
        {"distribution": {"otelbridge": {"otlp": {"proxy": f"https://user:{SECRET}@proxy"}}}},
        {"distribution": {"otelbridge": {"otlp": {"proxy": f"user:{SECRET}@proxy:x"}}}},
        {"distribution": {"otelbridge": {"otlp": {"headers_file": {"key": SECRET}}}}},
        f'file_format: "1.0"\nx: {{authorization: {SECRET}',
        f'file_format: "1.0"\nauthorization: *{SECRET}',
        f'file_format: "1.0"\nauthorization: !{SECRET} x',
        f'file_format: "1.0"\nauthorization: "{SECRET}',
    ],
)
def test_secrets_of_the_file_are_in_no_error_and_no_log(load: Any, said: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError) as raised:
        load(said)
    shown = "".join(traceback.format_exception(raised.value))
    assert SECRET not in str(raised.value)
    assert SECRET not in shown
    assert raised.value.__context__ is None
    assert SECRET not in caplog.text


def test_sections_of_others_are_left_alone_with_one_line(load: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="otelbridge"):
        settings = load(
            {
                "propagator": {"composite_list": "tracecontext"},
                "instrumentation/development": {"general": {}},
                "distribution": {"another": {"x": 1}},
            }
        )
    assert settings == Settings()
    assert len(caplog.records) == 1
    assert "propagator, instrumentation/development" in caplog.text


def test_what_is_not_read_of_the_spans_is_said(load: Any, caplog: pytest.LogCaptureFixture) -> None:
    said = spans(otlp_http=None)
    said["tracer_provider"]["sampler"] = {"always_on": None}
    with caplog.at_level(logging.INFO, logger="otelbridge"):
        assert load(said).traces is True
    assert "sampler" in caplog.text
    said = load(spans(**{"otlp_file/development": None}))
    assert (said.traces, said.span_exporters) == (None, None)


def test_spans_go_to_the_console_and_to_otlp_as_the_file_says(load: Any) -> None:
    printed = load(spans(console=None))
    assert (printed.traces, printed.span_exporters) == (True, ("console",))
    both = spans(otlp_http=None)["tracer_provider"]["processors"] + spans(console=None)["tracer_provider"]["processors"]
    assert load({"tracer_provider": {"processors": both}}).span_exporters == ("otlp", "console")
