"""What callbacks observe, kept so that other processes can see it too.

Alone, the SDK's own aggregations serve each reader. In a group of processes the values have to stand in
cells, where whoever is scraped finds those of the others, so they are kept here, once for all readers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry.sdk.metrics.export import NumberDataPoint

from otelbridge.cells.shape import Rule
from otelbridge.metrics._sdk import ViewInstrumentMatch
from otelbridge.metrics.amounts import exact, reject
from otelbridge.metrics.points import transportable
from otelbridge.metrics.secrets import as_they_are
from otelbridge.metrics.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from opentelemetry.sdk.metrics.view import View

    from otelbridge.metrics.kinds import Kind
    from otelbridge.metrics.limits import Terms
    from otelbridge.metrics.secrets import Hide
    from otelbridge.metrics.series import Series
    from otelbridge.metrics.streams import Sharing


class ObservedStream(Stream):
    """The series of one view of one observable instrument.

    Args:
        name: See `Stream`.
        kind: How a series is kept: as a sum, or as a last value where processes are not added.
        keep: See `Stream`.
        terms: See `Stream`.
        sharing: See `Stream`.
        adding: Whether observations that fall into one series are added, as sums are, or replace one another.
        monotonic: Whether it counts what can only grow. A value that fell is of a source that began again: what it had
            counted stays in the total, as that of a process that ended does.
        hide: See `Stream`.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        keep: Container[str] | None,
        terms: Terms,
        sharing: Sharing,
        *,
        adding: bool,
        monotonic: bool = False,
        hide: Hide = as_they_are,
    ) -> None:
        super().__init__(name, kind, keep, terms, sharing, observed=True, hide=hide)
        self._adding = adding
        self._grows = monotonic and kind.name == "sum"
        self._counted: WeakKeyDictionary[Series, int | float] = WeakKeyDictionary()
        """What the source of a series had counted before it began again."""
        self._lasting = sharing.shape.rule is Rule.SUM
        self._seen: dict[int, tuple[Series, Any]] = {}
        self._round: dict[int, tuple[Series, Any]] = {}

    def begin(self) -> None:
        """Begin a round of callbacks."""
        self._round = {}

    def take(self, measurement: Any) -> None:
        """Take one observation."""
        value = exact(measurement.value)
        if value is None:
            reject(self.name, measurement.value, negative=False)
            return
        series = self.find(measurement.attributes)
        _, before = self._round.get(id(series), (series, 0))
        self._round[id(series)] = (series, before + value if self._adding else value)

    def end(self) -> None:
        """End the round: what was observed counts now, what was not is gone."""
        before, self._seen = self._seen, self._round
        for series, value in self._seen.values():
            series.observe(self._total(series, value) if self._grows else value)
        for key, (series, _) in before.items():
            # A counter that nobody observes any longer has counted what it has counted.
            if key not in self._seen and not self._lasting:
                series.observe(None)

    def _total(self, series: Any, value: int | float) -> int | float:
        before = self._counted.get(series, 0)
        total = transportable(before + value)
        if total < series.value:
            before = self._counted[series] = series.value
            total = transportable(before + value)
        return total

    def all(self) -> list[Series]:
        """Give the series that are observed now; of counters those, too, that once were."""
        if self._lasting:
            return [series for series in super().all() if not series.silent]
        return [series for series, _ in self._seen.values()]

    def _house(self, series: Series) -> None:
        super()._house(series)
        if self.kind.name == "sum" and series.has_cell and (self._lasting or id(series) in self._seen):
            cell = series.cell
            cell.counts[cell.counts_at + 1] = 1  # it is, or was, observed

    def _state(self, series: Series) -> Any:
        # What is observed again and again is not forgotten, whether it changes or not.
        return object() if id(series) in self._seen else None

    def after_fork(self) -> None:
        """See `Stream.after_fork`."""
        super().after_fork()
        self._seen, self._round = {}, {}
        self._counted = WeakKeyDictionary()


class ObservedMatch(ViewInstrumentMatch):
    """An observed stream as one reader sees it.

    Args:
        view: The view that selected the instrument.
        instrument: The instrument.
        aggregations: The reader's preferred aggregations.
        stream: The stream.
        gauge: Whether the values are no sums.
    """

    def __init__(self, view: View, instrument: Any, aggregations: Any, stream: ObservedStream, *, gauge: bool) -> None:
        super().__init__(view, instrument, aggregations)
        self.stream = stream
        self._gauge = gauge

    sampled = False
    """Whether there may be exemplars."""

    def series(self) -> list[Any]:
        """Give the series this reader sees now."""
        return self.stream.merged()

    @property
    def start(self) -> int | None:
        """When the series of all processes began."""
        return None if self._gauge or self.stream.sharing is None else self.stream.sharing.processes.started

    @property
    def latest_start(self) -> int:
        """When the series of all processes began; 0 where they have no beginning."""
        return self.start or 0

    def consume_measurement(self, measurement: Any, should_sample_exemplar: bool = True) -> None:
        """Do nothing: the stream is fed once for all readers."""

    def collect(
        self, collection_aggregation_temporality: Any, collection_start_nanos: int
    ) -> Sequence[NumberDataPoint] | None:
        """Give this reader's points, those of all processes together. See `SharedMatch.collect`."""
        del collection_aggregation_temporality  # cumulative: readers of deltas are served by the SDK's aggregations
        start: Any = self.start
        now = max(collection_start_nanos, self.latest_start)
        return [
            NumberDataPoint(
                attributes=series.attributes,
                start_time_unix_nano=start,
                time_unix_nano=now,
                value=transportable(series.value),
            )
            for series in self.series()
        ] or None

    def after_fork(self) -> None:
        """Begin anew in a forked child: the stream does."""
