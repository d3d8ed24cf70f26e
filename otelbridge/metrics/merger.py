"""The series of one stream over all processes."""

from __future__ import annotations

from functools import partial
from heapq import nsmallest
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from otelbridge.diagnostics import warn_once
from otelbridge.metrics.identity import decode_attributes
from otelbridge.metrics.idle import Idle
from otelbridge.metrics.merging import MERGERS
from otelbridge.metrics.series import unchanged
from otelbridge.metrics.variants import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otelbridge.cells.book import Cell
    from otelbridge.cells.shelf import Place, Totals
    from otelbridge.metrics.kinds import Kind
    from otelbridge.metrics.limits import Terms
    from otelbridge.metrics.merging import Parts
    from otelbridge.metrics.series import Series
    from otelbridge.metrics.variants import Variant, Variants


class Merger:
    """The series of one stream over all processes.

    Args:
        name: Name of the stream, for reports.
        kind: How measurements are aggregated.
        terms: The limits of the stream.
        overflow: Attributes of the series that takes the rest.
        key: Which streams of the others are the same; see `otelbridge.metrics.identity.key_of`.
        variants: Finds them.
        observed: Whether values come from callbacks; see `shape_of`.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        terms: Terms,
        overflow: Mapping[str, Any],
        key: bytes,
        variants: Variants,
        *,
        observed: bool,
    ) -> None:
        self._name = name
        self._terms = terms
        self._overflow = overflow
        self._key = key
        self._variants = variants
        self._bounds = kind.bounds
        self._observed = observed and kind.name == "sum"
        # A gauge ends with its process, and what is observed may stay as it is.
        forgets = kind.name != "last" and not observed
        self._forgets = forgets and terms.forget_after is not None
        self._idle = Idle(terms.forget_after if forgets else None)
        self._asleep: dict[bytes, Any] = {}
        self._new = kind.new_series()
        self._merge = MERGERS[kind.name]
        self._series: dict[bytes, Series] = {}
        self._rest: Series | None = None
        self.overflowing = False
        """Whether there were more attribute sets than are kept apart when they were last merged."""

    def close(self) -> None:
        """Show nothing any longer, so that others have the room."""
        for code in list(self._series):
            self._remove(code)

    def merge(
        self, own: Mapping[bytes, Series], hidden: Mapping[bytes, Cell], totals: Totals, start: int
    ) -> list[Series]:
        """Merge this process' series with those of the others.

        Args:
            own: The series that have a value here, by their code.
            hidden: The cells of those that this process does not show, and that still add what they had counted.
            totals: What the others have.
            start: When the first of them all began, in nanoseconds since the epoch.

        Returns:
            One series an attribute set. They are the same objects the next time, with newer values, as long as some
            process shows them.
        """
        variants = self._variants.of(self._key, totals)
        theirs = [_Theirs(_settled(each.places, totals), self._spread(each)) for each in variants]
        limit = max(self._terms.sets, *(each.limit for each in variants)) if variants else self._terms.sets
        places = self._shown(theirs, totals)
        mine: Callable[[bytes], Series | None] = partial(self._mine, own, hidden) if hidden else own.get

        def parts(code: bytes) -> Parts:
            # Hidden or not, all that was ever counted stays in the total.
            return [(mine(code), None, None), *((None, known[code], to) for known, to in theirs if code in known)]

        if self._asleep:
            self._leave_asleep(own, places, parts, totals)
        for code in self._series.keys() - own.keys() - places.keys():
            self._remove(code)
        self._admit([*own, *places], limit, start)
        merge = self._merge
        if len(theirs) == 1:
            # This loop is what merging costs, so it does what `parts` does without the calls.
            known, to = theirs[0]
            get = known.get
            found = {
                code: series
                for code, series in self._series.items()
                if merge(series, [(mine(code), get(code), to)], totals)
            }
        else:
            found = {code: series for code, series in self._series.items() if merge(series, parts(code), totals)}
        shown = self._let_sleep(found, own) if self._forgets else list(found.values())
        rest = (own.keys() | places.keys()) - self._series.keys() - self._asleep.keys()
        self.overflowing = bool(rest)
        if rest:
            if self._rest is None:
                self._rest = self._new(self._overflow, start)
            if self._merge(self._rest, [part for code in rest for part in parts(code)], totals):
                shown.append(self._rest)
        return shown

    def _spread(self, variant: Variant) -> Sequence[int] | None:
        found = spread(variant.bounds, self._bounds)
        if found is not None:
            warn_once(
                (self._name, "bounds"),
                "The histogram %s has other bucket boundaries in another process: %.200s, not %.200s. Count and sum "
                "are exact, and so are the buckets up to a boundary that both have; the others hold too little.",
                self._name,
                list(variant.bounds),
                list(self._bounds),
            )
        return found

    def _leave_asleep(
        self, own: Mapping[bytes, Series], places: dict[bytes, None], parts: Callable[[bytes], Parts], totals: Totals
    ) -> None:
        """Leave out what sleeps, and wake what has changed."""
        for code, before in list(self._asleep.items()):
            scratch = self._new(self._overflow, 0)
            if code in places and code not in own:
                self._merge(scratch, parts(code), totals)
                if unchanged(before, scratch.state()):
                    del places[code]
                    continue
            del self._asleep[code]

    def _let_sleep(self, found: dict[bytes, Series], own: Mapping[bytes, Series]) -> list[Series]:
        """Hide what only other processes show, maybe ended ones, and has not changed for long."""
        theirs = {code: series for code, series in found.items() if code not in own}
        for code, _, seen in self._idle.look(theirs, lambda series: series.state(), monotonic()):
            if not (self._terms.lasting and any(seen)):
                self._asleep[code] = seen
                self._remove(code)
                del found[code]
        return list(found.values())

    def _mine(self, own: Mapping[bytes, Series], hidden: Mapping[bytes, Cell], code: bytes) -> Series | None:
        mine, cell = own.get(code), hidden.get(code)
        if mine is None and cell is not None:
            mine = self._new({}, 0)
            mine.load(cell)
        return mine

    def _remove(self, code: bytes) -> None:
        series = self._series.pop(code)
        self._idle.drop(series)
        if self._terms.shown is not None:
            self._terms.shown.add(-1)

    def _shown(self, theirs: Sequence[_Theirs], totals: Totals) -> dict[bytes, None]:
        """Give the codes that some other process shows."""
        showing, counts = totals.contributors, totals.counts
        found: dict[bytes, None] = {}
        for known, _ in theirs:
            shown = {code: None for code, place in known.items() if showing[place.number]}
            if self._observed:
                shown = {code: None for code in shown if counts[known[code].counts + 1] > 0}
            found |= shown
        return found

    def _admit(self, codes: Sequence[bytes], limit: int, start: int) -> None:
        """Decide which attribute sets are kept apart: over the limit the same ones, whichever process is asked."""
        new = [code for code in codes if code not in self._series]
        if len(self._series) + len(new) > limit:
            kept = set(nsmallest(limit, {*self._series, *new}))
            for code in self._series.keys() - kept:
                self._remove(code)
            new = sorted(kept.intersection(new))
        for code in new:
            if code in self._series:
                continue
            try:
                attributes = decode_attributes(code)
            except ValueError as error:
                warn_once(
                    (self._name, "code"), "A series of %s in another process is unreadable: %s", self._name, error
                )
                continue
            if self._terms.shown is not None and not self._terms.shown.take():
                return
            self._series[code] = self._new(attributes, start)


class _Theirs(NamedTuple):
    """The series of one identity."""

    known: dict[bytes, Place]
    spread: Sequence[int] | None


def _settled(places: Mapping[bytes, Place], totals: Totals) -> dict[bytes, Place]:
    """Leave out what another thread has found since the totals were read; it comes last."""
    known, size = dict(places), len(totals.contributors)
    while known:
        code, place = known.popitem()
        if place.number < size:
            known[code] = place
            break
    return known
