"""A stream: one view of one instrument, with its series. Every reader that wants it reads the same one."""

from __future__ import annotations

import os
from collections import deque
from functools import partial
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet, WeakValueDictionary

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.metrics._sdk import clean_attributes
from otelbridge.metrics.identity import encode_attributes, key_of
from otelbridge.metrics.idle import Idle
from otelbridge.metrics.limits import Terms, report_overflow
from otelbridge.metrics.merger import Merger
from otelbridge.metrics.merging import WORKER_KEY
from otelbridge.metrics.secrets import as_they_are

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

    from opentelemetry.util.types import Attributes

    from otelbridge.cells.book import Cell
    from otelbridge.cells.shape import Shape
    from otelbridge.metrics.finders import Finder
    from otelbridge.metrics.kinds import Kind
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.secrets import Hide
    from otelbridge.metrics.series import Series

OVERFLOW = {"otel.metric.overflow": True}
"""Attributes of the series that takes what is over the limit; metrics SDK specification, "Cardinality limits"."""


_MOST_CHANGES = 100
"""Series that are hidden and shown one after the other. Handlers that want more each time get it when it is read."""


class Sharing(NamedTuple):
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

    A series is shown or hidden. One that is removed, or idle for long, is hidden: readers no longer see it, and it
    counts in no limit. What it has counted stays in it and in its cell, so nothing moves while it may be recorded to.
    Its next value shows it again, as it was. It is freed when nothing refers to it any longer. A new series of the same
    attributes then goes on from the cell; without a group there is none, and it begins at zero.

    Args:
        name: Name of the stream, for reports.
        kind: How measurements are aggregated.
        keep: Attribute keys the view keeps; None keeps all.
        terms: Its limits.
        sharing: How it is shared with other processes; None keeps it to this one.
        observed: Whether values come from callbacks.
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
        self._hidden: WeakValueDictionary[bytes, Series] = WeakValueDictionary()
        self._hidden_cells: dict[bytes, Cell] = {}
        """The cells of hidden series by their code: what they hold is part of the totals of the group."""
        self._changes = 0
        """How many times a series was hidden or shown."""
        self._changing = False
        self._waiting: deque[Callable[[], object]] = deque()
        """Series to be hidden or shown as soon as the one is that is just being so."""
        self._admitted = 0
        self._overflow: Series | None = None
        self.latest_start = 0
        """When the youngest series began. A clock that was set back may be before that."""
        self.matches: list[Any] = []
        """How each reader sees the stream, as `otelbridge.metrics.readers.SharedMatch`."""
        self.finders: WeakSet[Finder] = WeakSet()
        """What remembers series."""
        # Reentrant: a signal handler or finalizer may record while this thread makes a series.
        self._lock = forks.lock()
        self._merger = None
        if sharing is not None:
            key, variants = key_of(sharing.identity), sharing.processes.variants
            self._merger = Merger(name, kind, terms, OVERFLOW, key, variants, observed=observed)
        self._idle = Idle(terms.forget_after)

    @property
    def shown(self) -> int:
        """How many attribute sets are kept apart now."""
        return len(self._series)

    @property
    def overflowing(self) -> bool:
        """Whether some measurements are counted together for want of room."""
        return self._overflow is not None or (self._merger is not None and self._merger.overflowing)

    def all(self) -> list[Series]:
        """Give every series that is shown, the overflow last."""
        if self._waiting:
            with late_warnings, self._lock:
                self._catch_up()
        found = list(self._series.values())
        return found if self._overflow is None else [*found, self._overflow]

    def merged(self) -> list[Series]:
        """Give every series of all processes together, as last read; this process' own where it is alone."""
        totals = None if self.sharing is None else self.sharing.processes.totals
        if self.sharing is None or self._merger is None or totals is None:
            return self.all()
        own, hidden = self._parts()
        if not self.sharing.shape.adds:
            hidden = {}
        return self._merger.merge(own, hidden, totals, self.sharing.processes.started)

    def _parts(self) -> tuple[dict[bytes, Series], dict[bytes, Cell]]:
        """Give what this process adds to the group: shown series, and the cells of hidden ones. One may be in both."""
        with self._lock:
            while True:
                changes = self._changes
                own = {each.code or self._code(each.attributes): each for each in self.all() if not each.silent}
                hidden = self._hidden_cells.copy()
                if changes == self._changes:  # else a signal handler has come in between
                    return own, hidden

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

        Returns:
            The series, or the overflow series when the limit is reached.
        """
        kept = self._kept(attributes)
        key = encode_attributes(kept)
        series = self._series.get(key)
        if series is not None:
            return series
        with late_warnings, self._lock:
            while True:
                changes = self._changes
                series = self._series.get(key) or self._hidden.get(key)
                if series is not None:
                    return series
                if not self._admits(kept):
                    return self._overflowing()
                made = self._make(key, kept)
                if changes == self._changes:  # else a signal handler may have counted, and hidden, the same set
                    return self._show(key, made)

    def is_overflow(self, series: Series) -> bool:
        """Tell whether a series stands for many attribute sets."""
        return series is self._overflow

    def remove(self, attributes: Attributes) -> None:
        """Hide the series of an attribute set, until it is recorded to again."""
        key = encode_attributes(self._kept(attributes))
        series = self._series.get(key)
        if series is not None:
            self._forget(key, series)

    def tidy(self) -> None:
        """Hide what is idle."""
        self._count()
        if self.terms.forget_after is None:
            return
        for key, series, seen in self._idle.look(self._series.copy(), self._state, monotonic()):
            if not (self.terms.lasting and any(seen)):
                self._forget(key, series, seen)

    def publish(self) -> None:
        """Write every cell again from its series, and give one to each series that should have one and has none.

        So what kept a cell from being had, or written, is over with the next call. Where this process has a new file,
        everything moves there.
        """
        if self.sharing is None:
            return
        for series in self.all():
            with late_warnings, series.guard(), self._lock:
                self._change(partial(self._publish, series))
            if not (series.silent or series.has_cell):
                return  # nor can the others have one
        for code, cell in self._hidden_cells.copy().items():
            with late_warnings, self._lock:
                self._change(partial(self._publish_hidden, code, cell))

    def _publish(self, series: Series) -> None:
        if not series.silent:
            self._house(series)

    def _publish_hidden(self, code: bytes, before: Cell) -> None:
        """Give a hidden series a cell in the file of this process, with what the one it had holds."""
        sharing = self.sharing
        if sharing is None or self._hidden_cells.get(code) is not before:
            return
        cell = self._place(code)
        if cell is None or cell is before:
            return
        if sharing.shape.adds:
            kept = self._new({}, 0)
            kept.load(before)
            kept.attach(cell)
        sharing.processes.retire(cell)
        self._hidden_cells[code] = cell

    def after_fork(self) -> None:
        """Begin anew in a forked child: what was counted before is the parent's."""
        self._hidden_cells = {}
        self._changing = False
        self._waiting.clear()
        self._idle = Idle(self.terms.forget_after)
        now, hidden = self._begin(), list(self._hidden.values())
        for series in (*self.all(), *hidden):
            series.clear(now)
            if self.sharing is not None and self.sharing.per_worker:
                series.code = b""  # a series of one worker is another one now
            if self.sharing is not None or series in hidden:
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

    def _admits(self, attributes: Mapping[str, Any]) -> bool:
        if len(self._series) >= self.terms.sets:
            return False
        sharing = self.sharing
        if sharing is not None and sharing.processes.crowded and self._code(attributes) not in self._hidden_cells:
            return False
        return self.terms.held is None or self.terms.held.admits()

    def _make(self, key: bytes, attributes: Mapping[str, Any]) -> Series:
        # Without a group a series begins when it is made; a group began with its first process.
        series = self._new(attributes, self._begin())
        if self.sharing is None:
            return series
        series.code = self._code(attributes) if self.sharing.per_worker else key  # the same object: there are many
        cell = self._hidden_cells.get(series.code)
        if cell is not None and not self._observed:  # what is observed is all there is
            series.load(cell)
            series.inherited = series.total()
            series.start = self.sharing.processes.started
        series.await_cell(self._enter)
        return series

    def _show(self, key: bytes, series: Series) -> Series:
        # A signal handler may have shown one since this thread looked.
        shown = self._series.setdefault(key, series)
        self._changes += 1
        self._count()
        return shown

    def _count(self) -> None:
        """Tell the quota how many series are shown. What a signal handler miscounts is put right by the next call."""
        grown = len(self._series) - self._admitted
        if grown and self.terms.held is not None:
            self._admitted += grown
            self.terms.held.add(grown)

    def _overflowing(self) -> Series:
        overflow = self._overflow
        if overflow is None:
            made = self._make(encode_attributes(OVERFLOW), OVERFLOW)
            # A signal handler may have made one, and recorded to it, meanwhile.
            overflow = self._overflow
            if overflow is None:
                self._overflow = overflow = made
                if len(self._series) >= self.terms.sets:
                    sets = [series.attributes for series in list(self._series.values())]
                    report_overflow(self.name, self.terms.sets, sets)
        return overflow

    def _state(self, series: Series) -> Any:
        return series.state()

    def _change(self, change: Callable[[], object]) -> None:
        """Hide or show a series, one at a time: what a signal handler wants in the middle of it is done right after."""
        self._waiting.append(change)
        self._catch_up()

    def _catch_up(self) -> None:
        for _ in range(_MOST_CHANGES):
            if self._changing or not self._waiting:
                return
            self._changing = True
            try:
                if self._waiting:  # a signal handler may have done it since
                    self._waiting.popleft()()
            finally:
                self._changing = False

    def _enter(self, series: Series) -> None:
        """Show a series that has taken its first value, since it was made or hidden, and give it its cell."""
        with late_warnings, self._lock:
            self._change(partial(self._bring_back, series))

    def _bring_back(self, series: Series) -> None:
        key = encode_attributes(series.attributes)
        if series is not self._overflow:
            self._show(key, series)
        self._house(series)
        self._hidden.pop(key, None)

    def _house(self, series: Series) -> None:
        """Give a series its cell, with what it has counted, if there is one to be had."""
        sharing = self.sharing
        if sharing is None:
            series.attach(None)
            return
        series.code = series.code or self._code(series.attributes)
        cell = self._place(series.code)
        series.attach(cell)
        if cell is not None and series.code in self._hidden_cells:
            # It leaves last: where an exception comes before, the next time does it again.
            sharing.processes.revive(cell)
            self._hidden_cells.pop(series.code, None)
            self._changes += 1

    def _place(self, code: bytes) -> Cell | None:
        sharing = self.sharing
        return None if sharing is None else sharing.processes.place(sharing.identity, sharing.shape, code)

    def _forget(self, key: bytes, series: Series, seen: object = None) -> None:
        """Hide a series; where `seen` is given, only if nothing was recorded since it had that state."""
        if any(match.behind for match in self.matches):
            warn_once(
                (self.name, "behind"),
                "%s keeps series it should forget until a reader of deltas has read those that were forgotten.",
                self.name,
            )
            return
        with late_warnings, series.guard(), self._lock:
            self._change(partial(self._hide, key, series, seen))
        for finder in list(self.finders):
            finder.drop((series,))

    def _needs_cell(self, series: Series) -> bool:
        """Tell whether what a series has counted would be lost to the others if it were hidden without a cell."""
        return (
            self.sharing is not None
            and self.sharing.processes.path is not None
            and not (series.silent or series.has_cell)
        )

    def _hide(self, key: bytes, series: Series, seen: object) -> None:
        if self._series.get(key) is not series:
            return
        if series.has_cell:
            self._house(series)  # since this process may have another file by now
        if self._needs_cell(series):
            return
        sharing, cell = self.sharing, series.cell if series.has_cell else None
        if cell is not None and sharing is not None:
            self._hidden_cells[series.code] = cell
            sharing.processes.retire(cell)
        self._hidden[key] = series
        # It leaves last: an exception up to here, as a signal handler may raise, leaves a series that counts.
        if series.await_cell(self._enter, None if self._observed else seen):
            # Not before, as a reader could come in between and then something more be recorded.
            for match in [*self.matches]:  # a reader may leave meanwhile
                match.part(series)
            self._series.pop(key, None)
            self._changes += 1
            self._count()
            self._idle.drop(series)
        else:  # it has been recorded to just now
            self._bring_back(series)

    def _code(self, attributes: Mapping[str, Any]) -> bytes:
        if self.sharing is not None and self.sharing.per_worker:
            attributes = {**attributes, WORKER_KEY: os.getpid()}
        return encode_attributes(attributes)
