"""The streams of the other processes, by what makes them one."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

from otelbridge.metrics.identity import details_of, key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otelbridge.cells.shelf import Place, Totals


class Variant(NamedTuple):
    """One identity of a key."""

    identity: bytes
    """As its processes know it."""

    places: Mapping[bytes, Place]
    """Its series by the code of their attributes; it grows during the next read."""

    bounds: tuple[float, ...]
    """Bucket boundaries; none where it is no histogram."""

    limit: int
    """How many attribute sets its processes keep apart; 0 where that is not said."""


class _Index(NamedTuple):
    places: object
    size: int
    variants: dict[bytes, list[Variant]]


class Variants:
    """Finds the identities of a key. Safe to use from several threads."""

    def __init__(self) -> None:
        self._index = _Index(None, 0, {})

    def all(self, totals: Totals | None) -> Mapping[bytes, Sequence[Variant]]:
        """Give every identity there is, by key. The same object as long as there is no other one."""
        if totals is None:
            return {}
        index = self._index
        if index.places is not totals.places or index.size != len(totals.places):
            index = self._index = _read(totals)
        return index.variants

    def of(self, key: bytes, totals: Totals | None) -> Sequence[Variant]:
        """Give the identities of one key."""
        return self.all(totals).get(key, ())


def _read(totals: Totals) -> _Index:
    found: dict[bytes, list[Variant]] = {}
    known = dict(totals.places)  # another thread may add to it
    for identity, places in sorted(known.items()):  # so that every process finds them in the same order
        try:
            details = details_of(identity)
            variant = Variant(identity, places, tuple(details.get("bounds", ())), details.get("limit", 0))
        except ValueError:  # another version of this package has written it
            continue
        found.setdefault(key_of(identity), []).append(variant)
    return _Index(totals.places, len(known), found)


def spread(bounds: Sequence[float], over: Sequence[float]) -> list[int] | None:
    """Tell where the counts of buckets go among others.

    Each goes into the lowest bucket that is sure to hold it, so what is counted up to a boundary that both have is the
    same by either, and up to no boundary is anything counted that may lie above it.

    Returns:
        For each bucket the index of the other one; None where they are the same.
    """
    if tuple(bounds) == tuple(over):
        return None
    return [*(bisect_left(over, bound) for bound in bounds), len(over)]
