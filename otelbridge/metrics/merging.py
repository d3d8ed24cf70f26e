"""How the values of many processes become one: which rule an instrument follows, and the arithmetic."""

from __future__ import annotations

from math import copysign, inf
from operator import add
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk import metrics as sdk

from otelbridge.cells.arithmetic import add_floats
from otelbridge.cells.exponential import joined, read_row, row_length
from otelbridge.cells.shape import Rule, Shape
from otelbridge.metrics._sdk import Gauge
from otelbridge.metrics.scales import Exponential, merge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otelbridge.catalogue.model import MergeRule
    from otelbridge.cells.shelf import Place, Totals
    from otelbridge.metrics.kinds import Kind

PER_WORKER = "per_worker"
WORKER_KEY = "process.pid"

# Counts of what is under way: what a killed worker had in hand is over, not under way for ever.
_IN_FLIGHT = (".active", ".active_requests", ".pending_requests", ".connections.usage", ".connection.count")

_DEFAULTS: dict[type[Any], MergeRule] = {
    sdk.Counter: "sum",
    sdk.UpDownCounter: "sum",
    sdk.Histogram: "sum",
    sdk.ObservableCounter: "sum",
    sdk.ObservableUpDownCounter: "livesum",
    sdk.ObservableGauge: "last",
    Gauge: "last",
}

_ADDING = ("sum", "livesum", PER_WORKER)


def merge_rule(instrument: Any, kind: Kind, wanted: MergeRule | None) -> MergeRule:
    """Decide how the processes' values of a stream become one: as the view wants it, if it wants anything."""
    if wanted is None:
        if isinstance(instrument, sdk.UpDownCounter) and instrument.name.endswith(_IN_FLIGHT):
            return "livesum"
        wanted = next(rule for type_, rule in _DEFAULTS.items() if isinstance(instrument, type_))
        if kind.name == "last" and wanted == "sum":
            return "last"
    return wanted


def shape_of(kind: Kind, rule: MergeRule, *, observed: bool) -> Shape:
    """Give the slots a series has in its cell. Where values come from callbacks, they may cease to."""
    if kind.name == "last" or (observed and rule not in _ADDING):
        return Shape(Rule.LAST if rule == PER_WORKER else Rule(rule), marks=2)
    cells_rule = Rule.SUM if rule not in ("livesum", PER_WORKER) else Rule.LIVE_SUM
    if kind.name == "histogram":
        return Shape(cells_rule, counts=len(kind.bounds) + 1, totals=1, lows=4)
    if kind.name == "exponential":
        return Shape(cells_rule, totals=1, lows=2, raw=row_length(kind.max_size), raw_merge="exponential")
    # An observed series also says whether it is being observed.
    return Shape(cells_rule, counts=2 if observed else 1, totals=1)


Parts = list[tuple[Any, "Place | None", "Sequence[int] | None"]]
"""What is merged: a series of this process, and the place of its namesakes in the others; either may be None. Where the
place has other bucket boundaries, also the index of the bucket that each of its counts goes to."""


def _merge_sum(series: Any, parts: Parts, totals: Totals) -> bool:
    whole = 0
    floats: list[float] = []
    for own, place, _ in parts:
        if own is not None:
            whole += own.whole
            if type(own.part) is float:
                floats.append(own.part)
        if place is not None:
            whole += totals.counts[place.counts]
            fraction = totals.totals[place.totals]
            if fraction or copysign(1.0, fraction) > 0:  # minus zero says that no process ever had a float
                floats += (fraction, totals.rests[place.totals])
    series.whole = whole
    # Rounded once, so that every process shows the same total.
    series.part = add_floats(floats)[0] if floats else 0
    return True


def _merge_last(series: Any, parts: Parts, totals: Totals) -> bool:
    best: tuple[float, int | float] | None = None
    for own, place, _ in parts:
        rule = Rule.LAST if place is None else place.shape.rule
        for stamp, value in _readings(own, place, totals):
            best = (stamp, value) if best is None else _PICK[rule](best, (stamp, value))
    series.last = None if best is None else (best[1],)
    return best is not None


def _readings(own: Any, place: Place | None, totals: Totals) -> list[tuple[float, int | float]]:
    found: list[tuple[float, int | float]] = []
    if own is not None and own.last is not None:
        cell = own.cell
        stamp: float = abs(cell.marks[cell.marks_at + 1]) if own.has_cell else inf
        found.append((stamp, _as_stored(own.last[0])))
    if place is not None:
        value, stamp = totals.marks[place.marks : place.marks + 2]
        if stamp:
            found.append((abs(stamp), int(value) if stamp < 0 else value))
    return found


def _as_stored(value: int | float) -> int | float:
    """Give a value as a cell holds it, and as the other processes therefore see it: rounded beyond 2**53."""
    return value if type(value) is float else int(float(value))


_Reading = tuple[float, "int | float"]

_PICK: dict[Rule, Callable[[_Reading, _Reading], _Reading]] = {
    Rule.LAST: max,
    Rule.MAX: lambda a, b: a if a[1] >= b[1] else b,
    Rule.MIN: lambda a, b: a if a[1] <= b[1] else b,
    Rule.SUM: lambda a, b: (max(a[0], b[0]), a[1] + b[1]),
    Rule.LIVE_SUM: lambda a, b: (max(a[0], b[0]), a[1] + b[1]),
}


def _merge_histogram(series: Any, parts: Parts, totals: Totals) -> bool:
    width = len(series.bounds) + 1
    counts: list[int] = [0] * width
    sums: list[float] = []
    low, high = inf, -inf
    for own, place, spread in parts:
        if own is not None:
            row = [*own.counts, own.sum]
            sums.append(_as_stored(row.pop()))
            counts = list(map(add, counts, row))
            low, high = min(low, own.low, own.min), max(high, own.high, own.max)
        if place is not None:
            if spread is None:
                counts = list(map(add, counts, totals.counts[place.counts : place.counts + width]))
            else:
                for at, count in zip(spread, totals.counts[place.counts : place.counts + len(spread)], strict=True):
                    counts[at] += count
            sums += (totals.totals[place.totals], totals.rests[place.totals])
            lows = totals.lows[place.lows : place.lows + 4]
            low, high = min(low, lows[0], lows[2]), max(high, -lows[1], -lows[3])
    series.counts, series.sum = counts, sums[0] if len(sums) == 1 else add_floats(sums)[0]
    series.min, series.max = low, high
    return True


def _merge_exponential(series: Any, parts: Parts, totals: Totals) -> bool:
    merged: Exponential | None = None
    for own, place, _ in parts:
        found: list[Exponential] = [] if own is None else [own.snapshot()]
        if place is not None:
            low, high = totals.lows[place.lows], -totals.lows[place.lows + 1]
            found.append(Exponential.of(read_row(totals.raw[place.raw]), totals.totals[place.totals], low, high))
        for one in found:
            merged = one if merged is None else merge(merged, one, series.max_size)
    if merged is not None:
        if max(len(merged.positive.counts), len(merged.negative.counts)) > series.max_size:  # others may have more
            merged = Exponential.of(joined((merged.distribution,), series.max_size), merged.sum, merged.min, merged.max)
        series.replace(merged)
    return merged is not None


MERGERS: dict[str, Callable[[Any, Parts, Any], bool]] = {
    "sum": _merge_sum,
    "last": _merge_last,
    "histogram": _merge_histogram,
    "exponential": _merge_exponential,
}
