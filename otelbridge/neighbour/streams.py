"""Streams that are fed with rows read elsewhere, and how readers see them."""

from __future__ import annotations

import os
from operator import add
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)

from otelbridge.diagnostics import warn_once
from otelbridge.metrics._sdk import create_instrument
from otelbridge.metrics.identity import encode_attributes, key_of
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.merging import PER_WORKER, shape_of
from otelbridge.metrics.readers import SharedMatch
from otelbridge.metrics.secrets import as_they_are
from otelbridge.metrics.series import LastSeries
from otelbridge.metrics.streams import Sharing, Stream
from otelbridge.neighbour.rows import WORKER_LABEL
from otelbridge.neighbour.units import ucum

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from otelbridge.metrics.deltas import Reads
    from otelbridge.metrics.foreign import Foreign
    from otelbridge.metrics.limits import Terms
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.secrets import Hide
    from otelbridge.metrics.series import HistogramSeries, Series
    from otelbridge.neighbour.exemplars import ForeignExemplar
    from otelbridge.neighbour.rows import LabelSet, Row, Value

_BUCKETED = ("histogram", "summary")


def kind_of(foreign: Foreign) -> Kind:
    """Tell how the series of a foreign metric are kept. A summary is a histogram that has no bounds."""
    if foreign.type in _BUCKETED:
        return Kind("histogram", foreign.bounds, extremes=False)
    return Kind("sum" if foreign.rule in ("sum", "livesum") else "last")


class ForeignStream(Stream):
    """The series of one foreign metric.

    Args:
        foreign: The metric.
        terms: Its limits.
        processes: The group of processes whose series are merged; None keeps to this one.
        started: When the group, or this process, began, in nanoseconds since the epoch.
        hide: See `Stream`.
    """

    def __init__(
        self,
        foreign: Foreign,
        terms: Terms,
        processes: Processes | None,
        *,
        started: int,
        hide: Hide = as_they_are,
    ) -> None:
        kind = kind_of(foreign)
        sharing = None
        if processes is not None:
            shape = shape_of(kind, foreign.rule, observed=True)
            sharing = Sharing(processes, foreign.encode(), shape, foreign.rule == PER_WORKER)
        super().__init__(foreign.name, kind, None, terms, sharing, observed=True, hide=hide)
        self.foreign = foreign
        self._found: dict[LabelSet, Series] = {}
        self._shown: set[Series] = set()
        self._rows: dict[Series, Row] = {}
        self._bare: dict[Series, LastSeries] = {}
        self._started = started
        self.created = False
        """Whether some series said since when it counts."""

    def feed(self, rows: Iterable[Row]) -> None:
        """Take what there is now: it counts, and what is no longer there is forgotten.

        Args:
            rows: One a series. Rows of one series, as the overflow has them, are added; of gauges the last counts.
        """
        before, self._shown = self._shown, set()
        found: dict[LabelSet, Series] = {}
        values: dict[Series, Value] = {}
        latest: dict[Series, Row] = {}
        for row in rows:
            series = self._found.get(row.labels) or self.find(dict(row.labels))
            value = row.value
            if series in values and self.kind.name != "last":
                value = _plus(values[series], value)
            values[series] = value
            if not self.is_overflow(series):
                found[row.labels] = series
                latest[series] = row
        # Those a reader may be looking at last: exemplars of a series are never those of another.
        self._found, self._rows, self._shown = found, latest, set(values)
        for series, value in values.items():
            row = latest.get(series)
            created = row.created if row else 0
            self.created = self.created or created > 0
            self._observe(series, value, created)
        for series in before - self._shown:
            self._end(series)

    def row(self, series: Series) -> Row | None:
        """Give what was read last for a series of this process, or for its part in a merged one."""
        own = self.origin(series)
        return None if own is None else self._rows.get(own)

    @property
    def alone(self) -> bool:
        """Whether no other process has series of this metric."""
        totals = None if self.sharing is None else self.sharing.processes.totals
        return self.sharing is None or not any(
            each.places for each in self.sharing.processes.variants.of(key_of(self.sharing.identity), totals)
        )

    def merged(self) -> list[Any]:
        """See `Stream.merged`. Where processes are kept apart and only one has the metric, it needs no label."""
        found = super().merged()
        if self.sharing is None or not self.sharing.per_worker or self.sharing.processes.totals is None:
            return found
        workers = {str(series.attributes.get(WORKER_LABEL)) for series in found}
        if len(workers) != 1:
            return found
        known, self._bare = self._bare, {}
        for series in cast("list[LastSeries]", found):
            self._bare[series] = bare = known.get(series) or _without_worker(series)
            bare.last = series.last
        return list(self._bare.values())

    def origin(self, series: Series) -> Series | None:
        """See `Stream.origin`."""
        if self.sharing is not None and self.sharing.per_worker:
            return None  # exemplars belong to counters and histograms
        return super().origin(series)

    def after_fork(self) -> None:
        """See `Stream.after_fork`."""
        super().after_fork()
        self._found, self._rows, self._shown, self._bare = {}, {}, set(), {}

    def _observe(self, series: Any, value: Value, created: int) -> None:
        if isinstance(value, tuple):
            _observe_histogram(series, *value)
        elif self.kind.name == "sum" or series.last is None or series.last[0] != value:
            # A gauge is stored when it changes, so that the one which changed last is the latest.
            series.observe(value)
        # What several processes count began with the first of them.
        series.start = (created or self._started) if self.alone else self._started

    def _end(self, series: Any) -> None:
        if self.kind.name == "histogram":
            if self.is_overflow(series):
                _observe_histogram(series, (0,) * len(series.counts), 0.0)
        elif self.kind.name == "sum":
            series.observe(0.0)  # the cell of a hidden series is part of the total
        else:
            series.observe(None)
        if not self.is_overflow(series):
            self.remove(series.attributes)

    def _code(self, attributes: Mapping[str, Any]) -> bytes:
        if self.sharing is not None and self.sharing.per_worker:
            attributes = {**attributes, WORKER_LABEL: str(os.getpid())}
        return encode_attributes(attributes)


class ForeignMatch(SharedMatch):
    """A foreign stream as one reader sees it; views do not apply to it.

    Args:
        instrument: What `create_foreign_instrument` made for it.
        aggregations: The reader's preferred aggregations.
        stream: The stream.
        merged: Whether the reader is given the values of all processes together.
        reads: See `SharedMatch`.
    """

    stream: ForeignStream

    def __init__(
        self, instrument: Any, aggregations: Any, stream: ForeignStream, *, merged: bool, reads: Reads | None
    ) -> None:
        view = View(instrument_name="*", aggregation=_aggregation(stream.foreign))
        super().__init__(view, instrument, aggregations, stream, merged=merged, reads=reads)
        self.foreign = stream.foreign

    @property
    def start(self) -> int | None:
        """Each series has a beginning of its own."""
        return None

    @property
    def created(self) -> bool:
        """Whether prometheus_client itself says since when the series count."""
        return self.stream.created

    @property
    def sampled(self) -> bool:
        """Whether there may be exemplars."""
        return self.foreign.type in ("counter", "histogram")

    def exemplars(self, series: Series) -> Sequence[ForeignExemplar]:
        """Give the exemplars of this process' part of a series."""
        row = self.stream.row(series) if self.sampled else None
        return () if row is None else [each.hidden(self.stream.hide) for each in row.exemplars]

    def quantiles(self, series: Series) -> Sequence[tuple[float, float]]:
        """Give the quantiles of a series; those of several processes cannot be made one."""
        row = self.stream.row(series)
        if row is None or not row.quantiles:
            return ()
        if self._merged and not self.stream.alone:
            warn_once(
                ("prometheus_client", self.foreign.name, "quantiles"),
                "%.200s of prometheus_client is shown without its quantiles: those of several processes cannot be made "
                "one. Use a histogram.",
                self.foreign.name,
            )
            return ()
        return row.quantiles


def create_foreign_instrument(foreign: Foreign, scope: InstrumentationScope) -> Any:
    """Make the instrument of the SDK that stands for a foreign metric.

    Args:
        foreign: The metric.
        scope: Where it comes from.

    Returns:
        An instrument that belongs to no meter.
    """
    instrument = create_instrument(_INSTRUMENTS.get(foreign.type, "observable_gauge"), "foreign", scope, "", "")
    # Set here, since other clients allow names and units that the SDK refuses.
    # What adds "_total" to the names of sums that only grow adds nothing to those of information.
    instrument.name = f"{foreign.name}_info" if foreign.type == "info" else foreign.name
    instrument.unit, instrument.description = ucum(foreign.unit), foreign.help
    return instrument


_INSTRUMENTS = {
    "counter": "observable_counter",
    "info": "observable_up_down_counter",
    "stateset": "observable_up_down_counter",
    "histogram": "histogram",
    "summary": "histogram",
}


def _aggregation(foreign: Foreign) -> Any:
    if foreign.type in _BUCKETED:
        return ExplicitBucketHistogramAggregation(foreign.bounds, record_min_max=False)
    return LastValueAggregation() if foreign.type in ("gauge", "unknown") else SumAggregation()


def _observe_histogram(series: HistogramSeries, counts: Sequence[int], total: float) -> None:
    row = [*counts]
    # Stored one right after the other: readers see both or neither.
    series.counts = row
    series.sum = total
    if series.silent:
        series.cell.counts[0] = 0  # which publishes everything
    else:
        series.publish()


def _plus(one: Value, two: Value) -> Value:
    if isinstance(one, tuple) and isinstance(two, tuple):
        return tuple(map(add, one[0], two[0])), one[1] + two[1]
    return two if isinstance(one, tuple) or isinstance(two, tuple) else one + two


def _without_worker(series: Series) -> LastSeries:
    attributes = {key: value for key, value in series.attributes.items() if key != WORKER_LABEL}
    return LastSeries(attributes, series.start)
