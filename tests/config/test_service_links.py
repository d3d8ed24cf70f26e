"""What Kubernetes puts into the environment of a pod, beside what somebody has set there."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.config.environment import settings_from_environment
from otelbridge.config.options import Settings
from otelbridge.config.variables import VARIABLES
from otelbridge.errors import ConfigError

SET = {
    "OTEL_SERVICE_NAME": "shop",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    "OTELBRIDGE_PROMETHEUS": "server",
    "OTELBRIDGE_PROMETHEUS_PATH": "/m",
}


def links(service: str, ports: dict[str, tuple[int, str]], host: str = "10.0.0.1") -> dict[str, str]:
    """The variables of a Service; kubernetes/kubernetes, pkg/kubelet/envvars.

    Args:
        service: Its name.
        ports: Number and protocol by name, which is empty for a port that has none.
        host: Its cluster IP.
    """
    name = service.upper().replace("-", "_")
    first, _ = next(iter(ports.values()))
    found = {f"{name}_SERVICE_HOST": host, f"{name}_SERVICE_PORT": str(first)}
    shown = f"[{host}]" if ":" in host else host
    for index, (port_name, (port, protocol)) in enumerate(ports.items()):
        if port_name:
            found[f"{name}_SERVICE_PORT_{port_name.upper().replace('-', '_')}"] = str(port)
        url = f"{protocol.lower()}://{shown}:{port}"
        if index == 0:
            found[f"{name}_PORT"] = url
        prefix = f"{name}_PORT_{port}_{protocol}"
        found |= {
            prefix: url,
            f"{prefix}_PROTO": protocol.lower(),
            f"{prefix}_PORT": str(port),
            f"{prefix}_ADDR": host,
        }
    return found


_LABELS = st.from_regex(re.compile(r"[a-z0-9]([a-z0-9-]{0,12}[a-z0-9])?", re.ASCII), fullmatch=True)
_KNOWN = st.sampled_from([each.name.lower().replace("_", "-") for each in VARIABLES])
_PREFIXES = st.sampled_from(
    ["otelbridge", "otel-exporter", "otel", "otelbridge-prometheus", "otel-exporter-prometheus"]
)
_SUFFIXES = st.sampled_from(
    ["", "-service", "-service-port", "-port", "-port-9464-tcp", "-service-host", "-port-1-udp"]
)
_SERVICES = st.one_of(
    _LABELS,
    st.builds("{}{}".format, _PREFIXES, _SUFFIXES),
    st.builds("{}-{}".format, _PREFIXES, _LABELS),
    st.builds("{}{}".format, _KNOWN, _SUFFIXES),
).map(lambda name: name[:63].rstrip("-"))
_PORTS = st.dictionaries(
    st.one_of(st.just(""), _LABELS),
    st.tuples(st.integers(1, 65535), st.sampled_from(["TCP", "UDP", "SCTP"])),
    min_size=1,
)


@given(st.dictionaries(_SERVICES, st.tuples(_PORTS, st.sampled_from(["10.0.0.1", "fd00::1"])), max_size=4))
def test_a_service_of_any_name_changes_no_setting(services) -> None:
    made: dict[str, str] = {}
    for service, (ports, host) in services.items():
        made |= links(service, ports, host)
    assert settings_from_environment(made) == Settings()
    assert settings_from_environment({**made, **SET}) == settings_from_environment(SET)


@pytest.mark.parametrize("service", ["otelbridge", "otelbridge-metrics", "otelbridge-prometheus", "otelbridge-service"])
def test_a_service_called_after_us(service: str) -> None:
    made = links(service, {"metrics": (9464, "TCP"), "health": (8080, "TCP")})
    assert settings_from_environment(made) == Settings()


def test_a_port_that_somebody_has_set_beside_a_service_of_that_name_counts() -> None:
    made = links("otel-exporter-prometheus", {"": (80, "TCP")})
    assert made["OTEL_EXPORTER_PROMETHEUS_PORT"] == "tcp://10.0.0.1:80"
    assert settings_from_environment(made) == Settings()
    settings = settings_from_environment({**made, "OTEL_EXPORTER_PROMETHEUS_PORT": "9100"})
    assert settings.prometheus is not None
    assert settings.prometheus.port == 9100


def test_no_setting_but_that_port_has_a_name_that_kubernetes_can_make() -> None:
    made = re.compile(r".+_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
    assert [each.name for each in VARIABLES if made.fullmatch(each.name)] == ["OTEL_EXPORTER_PROMETHEUS_PORT"]


@pytest.mark.parametrize(
    "name", ["OTELBRIDGE_METRICS_PORT", "OTELBRIDGE_SERVICE_PORT", "OTELBRIDGE_X_SERVICE_PORT_HTTP", "OTELBRIDGE_PORTS"]
)
def test_a_variable_that_only_looks_somewhat_like_it_is_unknown(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        settings_from_environment({name: "9464"})


def test_nobody_hears_of_it_but_who_debugs(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="otelbridge"):
        settings_from_environment(links("otelbridge-metrics", {"": (9464, "TCP")}))
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "OTELBRIDGE_METRICS_SERVICE_HOST" in record.getMessage()
