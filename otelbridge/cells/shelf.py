"""All books of a group seen as one."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from otelbridge.cells.base import Base, load
from otelbridge.cells.locks import held
from otelbridge.cells.merge import Place, Plan, Totals
from otelbridge.cells.names import BASE, FOLDER, KEYS, lineage, uids_in
from otelbridge.cells.private import opened
from otelbridge.cells.volume import DamagedError, Volume, report
from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from otelbridge.cells.base import Content
    from otelbridge.cells.book import Book
    from otelbridge.cells.private import Directory

__all__ = ["Place", "Shelf", "Totals"]

_SETTLED_NS = 100_000_000
"""How old a directory's time of change must be, so that no later change can hide within the same clock tick."""

_TRIES = 3
_WAIT = 0.5


class Shelf:
    """A reader of the books of a group. A forked child makes its own.

    Safe to use from several threads, and from a signal handler that interrupts it. When an exception ends a read, for
    instance one that such a handler raises, the next one misses nothing.

    Nothing here raises because of a file: what cannot be read is reported once and left out.
    """

    def __init__(self, directory: Directory | Path) -> None:
        self._directory = opened(directory)
        # Reentrant: a signal handler may read while this thread does.
        self._lock = forks.lock()
        self._busy = False
        self._base = Base(self._directory / BASE)
        self._volumes: dict[str, Volume] = {}
        self._plan = Plan(())
        self._planned: tuple[object, ...] = ()
        self._unchanged: tuple[object, ...] = ()

    def reopen(self, directory: Directory | Path) -> None:
        """Go on with another directory of the group, for instance because the first one was removed.

        What the last base said stays, and is written by who folds next, unless there is a base in the new one.
        """
        with self._alone() as shelf:
            shelf._directory = opened(directory)
            gone = DamagedError("it is in another directory") if self.known.bodies else None
            shelf._base = Base(shelf._directory / BASE, self.known, trouble=gone)

    def read(self, own: Book | None) -> Totals:
        """Merge what the living processes and the dead have counted, but for the book of this process.

        Returns:
            The merged values. They never fall from one read to the next while the stored ones rise.
        """
        with self._alone() as shelf:
            return shelf._read("" if own is None else lineage(own.uid))

    def live(self) -> list[str]:
        """Give the uids of the books of living processes, by age."""
        with self._alone() as shelf:
            return [volume.uid for volume in shelf._living()]

    def observing(self) -> dict[str, int]:
        """Give the living processes with observables worth a nudge: by uid, the generation of their last refresh."""
        with self._alone() as shelf:
            return {volume.uid: volume.refreshed for volume in shelf._living() if volume.observing}

    def waiting(self, generations: Mapping[str, int]) -> dict[str, int]:
        """Name those who have not refreshed their observables since, without a look for new books.

        Args:
            generations: What `observing` gave, or this.

        Returns:
            Those of them that live and are at the same generation.
        """
        with self._alone() as shelf:
            books = [(uid, known, shelf._volumes.get(uid)) for uid, known in generations.items()]
            return {uid: known for uid, known, book in books if book and book.look() and book.refreshed <= known}

    def empty(self, own: Book | None) -> bool:
        """Tell whether there is neither a base nor another book, by one system call when nothing has changed."""
        line, uid = ("", None) if own is None else (lineage(own.uid), own.uid)
        # What was read of others is still there when their files were removed.
        if self.known.bodies or any(lineage(other) != line for other in list(self._volumes)):
            return False
        try:
            status = self._directory.stat()
            state = (uid, status.st_mtime_ns, status.st_size, status.st_ino)
            if state == self._unchanged:
                return True
            nothing = not any(
                name == BASE or (name.endswith(KEYS) and name.removesuffix(KEYS) != uid)
                for name in self._directory.names()
            )
        except OSError:
            return True
        if nothing and time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            self._unchanged = state
        return nothing

    @property
    def damaged(self) -> bool:
        """Whether the base is damaged or gone, so that folding should replace it."""
        return isinstance(self._base.trouble, DamagedError)

    @property
    def known(self) -> Content:
        """What the last base that could be read said."""
        return self._base.content

    @contextmanager
    def _alone(self) -> Generator[Shelf]:
        """Give the shelf that may be used now: another one where this thread was interrupted while it used this one."""
        with late_warnings, self._lock:
            if self._busy:
                other = Shelf(self._directory)
                other._base = self._base
                yield other
                return
            try:
                self._busy = True
                yield self
            finally:
                self._busy = False

    def _living(self) -> list[Volume]:
        self._scan()
        return [volume for _, volume in sorted(self._volumes.items()) if volume.look()]

    def _read(self, own: str) -> Totals:
        gone = ""
        for _ in range(_TRIES):
            self._scan()
            gone = self._take_news(own)
            if not gone:
                break
            # Folded since the scan. What it had counted is in a base that this view does not have yet.
        if gone:
            report("news", f"New series of the book {gone} cannot be read: its files were removed")
        volumes = sorted(self._volumes.items())
        books = [self._base, *(volume for uid, volume in volumes if lineage(uid) != own)]
        planned = tuple((book, book.version, book.live) for book in books)
        if planned != self._planned:
            self._plan, self._planned = Plan(books), planned
        return self._plan.merge()

    def _scan(self) -> None:
        """Bring the base and the volumes up to date, so that each book is counted once.

        When the system cannot list or open now, they stay as they were, which is a view that was right once.
        """
        try:
            for _ in range(_TRIES):
                if self._look():
                    return
            # They fold faster than this process can look, so they have to wait for once.
            with held(self._directory / FOLDER, shared=True, wait=_WAIT):
                self._look()
        except FileNotFoundError:
            report("directory", f"The directory {self._directory} was removed")
        except OSError as error:
            report("scan", f"The directory {self._directory} cannot be read now ({error})")

    def _look(self) -> bool:
        """One try; whether nothing was folded meanwhile."""
        base = self._base if self._base.is_current() else load(self._directory / BASE, self.known)
        folded = base.content.folded
        # Of the books of one process the youngest takes the place of the others.
        latest = {lineage(uid): uid for uid in sorted(uids_in(self._directory) - folded)}
        present = set(latest.values())
        missing = [uid for uid in sorted(present - self._volumes.keys()) if not self._open(uid)]
        if not base.is_current():
            return False
        self._base = base
        for uid in self._volumes.keys() - present:
            # A book whose files were removed by somebody else still is a living process' book.
            if uid in folded or lineage(uid) in latest or not self._volumes[uid].look():
                self._volumes.pop(uid).close()
        if missing:
            report("values file", f"The book {missing[0]} in {self._directory} has no values file")
        return True

    def _open(self, uid: str) -> bool:
        """Open a book; false when a file of it is gone: mostly because it was folded since it was listed."""
        try:
            self._volumes[uid] = Volume.open(self._directory, uid)
        except FileNotFoundError:
            return False
        except (OSError, DamagedError) as error:
            report(f"book {type(error).__name__}", f"The book {uid} in {self._directory} cannot be read: {error}")
        return True

    def _take_news(self, own: str) -> str:
        """Take the news of all books but one's own; the name of one whose files are gone."""
        gone = ""
        for uid, volume in list(self._volumes.items()):
            try:
                if lineage(uid) != own:
                    volume.update()
            except DamagedError as error:
                report("values", str(error))
                self._volumes.pop(uid).close()
            except FileNotFoundError:
                gone = uid
            except OSError as error:
                report("news", f"New series of the book {uid} cannot be read now ({error})")
        return gone
