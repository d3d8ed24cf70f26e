"""An interpreter ends, whatever finalizers and daemon threads do at its end."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_TIMES = 20 if os.environ.get("OTELBRIDGE_SOAK") == "1" else 3

_PROGRAM = """
import itertools, logging, sys, threading
from opentelemetry import metrics
{start}

logging.getLogger("otelbridge").setLevel(logging.CRITICAL)
shared = metrics.get_meter("app").create_counter("shared")
numbers = itertools.count()
began = threading.Barrier(5)

class Leaving:
    def __del__(self):
        number = next(numbers)
        shared.add(1, {{"number": str(number % 3000)}})
        metrics.get_meter("app").create_counter(f"made_{{number % 3000}}").add(1)
        metrics.get_meter(f"meter {{number % 50}}").create_histogram("sizes").record(1)

def work():
    leaving = Leaving()
    began.wait()
    for number in itertools.count():
        leaving = Leaving()
        shared.add(1, {{"new": str(number % 4000)}})
        metrics.get_meter("app").create_counter(f"new_{{number % 4000}}").add(1)
        metrics.get_meter(f"meter {{number % 500}}").create_up_down_counter("way").add(1)

sys.setswitchinterval(1e-5)
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
rings = [Leaving() for _ in range(20)]
for ring in rings:
    ring.itself = ring
sys.leaving = sys.modules["the last one"] = Leaving()
began.wait()
"""
_BRIDGE = """
import otelbridge
otelbridge.init(service_name="end", prometheus={}, otlp=False, instrument=False)
"""
_SERVER = 'otelbridge.PrometheusOptions(mode="server", port=0)'
_PROVIDER = """
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otelbridge.metrics.provider import MeterProvider
metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
"""


@pytest.mark.parametrize("start", [_BRIDGE.format(_SERVER), _BRIDGE.format("False"), _PROVIDER], ids=range(3))
def test_it_ends_while_finalizers_and_daemon_threads_make_instruments(tmp_path: Path, start: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OTELBRIDGE_GROUP"}
    for _ in range(_TIMES):
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM.format(start=start)],
            env=environment | {"OTELBRIDGE_RUN_DIRECTORY": str(tmp_path)},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
