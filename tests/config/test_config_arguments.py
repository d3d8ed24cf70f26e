from __future__ import annotations

from typing import Any

import pytest

from otelbridge.config.arguments import settings_from_arguments
from otelbridge.config.options import OtlpOptions, PrometheusOptions, Settings
from otelbridge.errors import ConfigError

SECRET = "s3cr3t-canary"


def test_no_arguments_say_nothing() -> None:
    assert settings_from_arguments() == Settings()


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"service_name": ""}, "service_name"),
        ({"service_version": 1}, "service_version"),
        ({"resource_attributes": ["x"]}, "resource_attributes"),
        ({"resource_attributes": {"x": object()}}, "resource_attributes['x']"),
        ({"resource_attributes": {"x": ["a", 1]}}, "resource_attributes['x']"),
        ({"resource_attributes": {1: "a"}}, "resource_attributes"),
        ({"resource_attributes": {"service.name": 3}}, "service.name"),
        ({"prometheus": "on"}, "prometheus"),
        ({"prometheus": PrometheusOptions(port=70000)}, "prometheus.port"),
        ({"prometheus": PrometheusOptions(port=True)}, "prometheus.port"),
        ({"prometheus": PrometheusOptions(path="metrics")}, "prometheus.path"),
        ({"prometheus": PrometheusOptions(target_info=1)}, "prometheus.target_info"),  # type: ignore[arg-type]
        ({"otlp": "localhost"}, "otlp"),
        ({"otlp": OtlpOptions(endpoint="unix:run/otlp.sock")}, "otlp.endpoint"),
        ({"otlp": OtlpOptions(proxy=True)}, "otlp.proxy is bool"),  # type: ignore[arg-type]
        ({"otlp": OtlpOptions(proxy="socks5://proxy:1080")}, "otlp.proxy is 'socks5://proxy:1080'"),
        ({"otlp": OtlpOptions(proxy="https://user:s3cret@proxy")}, "otlp.proxy is 'https://proxy'"),
        ({"otlp": 3}, "otlp"),
        ({"otlp": ["http://a"]}, "otlp"),
        ({"otlp": OtlpOptions(timeout=0)}, "otlp.timeout"),
        ({"otlp": OtlpOptions(timeout=float("nan"))}, "otlp.timeout"),
        ({"otlp": OtlpOptions(interval=-1)}, "otlp.interval"),
        ({"otlp": [OtlpOptions(), OtlpOptions(protocol="http/json")]}, "otlp[1].protocol"),  # type: ignore[arg-type]
        ({"otlp": OtlpOptions(temporality="Delta")}, "otlp.temporality"),  # type: ignore[arg-type]
        ({"otlp": OtlpOptions(headers_file=" ")}, "otlp.headers_file"),
        ({"otlp": OtlpOptions(headers_file="key=value/x")}, "otlp.headers_file looks like headers"),
        ({"otlp": OtlpOptions(headers=3)}, "otlp.headers"),  # type: ignore[arg-type]
        ({"domains": "agents"}, "domains"),
        ({"domains": [1]}, "domains"),
        ({"views": ["x"]}, "views"),
        ({"views": 3}, "views"),
        ({"instrument": "fastapi"}, "instrument"),
        ({"traces": "yes"}, "traces"),
        ({"workers": "merge"}, "workers 'merge'"),
        ({"workers": 4}, "workers 4"),
        ({"cardinality_limit": 0}, "cardinality_limit is 0"),
        ({"cardinality_limit": True}, "cardinality_limit is True"),
        ({"cardinality_limit": 10.0}, "cardinality_limit is 10.0"),
        ({"prometheus": PrometheusOptions(cardinality_limits=5)}, "prometheus.cardinality_limits is 5"),  # type: ignore[arg-type]
        ({"prometheus": PrometheusOptions(cardinality_limits={"gauges": 5})}, "Did you mean 'gauge'"),
        ({"otlp": OtlpOptions(cardinality_limits={"gauge": -1})}, "otlp.cardinality_limits.gauge is -1"),
        ({"otlp": [OtlpOptions(cardinality_limits={"default": "1"})]}, "otlp[0].cardinality_limits.default is '1'"),  # type: ignore[dict-item]
    ],
)
def test_a_wrong_value_is_named_with_its_argument(arguments: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings_from_arguments(**arguments)
    assert where in str(raised.value)
    assert raised.value.cure


@pytest.mark.parametrize(
    "headers",
    [
        {"a b": SECRET},
        {"a": f"{SECRET}\n"},
        {"a": f" {SECRET}"},
        {"a": f"{SECRET}\u20ac"},
        {SECRET + " ": "x"},
        [SECRET],
    ],
)
def test_headers_are_never_shown(headers: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        settings_from_arguments(otlp=OtlpOptions(headers=headers))
    assert "otlp.headers" in str(raised.value)
    assert SECRET not in str(raised.value)


def test_short_forms() -> None:
    said = settings_from_arguments(prometheus=False, otlp="http://a:1", instrument=True, domains={"agents"})
    assert said.prometheus == PrometheusOptions(mode="off")
    assert said.otlp == (OtlpOptions(endpoint="http://a:1"),)
    assert said.instrument == ("auto",)
    assert said.domains == ("agents",)
    assert settings_from_arguments(otlp=False, instrument="auto").otlp == ()
