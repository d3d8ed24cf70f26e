"""Streams that the SDK aggregates: observables of a process that is alone, and the user's own aggregations."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import Asynchronous

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.metrics._sdk import (
    ViewInstrumentMatch,
    attribute_key,
    attributes_of,
    clean_attributes,
    create_aggregation,
    view_keys,
)
from otelbridge.metrics.limits import report_overflow
from otelbridge.metrics.secrets import as_they_are
from otelbridge.metrics.streams import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import AggregationTemporality
    from opentelemetry.sdk.metrics.view import View

    from otelbridge.metrics.quota import Quota
    from otelbridge.metrics.secrets import Hide

_OVERFLOW_KEY = attribute_key(OVERFLOW)


def _in_order(point: Any) -> Any:
    """Give a point that does not end before it begins, as one of the SDK's does after the clock was set back."""
    if (point.start_time_unix_nano or 0) <= point.time_unix_nano:
        return point
    return replace(point, time_unix_nano=point.start_time_unix_nano)


class LimitedMatch(ViewInstrumentMatch):
    """A stream the SDK aggregates, within the cardinality limit.

    Args:
        view: The view that selected the instrument.
        instrument: The instrument.
        aggregations: The reader's preferred aggregations.
        limit: How many attribute sets are kept apart.
        held: How many all streams may keep apart together.
        hide: Hides what may not be shown of an attribute set.
    """

    def __init__(
        self, view: View, instrument: Any, aggregations: Any, limit: int, held: Quota, hide: Hide = as_they_are
    ) -> None:
        super().__init__(view, instrument, aggregations)
        self._limit = limit
        self._hide = hide
        self._held = held
        self._counted = 0
        self._lock = self._counting = forks.lock()
        # Measurements of a synchronous instrument may come while the reader collects, and the SDK loses them then.
        asynchronous = isinstance(instrument, Asynchronous)
        self._forget_after: float | None = getattr(view, "forget_after", None) if asynchronous else None
        self._observed: dict[object, float] = {}

    @property
    def name(self) -> str:
        """Name of the stream."""
        return self._name

    @property
    def overflowing(self) -> bool:
        """Whether some measurements are counted together for want of room."""
        return _OVERFLOW_KEY in self._attributes_aggregation

    def consume_measurement(self, measurement: Any, should_sample_exemplar: bool = True) -> None:
        """Aggregate a measurement; over the limit under the attributes of the overflow."""
        measurement = self._without_secrets(measurement)
        if self._forget_after is not None:
            self._observed[self._key(measurement)] = monotonic()
        if self._has_room() or self._key(measurement) in self._attributes_aggregation:
            super().consume_measurement(measurement, should_sample_exemplar)
            self._count()
            return
        with late_warnings, self._lock:
            overflow = self._attributes_aggregation.get(_OVERFLOW_KEY)
            if overflow is None:
                self._report()
                # Not by the SDK, whose filter of the view would take the overflow's own attribute away.
                overflow = self._attributes_aggregation[_OVERFLOW_KEY] = create_aggregation(self, OVERFLOW)
        overflow.aggregate(measurement, should_sample_exemplar)

    def collect(
        self, collection_aggregation_temporality: AggregationTemporality, collection_start_nanos: int
    ) -> Sequence[Any] | None:
        """Give the reader's points; what the SDK's aggregation cannot merge costs this stream alone."""
        try:
            points = super().collect(collection_aggregation_temporality, collection_start_nanos)
        except Exception as error:  # the SDK's exponential histogram fails on some scales
            warn_once((self._name, "collect"), "Collecting %s raised %r; it is left out this time.", self._name, error)
            return None
        return points and [_in_order(point) for point in points]

    def forget(self) -> None:
        """Drop what was not observed for long. Nothing may be observed meanwhile."""
        if self._forget_after is None:
            return
        until = monotonic() - self._forget_after
        for key in [key for key, when in self._observed.items() if when <= until]:
            del self._observed[key]
            self._attributes_aggregation.pop(key, None)
        self._count()

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        self._attributes_aggregation.clear()
        self._observed.clear()
        self._count()

    def _without_secrets(self, measurement: Any) -> Any:
        given = measurement.attributes
        if not given or self._hide is as_they_are:
            return measurement
        cleaned = clean_attributes(given)
        shown = self._hide(cleaned)
        return measurement if shown is cleaned else replace(measurement, attributes=shown)

    def _has_room(self) -> bool:
        return self._sets() < self._limit and not self._held.full

    def _sets(self) -> int:
        return len(self._attributes_aggregation) - self.overflowing

    def _count(self) -> None:
        if self._sets() != self._counted:
            with self._counting:
                grown = self._sets() - self._counted
                self._counted += grown
                self._held.add(grown)

    def _report(self) -> None:
        if self._sets() < self._limit:
            self._held.admits()  # no, and says so
            return
        sets = [attributes_of(aggregation) for aggregation in self._attributes_aggregation.values()]
        report_overflow(self._name, self._limit, sets)

    def _key(self, measurement: Any) -> object:
        keep = view_keys(self._view)
        attributes: dict[str, Any] = dict(measurement.attributes or {})
        kept = attributes if keep is None else {key: value for key, value in attributes.items() if key in keep}
        return attribute_key(kept)
