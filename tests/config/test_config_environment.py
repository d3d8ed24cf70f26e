from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.config import pairs
from otelbridge.config.environment import settings_from_environment
from otelbridge.config.options import Settings
from otelbridge.config.variables import OTHERS, VARIABLES
from otelbridge.errors import ConfigError

SECRET = "s3cr3t-canary"


def test_an_empty_environment_says_nothing() -> None:
    assert settings_from_environment({}) == Settings()
    assert settings_from_environment({each.name: " " for each in VARIABLES}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%ff"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=a"),
        ("OTEL_METRICS_EXPORTER", "promehteus"),
        ("OTEL_METRICS_EXPORTER", "none,otlp"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "65536"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "-1"),
        ("OTEL_EXPORTER_PROMETHEUS_PORT", "http"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "thrift"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:65536"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:otlp.sock"),
        ("OTELBRIDGE_OTLP_PROXY", "http://proxy:port"),
        ("OTELBRIDGE_OTLP_PROXY", "socks5h://proxy"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:port"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-5"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "yes"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "low_memory"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "exponential"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "always"),
        ("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS", "proces"),
        ("OTELBRIDGE_DETECTORS", "kubernetis"),
        ("OTELBRIDGE_PROMETHEUS", "on"),
        ("OTELBRIDGE_PROMETHEUS_PATH", "metrics"),
        ("OTELBRIDGE_TRACES", "yes"),
        ("OTELBRIDGE_WORKERS", "4"),
        ("OTELBRIDGE_RUN_DIRECTORY", "run/shop"),
        ("OTELBRIDGE_RUN_DIRECTORY", "~/run"),
        ("OTELBRIDGE_RUN_DIRECTORY", "/run/\x00"),
        ("OTELBRIDGE_CARDINALITY_LIMIT", "0"),
        ("OTELBRIDGE_CARDINALITY_LIMIT", "2k"),
        ("OTELBRIDGE_SERIES_LIMIT", "-1"),
        ("OTELBRIDGE_SERIES_LIMIT", "1e4"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings_from_environment({name: value})
    assert name in str(raised.value)
    assert repr(value.split(",", maxsplit=1)[0])[1:-1] in str(raised.value)
    assert raised.value.cure


def test_an_unknown_variable_of_ours_is_an_error_with_the_closest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'OTELBRIDGE_PROMETHEUS_PATH'"):
        settings_from_environment({"OTELBRIDGE_PROMETHEUS_PATHS": "/x"})


def test_an_unknown_variable_is_answered_with_the_three_nearest_names() -> None:
    with pytest.raises(ConfigError) as raised:
        settings_from_environment({"OTELBRIDGE_PROMETHEUS_TSL_KEY": "/x"})
    named = raised.value.cure.partition("The nearest known: ")[2].split(", ")
    assert named[0] == "OTELBRIDGE_PROMETHEUS_TLS_KEY"
    assert len(named) == 3
    assert {*named} < {each.name for each in VARIABLES} | OTHERS


def test_the_group_is_known_and_left_to_the_processes() -> None:
    assert settings_from_environment({"OTELBRIDGE_GROUP": "shop"}) == Settings()


def test_variables_of_the_stack_and_tests_are_known() -> None:
    assert settings_from_environment(dict.fromkeys(OTHERS, "x")) == Settings()


@pytest.mark.parametrize(
    "text", [SECRET, f"a b={SECRET}", f"key={SECRET}%", f"key={SECRET}%0A", f"={SECRET}", f"{SECRET}(=x"]
)
@pytest.mark.parametrize("signal", ["", "METRICS_", "TRACES_"])
def test_a_broken_header_is_never_shown(signal: str, text: str) -> None:
    name = f"OTEL_EXPORTER_OTLP_{signal}HEADERS"
    with pytest.raises(ConfigError) as raised:
        settings_from_environment({name: f"ok=1,{text}"})
    assert name in str(raised.value)
    assert SECRET not in str(raised.value)
    assert SECRET not in repr(raised.value.__cause__)


@pytest.mark.parametrize("text", [f"authorization=Bearer {SECRET}", f"a=1\nb={SECRET}", f"x={SECRET}/{SECRET}"])
def test_headers_in_the_place_of_their_file_are_never_shown(text: str) -> None:
    with pytest.raises(ConfigError, match="OTELBRIDGE_OTLP_HEADERS_FILE") as raised:
        settings_from_environment({"OTELBRIDGE_OTLP_HEADERS_FILE": text})
    assert SECRET not in str(raised.value)
    assert settings_from_environment({"OTELBRIDGE_OTLP_HEADERS_FILE": "./a=b"}).otlp[0].headers_file == "./a=b"


def test_headers_are_in_no_repr() -> None:
    settings = settings_from_environment({"OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer {SECRET}"})
    assert settings.otlp is not None
    assert settings.otlp[0].headers == {"authorization": f"Bearer {SECRET}"}
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        f"ftp://user:{SECRET}@host",
        f"http://host:x/?token={SECRET}",
        f"user:{SECRET}@host:4318",
        f"http://user:{SECRET}?x@host:y",
        f"http://user:1{SECRET}/x@host",
        f"host#{SECRET}",
    ],
)
def test_urls_are_shown_without_user_and_query(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings_from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    assert SECRET not in str(raised.value)


def test_headers_for_metrics_are_not_for_spans() -> None:
    alone = settings_from_environment({"OTEL_EXPORTER_OTLP_METRICS_HEADERS": "a=1"})
    both = settings_from_environment({"OTEL_EXPORTER_OTLP_METRICS_HEADERS": "a=1", "OTEL_EXPORTER_OTLP_HEADERS": "b=2"})
    assert alone.otlp is not None
    assert both.otlp is not None
    assert (alone.otlp[0].headers, alone.otlp[0].traces_headers) == ({"a": "1"}, {})
    assert (both.otlp[0].headers, both.otlp[0].traces_headers) == ({"a": "1"}, {"b": "2"})


def test_the_timeout_counts_milliseconds_and_seconds_are_suspected(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        settings = settings_from_environment({"OTEL_EXPORTER_OTLP_TIMEOUT": "10"})
    assert settings.otlp is not None
    assert settings.otlp[0].timeout == 0.01
    assert "milliseconds" in caplog.text


def test_standard_variables_that_are_not_read_say_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        settings_from_environment({"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "10000"})
    assert "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT" in caplog.text


def test_the_own_variable_wins_over_the_standard_one() -> None:
    settings = settings_from_environment(
        {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTELBRIDGE_TRACES": "false",
            "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "host",
            "OTELBRIDGE_DETECTORS": "*",
            "OTEL_METRICS_EXPORTER": "otlp",
            "OTELBRIDGE_PROMETHEUS": "server",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=low,deployment.environment.name=low,team=x",
            "OTEL_SERVICE_NAME": "high",
            "OTELBRIDGE_ENVIRONMENT": "high",
        }
    )
    assert settings.traces is False
    assert settings.detectors == ("process", "host", "os", "container", "kubernetes")
    assert settings.prometheus is not None
    assert settings.prometheus.mode == "server"
    assert (settings.service_name, settings.environment) == ("high", "high")
    assert settings.resource_attributes == {"team": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("otel,process", ("process",)), ("*", ("process", "host", "os", "container", "kubernetes")), ("otel", ())],
)
def test_detectors_of_the_sdk(text: str, expected: tuple[str, ...]) -> None:
    assert settings_from_environment({"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": text}).detectors == expected


@given(st.text(alphabet="ab=,% \t\n\x00Aé", max_size=12))
def test_any_text_gives_headers_or_a_config_error(text: str) -> None:
    try:
        found = pairs.headers("X", text)
    except ConfigError as error:
        assert "X" in str(error)  # noqa: PT017  # either outcome is right
    else:
        assert all("\n" not in value and name == name.lower() for name, value in found.items())


@given(st.dictionaries(st.text("abc.", min_size=1), st.text(max_size=8)))
def test_percent_encoded_attributes_come_back(said: dict[str, str]) -> None:
    from urllib.parse import quote

    text = ",".join(f"{key}={quote(value, safe='')}" for key, value in said.items())
    assert pairs.attributes("X", text) == said


def test_a_name_of_ours_for_a_variable_of_the_standard_is_answered_with_that() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'OTEL_SERVICE_NAME'\?"):
        settings_from_environment({"OTELBRIDGE_SERVICE_NAME": "shop"})
