"""A stream: one view of one instrument, with its series. Every reader that wants it reads the same one."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any
from weakref import WeakSet, WeakValueDictionary

from otelbridge.diagnostics import warn_once
from otelbridge.metrics._sdk import clean_attributes
from otelbridge.metrics.calm import Calm
from otelbridge.metrics.identity import encode_attributes, key_of
from otelbridge.metrics.idle import Idle
from otelbridge.metrics.limits import Terms, report_overflow
from otelbridge.metrics.merger import Merger
from otelbridge.metrics.merging import WORKER_KEY
from otelbridge.metrics.secrets import as_they_are
from otelbridge.metrics.transfer import add, guard, has_cell, load, resume, shed, state

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Generator, Mapping

    from opentelemetry.util.types import Attributes

    from otelbridge.cells.book import Cell
    from otelbridge.cells.shape import Shape
    from otelbridge.metrics.finders import Finder
    from otelbridge.metrics.kinds import Kind
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.secrets import Hide
    from otelbridge.metrics.series import Series

_GONE = object()

OVERFLOW = {"otel.metric.overflow": True}
"""Attributes of the series that takes what is over the limit; metrics SDK specification, "Cardinality limits"."""


@dataclass(frozen=True)
class Sharing:
    """How a stream is shared with the other processes of its group."""

    processes: Processes
    """The group."""

    identity: bytes
    """The stream, as the others know it."""

    shape: Shape
    """The slots of its series."""

    per_worker: bool
    """Whether each process keeps series of its own."""


class Stream:
    """The series of one view of one instrument.

    A series may be forgotten (`remove`, `tidy`) while somebody still has it: a bound handle, or a thread that is
    about to record. Then what it has counted is taken out of it, and its next value calls `_enter`, which brings it
    back. So there is at most one series an attribute set at any time, and none is in the way of being freed.

    Args:
        name: Name of the stream, for reports.
        kind: How measurements are aggregated.
        keep: Attribute keys the view keeps; None keeps all.
        terms: Its limits.
        sharing: How it is shared with other processes; None keeps it to this one.
        observed: Whether values come from callbacks.
        calm: Keeps those who read away from what is forgotten.
        hide: Hides what may not be shown of an attribute set.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        keep: Container[str] | None,
        terms: Terms,
        sharing: Sharing | None = None,
        *,
        observed: bool = False,
        calm: Calm | None = None,
        hide: Hide = as_they_are,
    ) -> None:
        self.name = name
        self.kind = kind
        self.sharing = sharing
        self.terms = terms
        self.hide = hide
        """Hides what may not be shown of an attribute set."""
        self._keep = keep
        self._observed = observed
        self._new = kind.new_series()
        self._series: dict[bytes, Series] = {}
        self._overflow: Series | None = None
        self.latest_start = 0
        """When the youngest series began. A clock that was set back may be before that."""
        self.matches: list[Any] = []
        """How each reader sees the stream, as `otelbridge.metrics.readers.SharedMatch`."""
        self.finders: WeakSet[Finder] = WeakSet()
        """What remembers series."""
        # Reentrant: a signal handler or finalizer may record while this thread makes a series.
        self._lock = threading.RLock()
        self._merger = None
        if sharing is not None:
            key, variants = key_of(sharing.identity), sharing.processes.variants
            self._merger = Merger(name, kind, terms, OVERFLOW, key, variants, observed=observed)
        self._idle = Idle(terms.forget_after)
        self._resting: WeakValueDictionary[object, Series] = WeakValueDictionary()
        """Forgotten series that somebody still has."""
        self._strays: dict[Series, object] = {}
        """Those of them that were recorded to while there was no room; what they count belongs to the overflow."""
        self._emptying: dict[Series, object] = {}
        """Those whose counts are on their way there. Nobody may read them meanwhile, so they cannot return."""
        self._straying: dict[Series, object] = {}
        """Those that are about to be strays."""
        self._retired: dict[bytes, Cell] = {}
        """The cells of forgotten series, which keep what was counted."""
        self._calm = calm or Calm()
        self._entering = 0
        """How many series the thread that has the lock is letting in, one within the other."""

    @property
    def held(self) -> int:
        """How many attribute sets are kept apart now."""
        return len(self._series)

    @property
    def overflowing(self) -> bool:
        """Whether some measurements are counted together for want of room."""
        return self._overflow is not None or (self._merger is not None and self._merger.overflowing)

    def all(self) -> list[Series]:
        """Give every series there is now, the overflow last."""
        self._gather()
        found = list(self._series.values())
        return found if self._overflow is None else [*found, self._overflow]

    def merged(self) -> list[Series]:
        """Give every series of all processes together, as last read; this process' own where it is alone."""
        totals = None if self.sharing is None else self.sharing.processes.totals
        if self.sharing is None or self._merger is None or totals is None:
            return self.all()
        own = {series.code or self._code(series.attributes): series for series in self.all() if not series.silent}
        retired = self._retired if self.sharing.shape.adds else {}
        found = self._merger.merge(own, retired, totals, self.sharing.processes.started)
        for series in self._merger.gone():
            for match in self.matches:
                match.release(series)
        return found

    def close(self) -> None:
        """Show nothing of other processes any longer, so that other streams have the room."""
        if self._merger is not None:
            self._merger.close()

    def origin(self, series: Series) -> Series | None:
        """Give this process' own series of the same attributes as a merged one, if there is one."""
        attributes = series.attributes
        if self.sharing is not None and self.sharing.per_worker:
            attributes = {key: value for key, value in attributes.items() if key != WORKER_KEY}
        own = self._series.get(encode_attributes(attributes))
        return self._overflow if own is None and attributes == OVERFLOW else own

    def find(self, attributes: Attributes) -> Any:
        """Find or make the series of an attribute set. The slow way; a `Finder` remembers what it gave.

        Args:
            attributes: What the caller gave; None means no attributes.

        Returns:
            The series, or the overflow series when the limit is reached.
        """
        kept = self._kept(attributes)
        key = encode_attributes(kept)
        series = self._series.get(key)
        if series is not None:
            return series
        self._gather()
        with self._lock:
            series = self._series.get(key)
            if series is not None:
                return series
            series = self._resting.get(key)
            # One that counts for the overflow at this very moment goes on doing so until that is over.
            if any(series in each for each in (self._straying, self._strays, self._emptying)) or not self._admit(kept):
                return self._overflowing()
            return self._insert(key, self._make(kept)) if series is None else self._return(key, series)

    def is_overflow(self, series: Series) -> bool:
        """Tell whether a series stands for many attribute sets."""
        return series is self._overflow

    def remove(self, attributes: Attributes) -> None:
        """Forget the series of an attribute set, until somebody records to it again.

        Args:
            attributes: The attribute set; what the view leaves out does not matter.
        """
        key = encode_attributes(self._kept(attributes))
        series = self._series.get(key)
        if series is not None:
            self._forget(key, series)

    def tidy(self) -> None:
        """Do what takes a look now and then: forget what nobody records to."""
        self._gather()
        if self.terms.forget_after is None:
            return
        for key, series, seen in self._idle.look(self._series.copy(), self._state, monotonic()):
            if not (self.terms.lasting and any(seen)):
                self._forget(key, series, seen)

    def after_fork(self) -> None:
        """Begin anew in a forked child: what was counted before is the parent's."""
        self._lock = threading.RLock()
        self._retired = {}
        self._entering = 0
        # Forgotten ones too: one that another thread was just about to empty, or to enter, has the parent's counts.
        outside = {**self._straying, **self._strays, **self._emptying, **dict.fromkeys(self._resting.values())}
        self._straying, self._strays, self._emptying = {}, {}, {}
        self._idle = Idle(self.terms.forget_after)
        now = self._begin()
        for series in (*self.all(), *outside):
            series.clear(now)
            if series in outside or (self.sharing is not None and self.sharing.per_worker):
                series.code = b""  # a series of one worker is another one now
            if series in outside or self.sharing is not None:
                series.await_cell(self._enter)

    def _begin(self) -> int:
        now = time_ns()
        self.latest_start = max(self.latest_start, now)
        return now

    def _kept(self, attributes: Attributes) -> Mapping[str, Any]:
        cleaned = clean_attributes(attributes)
        if self._keep is not None:
            cleaned = {key: value for key, value in cleaned.items() if key in self._keep}
        return self.hide(cleaned)

    def _make(self, attributes: Mapping[str, Any]) -> Series:
        # Whoever is alone began when its series did; a group began with its first process.
        series = self._new(attributes, self._begin())
        if self.sharing is not None:
            series.await_cell(self._enter)
        return series

    def _admit(self, attributes: Mapping[str, Any]) -> bool:
        if len(self._series) >= self.terms.sets:
            return False
        sharing = self.sharing
        if sharing is not None and sharing.processes.crowded and self._code(attributes) not in self._retired:
            return False
        return self.terms.held is None or self.terms.held.take()

    def _insert(self, key: bytes, series: Series) -> Series:
        if self.sharing is not None and not self.sharing.per_worker:
            series.code = key  # the same object, as there may be very many
        # A signal handler may have made one since this thread looked.
        winner = self._series.setdefault(key, series)
        if winner is not series:
            self._give_back()
        return winner

    def _return(self, key: bytes, series: Series) -> Series:
        winner = self._series.setdefault(key, series)
        if self._resting.pop(key, None) is not series:  # a signal handler was quicker
            self._give_back()
        if self._strays.pop(series, _GONE) is not _GONE:  # or found no room, as this took it
            self._house(series)
        return winner

    def _give_back(self) -> None:
        if self.terms.held is not None:
            self.terms.held.add(-1)

    def _overflowing(self) -> Series:
        overflow = self._overflow
        if overflow is None:
            made = self._make(OVERFLOW)
            # A signal handler may have made one, and recorded to it, meanwhile.
            overflow = self._overflow
            if overflow is None:
                self._overflow = overflow = made
                if len(self._series) >= self.terms.sets:
                    sets = [series.attributes for series in list(self._series.values())]
                    report_overflow(self.name, self.terms.sets, sets)
        return overflow

    def _state(self, series: Series) -> Any:
        return state(series)

    def _enter(self, series: Series) -> None:
        """Let a series count that has waited for its first value, since it was made or forgotten."""
        with self._lock, self._undisturbed():
            if self._regain(series):
                self._house(series)
        self._calm.catch_up()

    @contextmanager
    def _undisturbed(self) -> Generator[None]:
        """Put off what a signal handler or finalizer of this thread, which has the lock, wants forgotten meanwhile."""
        self._entering += 1
        try:
            yield
        finally:
            self._entering -= 1

    def _regain(self, series: Series) -> bool:
        """Give a series its place among the others again; without room, it counts for the overflow.

        A signal handler or finalizer may record to the same series at any point, and so do the same first.

        Returns:
            Whether it has its place.
        """
        key = encode_attributes(series.attributes)
        if series is self._overflow or self._series.get(key) is series:
            return True
        if series in self._straying or series in self._strays:
            return False
        for match in self.matches:
            match.begin(series)
        room = self._admit(series.attributes)
        holder = self._series.get(key)
        if holder is None and room:
            if self.sharing is None:
                series.start = self._begin()
            self._return(key, series)
            return True
        if room:
            self._give_back()
        if holder is series:
            return True
        self._overflowing()
        if series.silent:
            self._straying[series] = None  # not to be emptied before it is attached
            series.attach(None)
            self._strays[series] = None
            self._straying.pop(series, None)
        return False

    def _house(self, series: Series) -> None:
        """Give a series that has its place its cell, with what was counted before."""
        with self._undisturbed():
            if series.silent:
                self._settle(series)
            elif self.sharing is not None and not has_cell(series):
                # A signal handler made it a stray meanwhile. What it has counted since comes on top of that.
                since = self._new(series.attributes, series.start)
                shed(series, since, self._enter)
                self._settle(series)
                add(series, since)

    def _settle(self, series: Series) -> None:
        sharing = self.sharing
        if sharing is None:
            series.attach(None)
            return
        series.code = series.code or self._code(series.attributes)
        cell = self._retired.get(series.code)
        if cell is None:
            series.attach(self._cell(series))
            return
        sharing.processes.revive(cell)
        if self._observed:
            series.attach(cell)  # what is observed is all there is
        else:
            before = self._new(series.attributes, series.start)
            load(before, cell)
            if series.silent:
                for match in self.matches:
                    match.go_on(series, before)
                series.start = sharing.processes.started
            resume(series, before, cell)
        # Last: a signal handler in between finds the cell, too.
        self._retired.pop(series.code, None)

    def _forget(self, key: bytes, series: Series, seen: object = None) -> None:
        """Forget a series; where `seen` is given, only if nothing was recorded since it had that state."""
        if any(match.behind for match in self.matches):
            warn_once(
                (self.name, "behind"),
                "%s keeps series it should forget until a reader of deltas has read those that were forgotten.",
                self.name,
            )
            return
        self._forget_in_calm(key, series, seen)
        self._calm.catch_up()

    def _forget_in_calm(self, key: bytes, series: Series, seen: object) -> None:
        def later() -> Callable[[], None]:
            return partial(self._forget_in_calm, key, series, self._state(series) if seen is None else seen)

        with guard(series), self._lock:
            if self._entering:  # this very thread, before a signal handler or finalizer came in between
                self._calm.put_off(later())
                return
            with self._calm.disturbing(later) as now:
                if now and self._series.get(key) is series:
                    self._let_go(key, series, seen)
        for finder in list(self.finders):
            finder.drop((series,))

    def _let_go(self, key: bytes, series: Series, seen: object) -> None:
        # A signal handler or finalizer may record to it, and so bring it back, at any point. So everything is
        # prepared for that before the series is emptied.
        ghost = self._new(series.attributes, series.start)
        if self._state(series) != self._state(ghost):
            self._house(series)  # it may be on its way to its cell, which keeps what it has counted
        before = self._state(series)
        cell = self._cell(series) if has_cell(series) else None
        if cell is None and self.sharing is not None and seen is None:
            seen = before  # whoever records to it from now on gives it a cell, which had to be kept
        if cell is not None and self.sharing is not None:
            self._retired[series.code] = cell
            self.sharing.processes.retire(cell)
        for match in self.matches:
            match.part(series, ghost)
        self._resting[key] = series
        self._series.pop(key, None)
        if shed(series, ghost, self._enter, None if self._observed else seen):
            self._give_back()
            self._idle.drop(series)
            for match in self.matches:
                match.release(ghost)
            return
        # Somebody has recorded to it just now.
        self._return(key, series)
        for match in self.matches:
            match.take_back(series, ghost)
        if cell is not None and self.sharing is not None:
            self.sharing.processes.revive(cell)
            self._retired.pop(series.code, None)

    def _cell(self, series: Series) -> Cell | None:
        sharing = self.sharing
        return None if sharing is None else sharing.processes.place(sharing.identity, sharing.shape, series.code)

    def _gather(self) -> None:
        """Move into the overflow what was recorded to forgotten series while there was no room for them."""
        while self._strays:
            for series in list(self._strays):
                self._empty(series)

    def _empty(self, series: Series) -> None:
        ghost = self._new(OVERFLOW, series.start)
        with guard(series), self._lock:
            self._emptying[series] = None
            # Another thread, or a signal handler in between, may have it by now.
            mine = self._strays.pop(series, _GONE) is not _GONE
            if mine:
                shed(series, ghost, self._enter)
            self._emptying.pop(series, None)
        if not mine:
            return
        overflow = self._overflowing()
        with guard(overflow):
            if overflow.silent:
                self._enter(overflow)
            add(overflow, ghost)

    def _code(self, attributes: Mapping[str, Any]) -> bytes:
        if self.sharing is not None and self.sharing.per_worker:
            attributes = {**attributes, WORKER_KEY: os.getpid()}
        return encode_attributes(attributes)
