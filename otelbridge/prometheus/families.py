"""Metric families: what OpenTelemetry collected, under Prometheus names, with every clash resolved.

Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", section "OTLP Metric points to
Prometheus". What it leaves open is decided so:

- Two metrics that would show samples of the same name (a counter and a gauge ``x_total``; a histogram ``q`` and
  a gauge ``q_count``): the younger is left out, with one warning.
- Two metrics of one name and type but different help or unit: the first one's is kept, and all series.
- Two series whose labels are equal once translated: sums and histograms are added up, since they count different
  things under one name; of gauges the latest is shown. Of histograms with unlike buckets, those of the first are
  shown (of exponential and explicit ones the explicit): what is counted in another bucket is counted in the lowest
  that is sure to hold it. One warning each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.metrics.export import NumberDataPoint

from otelbridge.catalogue.naming import Shape
from otelbridge.diagnostics import warn_once
from otelbridge.prometheus.labels import LabelCache, Labeller, Labels, value_text
from otelbridge.prometheus.model import Family, Kind
from otelbridge.prometheus.shelves import Shelf
from otelbridge.prometheus.streams import Stream, read
from otelbridge.prometheus.translation import Translation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

_TARGET_INFO = "target_info"
_TARGET_HELP = "Target metadata"
_SCOPE_PREFIX = "otel_scope_"
_SCOPE_LABELS = ("otel_scope_name", "otel_scope_version", "otel_scope_schema_url")


_KINDS = {
    Shape.COUNTER: Kind.COUNTER,
    Shape.UP_DOWN: Kind.GAUGE,
    Shape.GAUGE: Kind.GAUGE,
    Shape.HISTOGRAM: Kind.HISTOGRAM,
}
_SUFFIXES = {Kind.HISTOGRAM: ("", "_bucket", "_sum", "_count")}
_RESERVED = {Kind.HISTOGRAM: frozenset({"le"})}


class FamilyOptions(NamedTuple):
    """What the families show besides the measurements."""

    target_info: bool = True
    """Whether the resource appears as ``target_info``."""

    scope_labels: bool = False
    """Whether series carry ``otel_scope_name``, ``otel_scope_version`` and ``otel_scope_schema_url``."""

    scope_attributes: bool = True
    """Whether scope labels include the attributes of the scope, with the prefix ``otel_scope_``."""

    resource_labels: frozenset[str] = frozenset()
    """Keys of resource attributes that every series carries as labels."""


class FamilyBook:
    """Makes families out of what was collected, and remembers names and labels from scrape to scrape.

    Everything that depends on names alone is worked out when a series is first seen, and forgotten when it is
    no longer collected. Not safe for use by several threads at once.

    Args:
        translation: How names are made. Each escaping that scrapers ask for needs a book of its own.
        options: What is shown besides.
    """

    def __init__(self, translation: Translation | None = None, options: FamilyOptions | None = None) -> None:
        self.translation = translation or Translation()
        """How names are made."""
        self._options = options or FamilyOptions()
        self._shelves: dict[str, Shelf] = {}
        self._owners: dict[str, Shelf] = {}
        self._known: dict[tuple[object, ...], _Known] = {}
        self._resource: tuple[Resource | None, Family | None, list[tuple[str, str]]] = (None, None, [])

    def families(self, data: MetricsData | None) -> list[Family]:
        """Make families of everything a reader of the SDK has collected.

        Args:
            data: What `MetricReader.collect` hands over; None where there is nothing.

        Returns:
            The families, ``target_info`` first, the others in the order in which they first appeared.
        """
        return self.build(*read(data))

    def build(self, resource: Resource | None, streams: Iterable[Stream]) -> list[Family]:
        """Make families of streams.

        Args:
            resource: What the streams belong to.
            streams: What was collected.

        Returns:
            See `families`.
        """
        if resource is not self._resource[0] and resource != self._resource[0]:
            self._resource = (resource, *self._read(resource))
            self._forget_all()
        for shelf in self._shelves.values():
            shelf.clear()
        seen: set[tuple[object, ...]] = set()
        for stream in streams:
            key = (stream.name, stream.unit, stream.description, stream.shape, id(stream.scope))
            seen.add(key)
            try:
                known = self._known.get(key)
                if known is None:
                    known = self._known[key] = self._meet(stream)
                if known.place is not None:
                    shelf, cache = known.place
                    shelf.take(cache, stream)
            except Exception as error:  # data that is none of the SDK's must not cost the others
                _report_broken(stream.name, error)
        self._forget(seen)
        found = [shelf.family() for shelf in self._shelves.values()]
        target = self._resource[1]
        return found if target is None else [target, *found]

    def _meet(self, stream: Stream) -> _Known:
        kind = _KINDS[stream.shape]
        name = self.translation.family(stream.name, stream.unit, stream.shape)
        shelf = self._shelves.get(name)
        if shelf is None or shelf.kind is not kind:
            claims = {name + suffix for suffix in _SUFFIXES.get(kind, ("",))}
            if owner := next((self._owners[each] for each in sorted(claims) if each in self._owners), None):
                _report_clash(stream.name, name, kind, owner.name, owner.kind)
                return _Known(stream.scope, None)
            shelf = self._shelves[name] = Shelf(name, kind, stream, self.translation)
            self._owners.update(dict.fromkeys(claims, shelf))
        shelf.check(stream)
        base = [*self._resource[2], *self._scope_items(stream.scope)]
        labeller = Labeller(self.translation, base, reserved=_RESERVED.get(kind, frozenset()))
        return _Known(stream.scope, (shelf, LabelCache(labeller, shelf.interned, name)))

    def _scope_items(self, scope: InstrumentationScope | None) -> list[tuple[str, str]]:
        if not self._options.scope_labels or scope is None:
            return []
        values = (scope.name, scope.version, scope.schema_url)
        items = [(key, value_text(value)) for key, value in zip(_SCOPE_LABELS, values, strict=True)]
        if self._options.scope_attributes:
            for key, value in (scope.attributes or {}).items():
                name = f"{_SCOPE_PREFIX}{key}"
                if self.translation.label(name) not in _SCOPE_LABELS:  # the specification drops these
                    items.append((name, value_text(value)))
        return items

    def _read(self, resource: Resource | None) -> tuple[Family | None, list[tuple[str, str]]]:
        attributes: Mapping[str, Any] = {} if resource is None else resource.attributes
        chosen = [(key, value_text(value)) for key, value in attributes.items() if key in self._options.resource_labels]
        if not attributes or not self._options.target_info:
            return None, chosen
        labels = Labels(Labeller(self.translation).pairs(attributes))
        point = NumberDataPoint(attributes, 0, 0, 1)
        family = Family(_TARGET_INFO, Kind.INFO, _TARGET_HELP, "", self.translation, [labels], [point])
        return family, chosen

    def _forget_all(self) -> None:
        self._shelves.clear()
        self._known.clear()
        self._owners.clear()
        if target := self._resource[1]:
            self._owners[target.name] = Shelf(target.name, target.kind, None, self.translation)

    def _forget(self, seen: set[tuple[object, ...]]) -> None:
        if len(self._known) > len(seen):
            self._known = {key: known for key, known in self._known.items() if key in seen}
        gone = [shelf for shelf in self._shelves.values() if not shelf.labels]
        if not gone:
            return
        for shelf in gone:
            del self._shelves[shelf.name]
        self._owners = {name: shelf for name, shelf in self._owners.items() if shelf not in gone}
        # Whoever was left out because of them may come in at the next scrape.
        self._known = {
            key: known for key, known in self._known.items() if known.place is not None and known.place[0] not in gone
        }


@dataclass(slots=True)
class _Known:
    """What is remembered of a stream."""

    scope: object
    """Held, since its identity is part of the key."""

    place: tuple[Shelf, LabelCache] | None
    """Its family and its labels; None where it was left out."""


def _report_broken(instrument: str, error: Exception) -> None:
    warn_once(
        (instrument, "stream", type(error).__name__),
        "%.200s is left out of the metrics page, since its data cannot be read (%s: %.200s).",
        instrument,
        type(error).__name__,
        error,
    )


def _report_clash(instrument: str, name: str, kind: Kind, owner: str, owner_kind: Kind) -> None:
    warn_once(
        (name, kind.value, "clash"),
        "The instrument %.200s is left out of the metrics page: as the %s %.200s it would clash with the %s %.200s "
        "that is there already. Rename one of the two, or rename it with a view.",
        instrument,
        kind.value,
        name,
        owner_kind.value,
        owner,
    )
