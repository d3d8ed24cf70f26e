"""When the metrics of prometheus_client are shown, and where that is said."""

from __future__ import annotations

import os
import subprocess
import sys

import prometheus_client as client
import pytest

import otelbridge
from otelbridge.config.environment import settings_from_environment
from otelbridge.config.file import settings_from_file

pytestmark = pytest.mark.endtoend

PROGRAM = """
import sys
import otelbridge
bridge = otelbridge.init(prometheus=otelbridge.PrometheusOptions(mode="server", port=0), instrument=[], {arguments})
before = sys.modules.get("prometheus_client")
{code}
page = bridge.render()
print(before is None, "python_info" in page, "mine_total" in page, "otel_total" in page)
otelbridge.shutdown()
"""
IMPORT = "import prometheus_client"
USE = "import prometheus_client; prometheus_client.Counter('mine', '').inc()"
UPSTREAM = """
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
theirs = MeterProvider([PrometheusMetricReader()])
theirs.get_meter("x").create_counter("otel").add(1)
"""


def shown(code: str, arguments: str = "", **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(code=code, arguments=arguments)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("code", "arguments", "environ", "expected"),
    [
        ("", "", {}, "True False False False"),
        (IMPORT, "", {}, "True False False False"),
        (USE, "", {}, "True True True False"),
        (UPSTREAM, "", {}, "True False False False"),
        (UPSTREAM + USE, "", {}, "True True True False"),
        (IMPORT, "prometheus_client=True", {}, "False True False False"),
        (USE, "prometheus_client=False", {}, "True False False False"),
        (USE, "", {"OTELBRIDGE_PROMETHEUS_CLIENT": "false"}, "True False False False"),
        (USE, "prometheus_client=True", {"OTELBRIDGE_PROMETHEUS_CLIENT": "false"}, "False True True False"),
    ],
    ids=["absent", "imported", "used", "upstream", "both", "asked", "off", "off by variable", "argument wins"],
)
def test_the_default_registry_is_shown_once_it_is_used(code, arguments, environ, expected) -> None:
    assert shown(code, arguments, **environ) == expected


def test_what_is_no_registry_is_refused() -> None:
    with pytest.raises(otelbridge.ConfigError, match="prometheus_client is str, which is no registry"):
        otelbridge.init(prometheus_client="yes")


def test_another_registry_is_another_setting() -> None:
    registry = client.CollectorRegistry()
    settings = {"prometheus": False, "instrument": []}
    bridge = otelbridge.init(prometheus_client=registry, **settings)
    try:
        assert otelbridge.init(prometheus_client=registry, **settings) is bridge
        with pytest.raises(otelbridge.ConfigError, match="prometheus_client"):
            otelbridge.init(prometheus_client=client.CollectorRegistry(), **settings)
    finally:
        otelbridge.shutdown()


def test_variable_and_file_say_it(tmp_path) -> None:
    assert settings_from_environment({"OTELBRIDGE_PROMETHEUS_CLIENT": "true"}).prometheus_client is True
    assert settings_from_environment({}).prometheus_client is None
    path = tmp_path / "otel.yaml"
    path.write_text('file_format: "1.0"\ndistribution:\n  otelbridge:\n    prometheus_client: false\n')
    assert settings_from_file(path).prometheus_client is False


def test_start_and_stop_leave_no_thread() -> None:
    registry = client.CollectorRegistry()
    client.Counter("mine", "", registry=registry).inc()
    for _ in range(3):
        options = otelbridge.PrometheusOptions(mode="server", port=0)
        bridge = otelbridge.init(prometheus=options, instrument=[], prometheus_client=registry)
        assert "mine_total 1.0" in bridge.render()
        queue = bridge._pipeline.provider._consumer._sources[0]._runner
        thread = queue.thread
        otelbridge.shutdown()
        thread.join(60)
        assert not thread.is_alive()
