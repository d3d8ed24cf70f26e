"""What it costs to have metrics at all: import and set-up, in a fresh interpreter."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING

from benchmarks.model import OURS, Effort, Figure

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.model import Sampler

BY_HAND = "OpenTelemetry SDK and exporters, by hand"

_ENDPOINT = "http://127.0.0.1:9"

# os._exit, so that nothing is pushed at the end.
_OURS = f"""
import os, otelbridge
prometheus = otelbridge.PrometheusOptions(port=0)
otelbridge.init(service_name="benchmark", prometheus=prometheus, otlp={_ENDPOINT!r}, instrument={{}})
os._exit(0)
"""
_HAND = f"""
import os
from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_client import start_http_server
start_http_server(0, "127.0.0.1")
push = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint="{_ENDPOINT}/v1/metrics"))
provider = MeterProvider([PrometheusMetricReader(), push], Resource.create({{"service.name": "benchmark"}}))
metrics.set_meter_provider(provider)
os._exit(0)
"""


def _cpu(program: str, compiled: str) -> float:
    """Run a program, with the compiled modules of a folder; gives the CPU milliseconds of its process."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", program], environment)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise RuntimeError(f"the program ended with status {status}")
    return (usage.ru_utime + usage.ru_stime) * 1e3


def _program(program: str) -> Callable[[Effort], Sampler]:
    def prepare(effort: Effort) -> Sampler:
        del effort
        # Installed packages come compiled, a working copy may not be, or where nobody may write: that is no cost of
        # theirs. So everything is compiled once, by the first run.
        compiled = tempfile.mkdtemp()
        _cpu(program, compiled)
        # Less what an interpreter costs that does nothing.
        return lambda: _cpu(program, compiled) - _cpu("import os; os._exit(0)", compiled)

    return prepare


FIGURES = (
    Figure(
        "imports.init",
        "Import and set-up of scraping and OTLP in a fresh interpreter, beyond starting it",
        "ms",
        {
            OURS: _program(_OURS.format(False)),
            f"{OURS}, with all it finds to instrument": _program(_OURS.format("'auto'")),
            BY_HAND: _program(_HAND),
        },
        heavy=True,
    ),
    Figure(
        "imports.library",
        "Import of what a library needs that only records",
        "ms",
        {
            OURS: _program("import os, otelbridge; otelbridge.agents; os._exit(0)"),
            "OpenTelemetry API": _program("import os, opentelemetry.metrics; os._exit(0)"),
            "prometheus_client": _program("import os, prometheus_client; os._exit(0)"),
        },
    ),
)
