"""What one push over OTLP costs: collect, encode and send to a receiver on this machine.

Sending is part of it because a push without it is nobody's. It costs everybody the same, so it narrows the
difference rather than widening it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import metrics

from benchmarks import ours
from benchmarks.measure import process_cpu_sampler
from benchmarks.model import OURS, Effort, Figure
from benchmarks.peers import NEVER_MILLIS, create_sdk
from benchmarks.receiver import start_receiver
from benchmarks.series import fill, otel_touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.model import Sampler

    Prepare = Callable[[Effort], Sampler]


def _ours(kind: str) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        bridge = ours.start(endpoint=start_receiver(), scrape=False)
        tenth = fill(otel_touch(metrics.get_meter("bench"), kind, effort.series), effort.series)
        return _pushing(bridge.force_flush, tenth)

    return prepare


def _sdk(kind: str) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        exporter = OTLPMetricExporter(endpoint=f"{start_receiver()}/v1/metrics")
        provider = create_sdk([PeriodicExportingMetricReader(exporter, export_interval_millis=NEVER_MILLIS)])
        tenth = fill(otel_touch(provider.get_meter("bench"), kind, effort.series), effort.series)
        return _pushing(provider.force_flush, tenth)

    return prepare


def _pushing(flush: Callable[[], bool], before: Callable[[], None]) -> Sampler:
    def push() -> None:
        if not flush():
            raise RuntimeError("the push did not arrive")

    sample = process_cpu_sampler(push, before)
    sample()  # the first one opens the connection
    return sample


FIGURES = tuple(
    Figure(
        f"otlp.{kind}s",
        f"One push of 10 000 {kind} points (CPU time of the whole process)",
        "ms",
        {OURS: _ours(kind), "OpenTelemetry SDK": _sdk(kind)},
    )
    for kind in ("counter", "histogram")
)
