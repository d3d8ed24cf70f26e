"""Families of another client beside ours: its names stay as they are, and ours come first.

What would clash (a sample of the same name, a family of the same name) is left out, with one warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelbridge.catalogue.naming import encodable
from otelbridge.diagnostics import warn_once
from otelbridge.prometheus.collisions import combine
from otelbridge.prometheus.labels import LabelCache, Labeller, Labels, Pairs
from otelbridge.prometheus.model import Family, Kind
from otelbridge.prometheus.translation import escape, is_legacy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otelbridge.metrics.current import CurrentStream
    from otelbridge.metrics.foreign import Foreign, ForeignType
    from otelbridge.prometheus.translation import Translation

_KINDS: dict[ForeignType, Kind] = {
    "counter": Kind.COUNTER,
    "gauge": Kind.GAUGE,
    "histogram": Kind.HISTOGRAM,
    "info": Kind.INFO,
    "stateset": Kind.STATESET,
    "summary": Kind.SUMMARY,
    "unknown": Kind.UNKNOWN,
}
_ENDINGS = {Kind.COUNTER: "_total", Kind.INFO: "_info"}
_CLAIMS = {
    Kind.COUNTER: ("", "_created"),
    Kind.HISTOGRAM: ("", "_bucket", "_sum", "_count", "_created"),
    Kind.SUMMARY: ("", "_sum", "_count", "_created"),
}
_ADDITIVE = (Kind.COUNTER, Kind.HISTOGRAM)
_RESERVED = {Kind.HISTOGRAM: frozenset({"le"}), Kind.SUMMARY: frozenset({"quantile"})}


class NeighbourBook:
    """Makes families of another client's streams, and remembers labels from scrape to scrape.

    Not safe for use by several threads at once.

    Args:
        translation: How names are escaped. They are not translated otherwise.
    """

    def __init__(self, translation: Translation) -> None:
        self._translation = translation
        self._interned: dict[str, dict[Pairs, Labels]] = {}
        self._caches: dict[Foreign, LabelCache] = {}

    def beside(self, ours: Sequence[Family], streams: Iterable[CurrentStream]) -> list[Family]:
        """Give the families that can stand beside ours.

        Args:
            ours: The families that are there already.
            streams: What the other client has.

        Returns:
            The others, in the order in which they came.
        """
        owners = {name: family for family in ours for name in _claims(family, created=False)}
        found: dict[str, Family] = {}
        caches, self._caches = self._caches, {}
        for stream in streams:
            if stream.foreign is None:
                continue
            family = self._family(stream.foreign)
            standing = found.get(family.name)
            if standing is not None and standing.kind is family.kind:
                family = standing
            elif owner := next((owners[name] for name in _claims(family, created=True) if name in owners), None):
                _report(stream.foreign, family, owner, theirs=owner.name in found)
                continue
            else:
                found[family.name] = family
                owners.update(dict.fromkeys(_claims(family, created=True), family))
            cache = caches.get(stream.foreign) or self._cache(family)
            self._caches[stream.foreign] = cache
            family.created = family.created or stream.created
            self._fill(family, cache, stream.points)
        self._forget(found)
        return list(found.values())

    def _family(self, foreign: Foreign) -> Family:
        kind = _KINDS[foreign.type]
        if kind is Kind.STATESET and self._translation.label(foreign.name) != foreign.name:
            kind = Kind.GAUGE  # the label of a state set is named as the family, which a label may not be
        name = escape(f"{encodable(foreign.name)}{_ENDINGS.get(kind, '')}", self._translation.escaping)
        stem = name.removesuffix(_ENDINGS.get(kind, ""))
        unit = foreign.unit if is_legacy(foreign.unit) and stem.endswith(f"_{foreign.unit}") else ""
        return Family(name, kind, encodable(foreign.help), unit, self._translation)

    def _cache(self, family: Family) -> LabelCache:
        labeller = Labeller(self._translation, reserved=_RESERVED.get(family.kind, frozenset()))
        return LabelCache(labeller, self._interned.setdefault(family.name, {}), family.name)

    def _forget(self, found: dict[str, Family]) -> None:
        for name, interned in list(self._interned.items()):
            live = set(found[name].labels) if name in found else set[Labels]()
            if not live:
                del self._interned[name]
            elif len(interned) > len(live):
                # In place, since the caches share it.
                for pairs in [pairs for pairs, labels in interned.items() if labels not in live]:
                    del interned[pairs]

    def _fill(self, family: Family, cache: LabelCache, points: Sequence[Any]) -> None:
        for labels, point in zip(cache.find([point.attributes for point in points]), points, strict=True):
            if labels is not None:
                family.labels.append(labels)
                family.points.append(point)
        if len(set(family.labels)) < len(family.labels):
            additive = family.kind in _ADDITIVE
            family.labels, family.points = combine(family.name, family.labels, family.points, additive=additive)


def _claims(family: Family, *, created: bool) -> set[str]:
    """Give the names of the samples of a family, and its own."""
    stem = family.name.removesuffix("_total") if family.kind is Kind.COUNTER else family.name
    names = {family.name}
    for ending in _CLAIMS.get(family.kind, ()):
        if ending == "_created" and created:
            names.add(f"{stem}_created")
        elif ending and ending != "_created":
            names.add(f"{stem}{ending}")
    return names


def _report(foreign: Foreign, family: Family, owner: Family, *, theirs: bool) -> None:
    warn_once(
        (family.name, "neighbour", "clash"),
        "The %s %.200s of prometheus_client is left out of the metrics page: it would clash with the %s %.200s of %s, "
        "which is there already. Rename one of the two, or drop the older one of what is measured twice.",
        foreign.type,
        foreign.name,
        owner.kind.value,
        owner.name,
        "prometheus_client" if theirs else "OpenTelemetry",
    )
