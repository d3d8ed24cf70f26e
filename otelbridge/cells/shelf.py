"""All books of a group seen as one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otelbridge.cells.base import State
from otelbridge.cells.catalog import Catalog, Place
from otelbridge.cells.listing import Listing
from otelbridge.cells.merging import Plan, Totals
from otelbridge.cells.names import BASE, KEYS, names_in
from otelbridge.cells.stock import Stock
from otelbridge.cells.volume import DamagedError, report
from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from otelbridge.cells.base import Base, Content
    from otelbridge.cells.book import Book
    from otelbridge.cells.volume import Volume

__all__ = ["Place", "Shelf", "Totals"]

_SETTLED_NS = 100_000_000
"""How old a directory's time of change must be, so that no later change can hide within the same clock tick."""

_TRIES = 3

_FORGET_FROM = 1000
"""Places nobody uses are forgotten from this number on, when they are also more than those in use."""


class Shelf:
    """A reader of the books of a group. Safe to use from several threads; a forked child makes its own.

    Nothing here raises because of a file: what cannot be read is reported once and left out.

    Args:
        directory: The directory of the group.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = forks.lock()
        self._stock = Stock(directory)
        self._catalog = Catalog()
        self._listings: dict[str, Listing] = {}
        self._planned: tuple[object, ...] = ()
        self._plan = Plan((), self._catalog)
        self._unchanged: tuple[object, ...] = ()

    def read(self, own: Book | None) -> Totals:
        """Merge what the living processes and the dead have counted.

        Args:
            own: The book of this process, which is left out.

        Returns:
            The merged values. They never fall from one read to the next while the stored ones rise.
        """
        with self._lock:
            self._refresh(own)
            plan = self._make_plan()
            if plan.unused > max(_FORGET_FROM, len(self._catalog.numbered) // 2):
                self._start_over()
                self._refresh(own)
                plan = self._make_plan()
            return plan.merge()

    def live(self) -> list[str]:
        """Name the books of living processes.

        Returns:
            Their uids, by age.
        """
        return [volume.uid for volume in self._living()]

    def observing(self) -> dict[str, int]:
        """Name the living processes that have observables worth a nudge.

        Returns:
            By uid, the generation of their last refresh.
        """
        return {volume.uid: volume.refreshed for volume in self._living() if volume.observing}

    def waiting(self, generations: Mapping[str, int]) -> dict[str, int]:
        """Name those who have not refreshed their observables since, without a look for new books.

        Args:
            generations: What `observing` gave, or this.

        Returns:
            Those of them that live and are at the same generation.
        """
        with self._lock:
            books = [(uid, known, self._stock.volumes.get(uid)) for uid, known in generations.items()]
            return {uid: known for uid, known, book in books if book and book.refreshed <= known and book.look()}

    def empty(self, own: Book | None) -> bool:
        """Tell whether there is nothing to read, at the cost of one system call when nothing has changed.

        Args:
            own: The book of this process, which is left out.

        Returns:
            Whether there is neither a base nor another book.
        """
        uid = None if own is None else own.uid
        try:
            status = self._directory.stat()
            state = (uid, status.st_mtime_ns, status.st_size, status.st_ino)
            if state == self._unchanged:
                return True
            nothing = not any(
                name == BASE or (name.endswith(KEYS) and name.removesuffix(KEYS) != uid)
                for name in names_in(self._directory)
            )
        except OSError:
            return not self._stock.volumes and not self.known.bodies
        if nothing and time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            self._unchanged = state
        return nothing

    @property
    def damaged(self) -> bool:
        """Whether the base is damaged, so that folding should replace it."""
        return self._stock.base.state is State.DAMAGED

    @property
    def known(self) -> Content:
        """What the last base that could be read said."""
        return self._stock.base.content

    def _living(self) -> list[Volume]:
        with self._lock:
            self._stock.scan()
            return [volume for _, volume in sorted(self._stock.volumes.items()) if volume.look()]

    def _refresh(self, own: Book | None) -> None:
        gone: list[str] = []
        for _ in range(_TRIES):
            self._stock.scan()
            listings = {BASE: self._base_listing(self._stock.base)}
            gone.clear()
            for uid, volume in sorted(self._stock.volumes.items()):
                if own is None or uid != own.uid:
                    self._take_up(volume, listings, gone)
            self._listings = listings
            if not gone:
                return
            # Folded since the scan. What it had counted is in a base that this view does not have yet.
        report("news", f"New series of the book {gone[0]} cannot be read: its files were removed")

    def _take_up(self, volume: Volume, listings: dict[str, Listing], gone: list[str]) -> None:
        """Take the news of a book into its listing."""
        # Whether the process lives is asked before its values are read: those of a dead one are final.
        volume.look()
        listing = self._listings.get(volume.uid)
        if listing is None or listing.book is not volume:
            listing = Listing(volume, self._catalog)
        listings[volume.uid] = listing
        try:
            listing.take_in(volume.news())
        except ValueError as error:
            volume.stop(str(error))
        except DamagedError as error:
            report("values", str(error))
            self._stock.drop(volume.uid)
            del listings[volume.uid]
        except FileNotFoundError:
            gone.append(volume.uid)
        except OSError as error:
            report("news", f"New series of the book {volume.uid} cannot be read now ({error})")

    def _base_listing(self, base: Base) -> Listing:
        listing = self._listings.get(BASE)
        if listing is None or listing.book is not base:
            listing = Listing(base, self._catalog)
            try:
                listing.take_in(base.content.bodies)
            except ValueError as error:
                report("base", f"The base in {self._directory} has {error}")
        return listing

    def _make_plan(self) -> Plan:
        state = tuple((listing.book, listing.version, listing.book.live) for listing in self._listings.values())
        if state != self._planned:
            self._plan = Plan(list(self._listings.values()), self._catalog)
            self._planned = state
        return self._plan

    def _start_over(self) -> None:
        """Forget places that nobody uses, by reading everything anew."""
        self._stock.close()
        self._listings = {}
        self._catalog = Catalog()
