"""What series cost that are held: the growth of the resident set of a fresh process."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import ours
from benchmarks.model import OURS, Effort, Figure, UnmeasuredError
from benchmarks.peers import PROMETHEUS, SDK_ONE, SDK_TWO, create_sdk, readers
from benchmarks.series import fill, otel_touch, prometheus_touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider

    from benchmarks.model import Sampler

    Prepare = Callable[[Effort], Sampler]

_STATM = Path("/proc/self/statm")


def _resident() -> float:
    """Give the megabytes this process holds, mapped files included."""
    if not _STATM.exists():
        raise UnmeasuredError(f"this system has no {_STATM}")
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _growth(touch: Callable[[int], None], count: int) -> float:
    gc.collect()
    before = _resident()
    for index in range(1, count):
        touch(index)
    gc.collect()
    return _resident() - before


def _otel(create: Callable[[Any], MeterProvider], kind: str, count: int) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        touch = otel_touch(create(readers(count)).get_meter("bench"), kind, effort.series)
        fill(touch, 1)  # what the first recording imports and makes is no matter of series
        return lambda: _growth(touch, effort.series)

    return prepare


def _prometheus(kind: str) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        from prometheus_client import CollectorRegistry

        touch = prometheus_touch(CollectorRegistry(), kind, effort.series)
        fill(touch, 1)
        return lambda: _growth(touch, effort.series)

    return prepare


FIGURES = tuple(
    Figure(
        f"memory.{kind}s",
        f"Resident memory for 10 000 {kind} series",
        "MB",
        {
            OURS: _otel(ours.create_provider, kind, 2),
            PROMETHEUS: _prometheus(kind),
            SDK_ONE: _otel(create_sdk, kind, 1),
            SDK_TWO: _otel(create_sdk, kind, 2),
        },
        heavy=True,
        fresh=True,
    )
    for kind in ("counter", "histogram")
)
