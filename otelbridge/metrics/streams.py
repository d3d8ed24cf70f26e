"""A stream: one view of one instrument, with its series. Every reader that wants it reads the same one."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from operator import itemgetter
from time import time_ns
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.metrics._sdk import attribute_key, clean_attributes
from otelbridge.metrics.identity import encode_attributes
from otelbridge.metrics.merging import WORKER_KEY, Merger

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from opentelemetry.util.types import Attributes

    from otelbridge.cells.shape import Shape
    from otelbridge.metrics.kinds import Kind
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.series import Series

OVERFLOW = {"otel.metric.overflow": True}
"""Attributes of the series that takes what is over the limit; metrics SDK specification, "Cardinality limits"."""

DEFAULT_LIMIT = 2000
"""Attribute sets a stream keeps apart by default; the same section."""

_MAX_CACHE = 10_000
_MAX_TEXT = 256
_SAFE = frozenset({str, bool, int, float, bytes})


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

    Args:
        name: Name of the stream, for reports.
        kind: How measurements are aggregated.
        keep: Attribute keys the view keeps; None keeps all.
        limit: How many attribute sets are kept apart before the rest goes into one overflow series.
        sharing: How it is shared with other processes; None keeps it to this one.
        observed: Whether values come from callbacks.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        keep: Container[str] | None,
        limit: int,
        sharing: Sharing | None = None,
        *,
        observed: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.sharing = sharing
        self._keep = keep
        self._limit = limit
        self._new = kind.new_series()
        self._series: dict[object, Series] = {}
        self._overflow: Series | None = None
        self.matches: list[Any] = []
        """How each reader sees the stream."""
        # Reentrant: a signal handler or finalizer may record while this thread makes a series.
        self._lock = threading.RLock()
        self._merger = None if sharing is None else Merger(name, kind, limit, OVERFLOW, observed=observed)

    def all(self) -> list[Series]:
        """Give every series there is now, the overflow last."""
        found = list(self._series.values())
        return found if self._overflow is None else [*found, self._overflow]

    def merged(self) -> list[Series]:
        """Give every series of all processes together, as last read; this process' own where it is alone."""
        totals = None if self.sharing is None else self.sharing.processes.totals
        if self.sharing is None or self._merger is None or totals is None:
            return self.all()
        own = {series.code or self._code(series): series for series in self.all() if not series.silent}
        return self._merger.merge(own, totals, self.sharing.identity, self.sharing.processes.started)

    def origin(self, series: Series) -> Series:
        """Give this process' own series behind a merged one, or itself."""
        return series if self._merger is None else self._merger.origin(series)

    def find(self, attributes: Attributes) -> Any:
        """Find or make the series of an attribute set. The slow way; `Finder` remembers what it gave.

        Args:
            attributes: What the caller gave; None means no attributes.

        Returns:
            The series, or the overflow series when the limit is reached.
        """
        cleaned = clean_attributes(attributes)
        if self._keep is not None:
            cleaned = {key: value for key, value in cleaned.items() if key in self._keep}
        key = attribute_key(cleaned)
        series = self._series.get(key)
        if series is not None:
            return series
        with self._lock:
            if len(self._series) < self._limit:
                return self._series.setdefault(key, self._make(cleaned))
            if self._overflow is None:
                self._overflow = self._make(OVERFLOW)
                self._report_overflow()
            return self._overflow

    def is_overflow(self, series: Series) -> bool:
        """Tell whether a series stands for many attribute sets."""
        return series is self._overflow

    def after_fork(self) -> None:
        """Begin anew in a forked child: what was counted before is the parent's."""
        self._lock = threading.RLock()
        now = time_ns()
        for series in self.all():
            series.clear(now)
            if self.sharing is not None:
                series.code = b""  # a series of one worker is another one now
                series.await_cell(self._settle)

    def _make(self, attributes: Any) -> Series:
        # Whoever is alone began when its series did; a group began with its first process.
        series = self._new(attributes, time_ns())
        if self.sharing is not None:
            series.await_cell(self._settle)
        return series

    def _settle(self, series: Series) -> None:
        sharing = self.sharing
        if sharing is not None:
            series.code = self._code(series)
            series.attach(sharing.processes.place(sharing.identity, sharing.shape, series.code))

    def _code(self, series: Series) -> bytes:
        attributes = series.attributes
        if self.sharing is not None and self.sharing.per_worker:
            attributes = {**attributes, WORKER_KEY: os.getpid()}
        return encode_attributes(attributes)

    def _report_overflow(self) -> None:
        values: dict[str, set[str]] = {}
        for series in self._series.values():
            for key, value in series.attributes.items():
                values.setdefault(key, set()).add(repr(value))
        worst = max(values, key=lambda key: len(values[key]), default="none")
        warn_once(
            (self.name, "overflow"),
            "%s has reached its limit of %d attribute sets; further ones are counted together under "
            "otel.metric.overflow=true. The attribute with the most values is %s. Leave it out by a view, or raise "
            "the limit.",
            self.name,
            self._limit,
            worst,
        )


class Entry:
    """What a look-up yields: the series, and what its attribute values must be besides equal.

    True, 1 and 1.0 are equal and hash alike, but are different attribute values. So an entry knows the
    position and exact type of the one value that is no string.
    """

    __slots__ = ("at", "series", "type")

    def __init__(self, series: Any, at: int, type: type) -> None:  # noqa: A002
        self.series = series
        self.at = at
        self.type = type


class Finder:
    """Remembers which series an attribute set belongs to, in two ways.

    The first attribute keys seen become the schema: their values are fetched by one C call, whatever the
    order they were given in. Sets with other keys are remembered by their items. Sets with two or more
    values that are no strings, and values that cannot be remembered safely, are looked up each time.

    Args:
        stream: Where series come from.
    """

    __slots__ = ("_by_items", "_stream", "by_schema", "fetch", "single", "width")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._by_items: dict[object, Entry] = {}
        self.by_schema: dict[object, Entry] = {}
        """Entries by the values of the schema's keys; the value itself where there is one key."""
        self.fetch: Callable[[Any], Any] | None = None
        """Gives the values of the schema's keys; None until a schema is learned."""
        self.width = -1
        """How many keys the schema has."""
        self.single = False
        """Whether it has one."""

    def find(self, attributes: Any) -> Any:
        """Find the series of an attribute set, and remember it where that is safe.

        Args:
            attributes: A non-empty mapping, or whatever the caller gave instead.

        Returns:
            The series.
        """
        try:
            items = (*attributes.items(),)
            entry = self._by_items.get(items)
        except Exception:  # unhashable values, or no mapping at all: the stream says what it makes of it
            return self._stream.find(attributes)
        if entry is not None and items[entry.at][1].__class__ is entry.type:
            return entry.series
        series = self._stream.find(attributes)
        if attributes.__class__ is dict and not self._stream.is_overflow(series):
            self._remember(attributes, items, series)
        return series

    def _remember(self, attributes: dict[str, Any], items: tuple[tuple[str, Any], ...], series: Series) -> None:
        values = [value for _, value in items]
        if not all(value.__class__ in _SAFE for value in values) or any(value != value for value in values):  # noqa: PLR0124
            return
        if sum(value.__class__ is not str for value in values) > 1:
            return
        # A view may drop what a client sends, and then ever new texts belong to few series. They are forgotten
        # beyond `_MAX_CACHE`, and not remembered at all where they are long.
        if any(value.__class__ is str and len(value) > _MAX_TEXT for value in values):
            return
        if self.fetch is None:
            self.width = len(items)
            self.single = len(items) == 1
            self.fetch = itemgetter(*attributes)  # last, since whoever sees it relies on the others
        if len(items) == self.width:
            try:
                fetched = self.fetch(attributes)
            except KeyError:
                pass
            else:
                _put(self.by_schema, fetched, series, (fetched,) if self.single else fetched)
                return
        _put(self._by_items, items, series, tuple(values))


def _put(cache: dict[object, Entry], key: object, series: Series, values: tuple[Any, ...]) -> None:
    if len(cache) >= _MAX_CACHE:
        cache.clear()
    at = next((at for at, value in enumerate(values) if value.__class__ is not str), 0)
    cache[key] = Entry(series, at, values[at].__class__)
