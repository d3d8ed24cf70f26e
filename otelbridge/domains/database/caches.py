"""Caches."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from otelbridge.domains.database import records

if TYPE_CHECKING:
    from collections.abc import Callable


class Cache:
    """One cache; made by `cache`."""

    def __init__(self, name: str, entries: Callable[[], int] | None, memory: Callable[[], int] | None) -> None:
        attributes = {"cache.name": name}
        self._hit = {**attributes, "cache.result": "hit"}
        self._miss = {**attributes, "cache.result": "miss"}
        self._sources = ExitStack()
        if entries is not None:
            self._sources.callback(records.CACHE_ENTRY_COUNT.observe(name, entries, attributes).close)
        if memory is not None:
            self._sources.callback(records.CACHE_MEMORY_USAGE.observe(name, memory, attributes).close)

    def hit(self) -> None:
        """Count a look-up that found its entry."""
        records.CACHE_REQUESTS.record(1, self._hit)

    def miss(self) -> None:
        """Count a look-up that did not find its entry."""
        records.CACHE_REQUESTS.record(1, self._miss)

    def lookup(self, found: bool) -> None:
        """Count a look-up.

        Args:
            found: Whether the entry was there.
        """
        records.CACHE_REQUESTS.record(1, self._hit if found else self._miss)

    def close(self) -> None:
        """Stop observing size and memory. Closing twice is harmless."""
        self._sources.close()


def cache(name: str, *, entries: Callable[[], int] | None = None, memory: Callable[[], int] | None = None) -> Cache:
    """Describe a cache.

    Args:
        name: Its name. A cache of the same name replaces the sources of the earlier one.
        entries: Gives how many entries it holds, for ``cache.entry.count``; called at each collection.
        memory: Gives the bytes it occupies, for ``cache.memory.usage``; called at each collection.

    Returns:
        The cache, whose methods count its look-ups into ``cache.requests``.
    """
    return Cache(name, entries, memory)
