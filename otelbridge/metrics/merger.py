"""The series of one stream over all processes."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.metrics.identity import decode_attributes
from otelbridge.metrics.idle import Idle
from otelbridge.metrics.merging import MERGERS
from otelbridge.metrics.series import unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otelbridge.cells.book import Cell
    from otelbridge.cells.shelf import Place, Totals
    from otelbridge.metrics.kinds import Kind
    from otelbridge.metrics.limits import Terms
    from otelbridge.metrics.merging import Parts
    from otelbridge.metrics.series import Series


class Merger:
    """The series of one stream over all processes.

    Args:
        name: Name of the stream, for reports.
        kind: How measurements are aggregated.
        terms: The limits of the stream.
        overflow: Attributes of the series that takes the rest.
        observed: Whether values come from callbacks; see `shape_of`.
    """

    def __init__(self, name: str, kind: Kind, terms: Terms, overflow: Mapping[str, Any], *, observed: bool) -> None:
        self._name = name
        self._terms = terms
        self._overflow = overflow
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
        self._gone: list[Series] = []
        self.overflowing = False
        """Whether there were more attribute sets than are kept apart when they were last merged."""

    def gone(self) -> list[Series]:
        """Give the merged series that no process shows any longer, once."""
        gone, self._gone = self._gone, []
        return gone

    def merge(
        self, own: Mapping[bytes, Series], retired: Mapping[bytes, Cell], totals: Totals, identity: bytes, start: int
    ) -> list[Series]:
        """Merge this process' series with those of the others.

        Args:
            own: The series that have a value here, by their code.
            retired: The cells of those that were forgotten here, and still add what they had counted.
            totals: What the others have.
            identity: Which stream of theirs.
            start: When the first of them all began, in nanoseconds since the epoch.

        Returns:
            One series an attribute set, in the order of their first appearance. They are the same objects
            the next time, with newer values, as long as some process shows them.
        """
        known = totals.places.get(identity, {})
        places = self._shown(known, totals)
        mine: Callable[[bytes], Series | None] = partial(self._mine, own, retired) if retired else own.get
        theirs = known.get  # hidden or not, all that was ever counted stays in the total

        def parts(code: bytes) -> Parts:
            return [(mine(code), theirs(code))]

        if self._asleep:
            self._leave_asleep(own, places, parts, totals)
        self._drop(own, places)
        self._admit(own, start)
        self._admit(places, start)
        # This loop is what merging costs, so it does what `parts` does without the call.
        merge = self._merge
        found = {
            code: series for code, series in self._series.items() if merge(series, [(mine(code), theirs(code))], totals)
        }
        shown = self._let_sleep(found, own) if self._forgets else list(found.values())
        rest = (own.keys() | places.keys()) - self._series.keys() - self._asleep.keys()
        self.overflowing = bool(rest)
        if rest:
            if self._rest is None:
                self._rest = self._new(self._overflow, start)
            if self._merge(self._rest, [part for code in rest for part in parts(code)], totals):
                shown.append(self._rest)
        return shown

    def _leave_asleep(
        self, own: Mapping[bytes, Series], places: dict[bytes, Place], parts: Callable[[bytes], Parts], totals: Totals
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

    def _mine(self, own: Mapping[bytes, Series], retired: Mapping[bytes, Cell], code: bytes) -> Series | None:
        mine, cell = own.get(code), retired.get(code)
        if mine is None and cell is not None:
            mine = self._new({}, 0)
            mine.load(cell)
        return mine

    def _drop(self, own: Mapping[bytes, Series], places: Mapping[bytes, Place]) -> None:
        for code in self._series.keys() - own.keys() - places.keys():
            self._remove(code)

    def _remove(self, code: bytes) -> None:
        series = self._series.pop(code)
        self._idle.drop(series)
        self._gone.append(series)
        if self._terms.shown is not None:
            self._terms.shown.add(-1)

    def _shown(self, known: Mapping[bytes, Place], totals: Totals) -> dict[bytes, Place]:
        showing = totals.contributors
        found = {code: place for code, place in known.items() if showing[place.number]}
        if not self._observed:
            return found
        return {code: place for code, place in found.items() if totals.counts[place.counts + 1] > 0}

    def _admit(self, codes: Any, start: int) -> None:
        for code in codes:
            if code in self._series or len(self._series) >= self._terms.sets:
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
