"""Where the interpreter promises nothing, a lock takes over: totals stay exact, and nothing waits for itself.

This interpreter has a global lock, so the package is told otherwise while it is imported.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import gc, json, sys, threading

before = getattr(sys, "_is_gil_enabled", None)
sys._is_gil_enabled = lambda: False
from otelbridge.metrics.series import LOCK_FREE
if before is None:
    del sys._is_gil_enabled
else:
    sys._is_gil_enabled = before
assert not LOCK_FREE

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from otelbridge.metrics import MeterProvider
from tests.interrupting import interrupting

THREADS, TIMES = 4, 10_000
views = [View(instrument_name="exponential", aggregation=ExponentialBucketHistogramAggregation())]
reader = InMemoryMetricReader()
provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
meter = provider.get_meter("lib")
instruments = {
    "counter": meter.create_counter("counter").add,
    "up_down_counter": meter.create_up_down_counter("up_down_counter").add,
    "histogram": meter.create_histogram("histogram").record,
    "exponential": meter.create_histogram("exponential").record,
}
bound = meter.create_counter("bound").bind({"k": "v"}).add
interrupted = collected = 0

def write_all():
    for write in instruments.values():
        write(1, {"k": "v"})
    bound(1)

def interrupt():
    global interrupted
    interrupted += 1
    write_all()

class Finalized:
    def __del__(self):
        global collected
        collected += 1
        write_all()

def make_garbage():
    one = Finalized()
    one.itself = one

def work():
    for number in range(TIMES):
        write_all()

sys.setswitchinterval(1e-6)
threads = [threading.Thread(target=work) for _ in range(THREADS)]
with interrupting(interrupt, 0.001):
    for thread in threads:
        thread.start()
    for number in range(TIMES):
        write_all()
        if number % 100 == 0:
            make_garbage()
            gc.collect()
            reader.get_metrics_data()
    for thread in threads:
        thread.join()
gc.collect()

found = {}
for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
    (point,) = metric.data.data_points
    found[metric.name] = point.value if hasattr(point, "value") else point.count
    if hasattr(point, "bucket_counts"):
        assert sum(point.bucket_counts) == point.count == point.sum
wanted = (THREADS + 1) * TIMES + interrupted + collected
assert interrupted and collected == TIMES // 100, (interrupted, collected)
print(json.dumps({name: value - wanted for name, value in found.items()}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no interval timer")
def test_totals_are_exact_and_nothing_waits_for_itself() -> None:
    ran = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == ('{"counter": 0, "up_down_counter": 0, "histogram": 0, "exponential": 0, "bound": 0}')
