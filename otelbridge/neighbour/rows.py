"""The metrics of prometheus_client as rows: one a series, in the forms our streams keep.

A metric whose samples do not fit its type (a histogram without buckets, a sample of another name, as custom collectors
may have them) is taken apart: each name becomes a metric of unknown type, so that every sample is still there.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any, cast

from otelbridge.diagnostics import warn_once
from otelbridge.metrics.foreign import Foreign
from otelbridge.neighbour.exemplars import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otelbridge.catalogue.model import MergeRule
    from otelbridge.metrics.foreign import ForeignType
    from otelbridge.neighbour.exemplars import ForeignExemplar

LabelSet = tuple[tuple[str, str], ...]
"""Labels in the order of their names."""

Value = float | tuple[tuple[int, ...], float]
"""A number; or how many values each bucket holds, the last above all bounds, and their sum."""

WORKER_LABEL = "pid"
"""The label that tells the gauges of several processes apart, as prometheus_client's multi-process mode names it."""

_LARGEST = 2.0**63


@dataclass(slots=True)
class Row:
    """One series at one moment."""

    labels: LabelSet
    """Who."""

    value: Value
    """What."""

    created: int = 0
    """Since when it counts, in nanoseconds since the epoch; 0 where it does not say."""

    exemplars: tuple[ForeignExemplar, ...] = ()
    """Its exemplars, at most one a bucket."""

    quantiles: tuple[tuple[float, float], ...] = ()
    """Quantiles of a summary, with their values."""


Rows = dict[Foreign, list[Row]]


class _MisfitError(Exception):
    """The samples of a metric do not fit its type."""


@dataclass(slots=True)
class _Series:
    """The samples of one series of a histogram or summary."""

    points: dict[float, float] = field(default_factory=dict[float, float])
    count: float | None = None
    sum: float | None = None
    created: int = 0
    exemplars: list[ForeignExemplar] = field(default_factory=list["ForeignExemplar"])


def read(metrics: Iterable[Any], mode: str | None) -> Rows:
    """Read metrics.

    Args:
        metrics: What a collector gives.
        mode: The multi-process mode of the gauge it is, if it is one.

    Returns:
        Rows by metric. Samples nobody can show (native histograms, counters below zero) are left out, reported once.
    """
    found: Rows = {}
    for metric in metrics:
        samples = [each for each in metric.samples if _is_plain(metric, each)]
        try:
            parts = _READERS[metric.type](metric, samples, mode)
        except (_MisfitError, KeyError):
            parts = _taken_apart(metric, samples)
        for foreign, rows in parts.items():
            found.setdefault(foreign, []).extend(rows)
    return found


def _is_plain(metric: Any, sample: Any) -> bool:
    if getattr(sample, "native_histogram", None) is None:
        return True
    warn_once(
        ("prometheus_client", metric.name, "native"),
        "%.200s of prometheus_client has native histograms, which are left out. Give it classic buckets too.",
        metric.name,
    )
    return False


def _numbers(metric: Any, samples: list[Any], mode: str | None) -> Rows:
    kind: ForeignType = metric.type
    wanted = f"{metric.name}{_SUFFIXES.get(kind, '')}"
    rows: dict[LabelSet, Row] = {}
    created: dict[LabelSet, int] = {}
    for sample in samples:
        labels = label_set(sample.labels)
        if sample.name == wanted:
            if kind == "counter" and not sample.value >= 0:
                _report_negative(metric.name, sample.value)
                continue
            exemplar = getattr(sample, "exemplar", None)
            rows[labels] = Row(labels, float(sample.value), exemplars=(convert(exemplar),) if exemplar else ())
        elif kind == "counter" and sample.name == f"{metric.name}_created":
            created[labels] = _nanoseconds(sample.value)
        else:
            raise _MisfitError
    for labels, since in created.items():
        if labels in rows:
            rows[labels].created = since
    return {_foreign(metric, kind, _rule(metric.name, kind, mode, rows)): list(rows.values())}


def _states(metric: Any, samples: list[Any], mode: str | None) -> Rows:
    if any(metric.name not in sample.labels for sample in samples):
        raise _MisfitError
    return _numbers(metric, samples, mode)


def _histogram(metric: Any, samples: list[Any], mode: str | None) -> Rows:
    del mode
    found: Rows = {}
    for labels, series in _by_series(metric, samples, "le", "_bucket").items():
        bounds = sorted(series.points)
        total = series.points.get(inf, series.count)
        if total is None or series.sum is None or not bounds:
            raise _MisfitError
        series.points[inf] = total
        counts = [_whole(series.points[bound]) for bound in sorted(series.points)]
        row = (counts[0], *(after - before for before, after in pairwise(counts)))
        if min(row) < 0 or _whole(series.count if series.count is not None else total) != counts[-1]:
            raise _MisfitError
        foreign = _foreign(metric, "histogram", "sum", tuple(bound for bound in bounds if bound != inf))
        value = (row, series.sum)
        found.setdefault(foreign, []).append(Row(labels, value, series.created, tuple(series.exemplars)))
    return found or {_foreign(metric, "histogram", "sum"): []}


def _summary(metric: Any, samples: list[Any], mode: str | None) -> Rows:
    del mode
    rows: list[Row] = []
    for labels, series in _by_series(metric, samples, "quantile", "").items():
        if series.count is None or series.sum is None:
            raise _MisfitError
        quantiles = tuple(sorted(series.points.items()))
        rows.append(Row(labels, ((_whole(series.count),), series.sum), series.created, quantiles=quantiles))
    return {_foreign(metric, "summary", "sum"): rows}


def _by_series(metric: Any, samples: list[Any], key: str, suffix: str) -> dict[LabelSet, _Series]:
    """Put together what belongs to one series: the label `key` tells its samples named with `suffix` apart."""
    found: defaultdict[LabelSet, _Series] = defaultdict(_Series)
    point, total, summed, created = (f"{metric.name}{each}" for each in (suffix, "_count", "_sum", "_created"))
    for sample in samples:
        labels = dict(sample.labels)
        if sample.name == point and key in labels:
            at = _number(labels.pop(key))
            series = found[label_set(labels)]
            if at in series.points:
                raise _MisfitError
            series.points[at] = float(sample.value)
            if getattr(sample, "exemplar", None):
                series.exemplars.append(convert(sample.exemplar))
            continue
        series = found[label_set(labels)]
        if sample.name == total:
            series.count = float(sample.value)
        elif sample.name == summed:
            series.sum = float(sample.value)
        elif sample.name == created:
            series.created = _nanoseconds(sample.value)
        else:
            raise _MisfitError
    return found


def _taken_apart(metric: Any, samples: list[Any]) -> Rows:
    found: Rows = {}
    for sample in samples:
        rule = _PARTS.get(metric.type, {}).get(sample.name.removeprefix(metric.name), "per_worker")
        foreign = Foreign(sample.name, "unknown", str(metric.documentation), "", cast("MergeRule", rule))
        found.setdefault(foreign, []).append(Row(label_set(sample.labels), float(sample.value)))
    return found


_SUFFIXES = {"counter": "_total", "info": "_info"}
_READERS: dict[str, Callable[[Any, list[Any], str | None], Rows]] = {
    "counter": _numbers,
    "gauge": _numbers,
    "unknown": _numbers,
    "info": _numbers,
    "stateset": _states,
    "histogram": _histogram,
    "summary": _summary,
}
# Of what is taken apart, the names whose values several processes have together.
_TOTALS = dict.fromkeys(("_bucket", "_count", "_sum", "_total"), "sum")
_PARTS = {
    "counter": _TOTALS,
    "histogram": _TOTALS,
    "summary": _TOTALS,
    "gaugehistogram": dict.fromkeys(("_bucket", "_gcount", "_gsum"), "livesum"),
}
_MODES: dict[str, MergeRule] = {
    "sum": "sum",
    "livesum": "livesum",
    "max": "max",
    "livemax": "max",
    "min": "min",
    "livemin": "min",
    "mostrecent": "last",
    "livemostrecent": "last",
}
# What some process is, or some process' state, holds for the service.
_RULES: dict[str, MergeRule] = {"counter": "sum", "info": "max", "stateset": "max"}


def _rule(name: str, kind: str, mode: str | None, rows: Iterable[LabelSet]) -> MergeRule:
    if kind in _RULES:
        return _RULES[kind]
    if kind == "gauge" and mode in _MODES:
        return _MODES[mode]
    # By convention gauges named so are 1 and tell what is in their labels, everywhere alike.
    if kind == "gauge" and name.endswith("_info"):
        return "max"
    # What tells its process by itself needs no label for that.
    apart = any(key == WORKER_LABEL for labels in rows for key, _ in labels)
    return "last" if apart else "per_worker"


def _foreign(metric: Any, kind: ForeignType, rule: MergeRule, bounds: tuple[float, ...] = ()) -> Foreign:
    return Foreign(str(metric.name), kind, str(metric.documentation), str(metric.unit or ""), rule, bounds)


def label_set(labels: Any) -> LabelSet:
    """Bring labels into the order of their names.

    Args:
        labels: A mapping of names to values.

    Returns:
        The pairs.
    """
    return tuple(sorted((str(key), str(value)) for key, value in labels.items()))


def _whole(value: float) -> int:
    if not 0 <= value < _LARGEST or value != int(value):
        raise _MisfitError
    return int(value)


def _number(text: Any) -> float:
    try:
        number = float(text)
    except (TypeError, ValueError):
        raise _MisfitError from None
    if number != number:  # noqa: PLR0124  # NaN bounds nothing
        raise _MisfitError
    return number


def _nanoseconds(seconds: Any) -> int:
    value = float(seconds)
    return int(value * 1e9) if 0 < value < _LARGEST / 1e9 else 0


def _report_negative(name: str, value: object) -> None:
    warn_once(
        ("prometheus_client", name, "negative"),
        "%.200s of prometheus_client leaves out a series with the value %.100r: a counter is zero or more.",
        name,
        value,
    )
