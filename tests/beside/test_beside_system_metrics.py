"""Beside opentelemetry-instrumentation-system-metrics, which measures what ours measures."""

from __future__ import annotations

import pytest

from tests.beside.programs import outcome

pytestmark = pytest.mark.endtoend

_PROGRAM = """
import otelbridge, psutil
from opentelemetry import metrics
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

def ours():
    global bridge
    port = otelbridge.PrometheusOptions(mode="server", port=0)
    bridge = otelbridge.init(prometheus=port, instrument=[] if "alone" in sys.argv else "auto")

steps = {"theirs": lambda: SystemMetricsInstrumentor().instrument(), "ours": ours}
for step in sys.argv[1:3]:
    steps[step]()
for _ in range(2):
    page = bridge.render()
names = ("process_memory_usage_bytes", "system_memory_limit_bytes", "process_memory_virtual_bytes")
families = [line.split()[2] for line in page.splitlines() if line.startswith("# TYPE")]
tell([counts(page, *names), psutil.Process().memory_info().rss, len(families) == len(set(families))])
"""


@pytest.mark.parametrize("order", [("theirs", "ours"), ("ours", "theirs")])
@pytest.mark.parametrize("workers", ["merged", "separate"])
def test_what_both_measure_is_shown_once(order, workers) -> None:
    found = outcome(_PROGRAM, *order, OTELBRIDGE_WORKERS=workers)
    shown, memory, once = found.told
    assert once
    assert shown["process_memory_usage_bytes"] < 1.5 * memory
    assert shown["system_memory_limit_bytes"] > 0
    assert shown["process_memory_virtual_bytes"] > 0  # which they alone measure
    (line,) = (line for line in found.lines_of("otelbridge") if "both observe" in line)
    assert "The scopes opentelemetry.instrumentation.system_metrics and otelbridge.system both observe" in line
    assert "the values of opentelemetry.instrumentation.system_metrics are left out" in line


def test_theirs_stay_where_ours_are_off() -> None:
    found = outcome(_PROGRAM, "ours", "theirs", "alone")
    shown, memory, _ = found.told
    assert shown["process_memory_usage_bytes"] == pytest.approx(memory, rel=0.5)
    assert "system_memory_limit_bytes" not in shown
    assert "both observe" not in found.log


_TWO = """
import otelbridge
from opentelemetry import metrics
from opentelemetry.metrics import Observation
bridge = otelbridge.init(prometheus=otelbridge.PrometheusOptions(mode="server", port=0), instrument=[])
for scope, value in (("one", 3), ("two", 5)):
    for name in ("process.thread.count", "pool.size"):
        metrics.get_meter(scope).create_observable_up_down_counter(name, [lambda _, v=value: [Observation(v)]])
tell(counts(bridge.render(), "process_thread_count", "pool_size"))
"""


def test_of_two_others_the_first_is_shown_and_what_may_be_several_things_is_added() -> None:
    assert outcome(_TWO).told == {"process_thread_count": 3, "pool_size": 8}
