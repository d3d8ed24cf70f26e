"""Look-ups of series: from the attributes of a call to the series they belong to, remembered within bounds."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from otelbridge.metrics.series import Series
    from otelbridge.metrics.streams import Stream

_MAX_CACHE = 10_000
_MAX_TEXT = 256
_SAFE = frozenset({str, bool, int, float, bytes})


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
    """

    __slots__ = ("__weakref__", "_by_items", "_stream", "by_schema", "fetch", "single", "width")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        stream.finders.add(self)
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
        """
        try:
            items = (*attributes.items(),)
            entry = self._by_items.get(items)
            if entry is not None and items[entry.at][1].__class__ is entry.type:
                return entry.series
            # What is looked up and what is remembered must be the same, though another thread may change the caller's.
            given = dict(items)
        except Exception:  # unhashable values, or no mapping at all: the stream says what it makes of it
            return self._stream.find(attributes)
        series = self._stream.find(given)
        if not self._stream.is_overflow(series):
            self._remember(given, items, series)
        return series

    def drop(self, gone: Collection[Series]) -> None:
        """Remember some series no longer, so that they can be freed, unless one is looked up at this very moment."""
        for cache in (self.by_schema, self._by_items):
            # Copied by one C call, since somebody may record meanwhile.
            for key, entry in cache.copy().items():
                if entry.series in gone:
                    cache.pop(key, None)

    def _remember(self, attributes: dict[str, Any], items: tuple[tuple[str, Any], ...], series: Series) -> None:
        values = [value for _, value in items]
        # Keys 1 and True are equal, but become different texts.
        if not all(key.__class__ is str and value.__class__ in _SAFE for key, value in items):
            return
        if any(value != value for value in values):  # noqa: PLR0124  # NaN
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
