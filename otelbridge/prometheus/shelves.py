"""A family from scrape to scrape: what is settled about it, and what each scrape puts there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from opentelemetry.sdk.metrics.export import NumberDataPoint

from otelbridge.catalogue.naming import Shape, encodable, unit_words
from otelbridge.diagnostics import warn_once
from otelbridge.prometheus.collisions import combine
from otelbridge.prometheus.digits import all_counted, all_plain, plain
from otelbridge.prometheus.model import Family, Kind
from otelbridge.prometheus.samples import Frame
from otelbridge.prometheus.translation import Translation, is_legacy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otelbridge.prometheus.labels import LabelCache, Labels, Pairs
    from otelbridge.prometheus.streams import Stream


class Shelf:
    """One family from scrape to scrape.

    Args:
        name: Its name.
        kind: Its type.
        stream: The first stream in it, whose help and unit are shown; None where there are no streams.
        translation: How its names are made.
    """

    def __init__(self, name: str, kind: Kind, stream: Stream | None, translation: Translation) -> None:
        self.name = name
        self.kind = kind
        self.interned: dict[Pairs, Labels] = {}
        self.labels: list[Labels] = []
        self._points: list[Any] = []
        self._values: list[int | float] = []
        self._finite = True
        self._before: list[Labels] = []
        self._frame: Frame | None = None
        self._translation = translation
        self._help = "" if stream is None else _help(stream)
        self._unit = "" if stream is None else _shown_unit(name, kind, stream.unit)
        self._additive = True

    def check(self, stream: Stream) -> None:
        """Compare a new stream with what is settled; what differs is reported once and left out."""
        self._additive = self._additive and stream.shape is not Shape.GAUGE
        description, unit = _help(stream), _shown_unit(self.name, self.kind, stream.unit)
        for what, settled, other in (("description", self._help, description), ("unit", self._unit, unit)):
            if settled != other:
                warn_once(
                    (self.name, what),
                    "%.200s is described in two ways; the %s %.100r is shown, %.100r is not. Describe the instrument "
                    "%.200s everywhere alike.",
                    self.name,
                    what,
                    settled,
                    other,
                    stream.name,
                )

    def clear(self) -> None:
        """Begin another scrape."""
        self.labels, self._points, self._values = [], [], []
        self._finite = True

    def take(self, cache: LabelCache, stream: Stream) -> None:
        """Put the series of a stream here."""
        points = stream.points
        labels = cache.of(points, lasting=stream.lasting)
        values = self._values_of(points)
        if cache.refusing or not self._in_order(values):
            whole = [(who, self._corrected(what)) for who, what in zip(labels, points, strict=True) if who is not None]
            labels = [who for who, what in whole if what is not None]
            points = [what for _, what in whole if what is not None]
            values = self._values_of(points)
            self._finite = self._finite and all_plain(values)
        self.labels += cast("list[Labels]", labels)
        self._points += points
        self._values += values

    def family(self) -> Family:
        """Give the family as this scrape found it."""
        family = Family(self.name, self.kind, self._help, self._unit, self._translation)
        if self.labels == self._before and len(self.interned) <= len(self.labels):  # nearly always
            self._frame = self._frame or Frame()
        else:
            self._frame = None
            self._settle()
        family.labels, family.points, family.frame = self.labels, self._points, self._frame
        if self._finite and len(self._values) == len(self._points):
            family.values = self._values
        return family

    def _settle(self) -> None:
        """Make one of what has the same labels, and forget labels that nobody has."""
        live = set(self.labels)
        self._before = self.labels
        if len(live) < len(self.labels):
            self.labels, self._points = combine(self.name, self.labels, self._points, additive=self._additive)
            self._before, self._finite = [], False
        if len(self.interned) > len(self.labels):
            # In place, since the caches of the streams share it.
            for pairs in [pairs for pairs, labels in self.interned.items() if labels not in live]:
                del self.interned[pairs]

    def _values_of(self, points: Sequence[Any]) -> list[Any]:
        return [] if self.kind is Kind.HISTOGRAM else [point.value for point in points]

    def _in_order(self, values: list[Any]) -> bool:
        # Whoever writes histograms looks at each.
        return all_counted(values) if self.kind is Kind.COUNTER else all_plain(values)

    def _corrected(self, point: Any) -> Any:
        if self.kind is Kind.HISTOGRAM:
            return point
        try:
            value = plain(point.value) if self.kind is Kind.GAUGE else _counted(point.value)
        except Exception as error:
            warn_once(
                (self.name, "value", type(error).__name__),
                "%.200s leaves out a series with the value %s: %.100s. Record finite numbers, and in counters none "
                "below zero.",
                self.name,
                _shortly(getattr(point, "value", None)),
                error,
            )
            return None
        if value is point.value:
            return point
        return NumberDataPoint(
            point.attributes, point.start_time_unix_nano, point.time_unix_nano, value, point.exemplars
        )


def _help(stream: Stream) -> str:
    return encodable(stream.description).strip()  # the text formats do not keep what stands around it


def _counted(value: object) -> int | float:
    number = plain(value)
    if not number >= 0:
        raise ValueError("a counter is zero or more")
    return number


def _shortly(value: object) -> str:
    try:
        return f"{value!r:.100}"
    except Exception:  # an object of anybody's making; an int too long to print
        return type(value).__name__


def _shown_unit(name: str, kind: Kind, unit: str) -> str:
    words = unit_words(unit)
    stem = name.removesuffix("_total") if kind is Kind.COUNTER else name
    return words if words and is_legacy(words) and stem.endswith(f"_{words}") else ""
