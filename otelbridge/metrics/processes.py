"""The group of processes this one belongs to, as the data plane sees it.

Owns the book this process publishes in and reads those of the others. Nothing here raises at run time:
where there is no usable directory, or no room left in it, values stay in private memory and `degraded`
says why.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from otelbridge.cells.book import Book
from otelbridge.cells.directory import user_directory
from otelbridge.cells.evidence import GROUP_VARIABLE, Membership, begin_anew, group_of
from otelbridge.cells.folding import fold
from otelbridge.cells.group import GroupDirectory, enter_deserted, group_directory, remove_group, remove_orphans
from otelbridge.cells.lead import Lead
from otelbridge.cells.nudge import ring
from otelbridge.cells.shelf import Shelf
from otelbridge.concurrency import forks
from otelbridge.diagnostics import warn_once
from otelbridge.metrics.keeper import Keeper
from otelbridge.metrics.variants import Variants

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otelbridge.cells.book import Cell
    from otelbridge.cells.shape import Shape
    from otelbridge.cells.shelf import Totals
    from otelbridge.metrics.registry import StreamRegistry

_PATIENCE = 0.1
"""Seconds a reader waits for what other processes observe."""

_POLL, _LONGEST_POLL = 0.0005, 0.004

_MANY_DEAD = 8
"""Ended processes from which on a reader folds them at once, as each costs it a little every time."""

_MAX_CELLS = 200_000
"""Cells a process has at most, those of forgotten series included: four times the series it holds by default."""

REASONS = {
    errno.ENOSPC: "no_room",
    errno.EDQUOT: "no_room",
    errno.ENOMEM: "no_room",
    errno.EACCES: "no_right",
    errno.EPERM: "no_right",
    errno.EROFS: "no_right",
    errno.EMFILE: "no_descriptors",
    errno.ENFILE: "no_descriptors",
}
"""Why a process counts for itself, by the system's error; for any other ``_OTHER``."""

_SWEEP = 3600.0
"""Seconds between looks for what groups that are long over have left."""


class Processes:
    """The processes of one service on this machine that are seen as one.

    Args:
        service: The service's name.
        directory: Where the group's files go; None takes the best place there is.
    """

    joined = True
    """Whether this process and those it forks off are of the group."""

    def __init__(self, service: str, directory: Path | None = None) -> None:
        self.totals: Totals | None = None
        """What the other processes had when they were last read; None while this one is alone."""
        self.variants = Variants()
        """Finds in them the streams that are one."""
        self.started = time.time_ns()
        """When the group began, in nanoseconds since the epoch."""
        self.degraded = ""
        """Why this process counts for itself; empty while it does not."""
        self.reason = ""
        """The same in a word that can be an attribute: one of `REASONS`."""
        self.folded = 0
        """How many ended processes this one has added to the group's base."""
        self.membership: Membership | None = None
        """How this process came to its group; None where it has none."""
        self._directory: GroupDirectory | None = None
        self._shelf: Shelf | None = None
        self._book: Book | None = None
        self._replaced: Book | None = None
        self._keeper: Keeper | None = None
        # Reentrant: a signal handler may record while this thread opens the book.
        self._lock = forks.lock()
        self._leads: dict[str, Lead] = {}
        self._cells = 0
        self._setting = directory
        self._published: StreamRegistry | None = None
        self._restored: list[Callable[[], object]] = []
        self._trouble: Exception | None = None
        self._closed = False
        self._owed: set[str] = set()
        self._swept = -_SWEEP
        self._join(service, directory)

    @property
    def live(self) -> int:
        """How many other processes of the group were running when they were last read."""
        return 0 if self.totals is None else self.totals.live

    @property
    def crowded(self) -> bool:
        """Whether this process has so many cells that there may be no more."""
        return self._cells >= _MAX_CELLS

    @property
    def accompanied(self) -> bool:
        """Whether the group has, or had, other processes."""
        return not self._alone()

    @property
    def group(self) -> str:
        """Name of the group; empty where this process has none."""
        return "" if self.membership is None else self.membership.name

    @property
    def directory(self) -> GroupDirectory | None:
        """The group's directory, as long as this process is in it; None where it has none."""
        return self._directory

    @property
    def path(self) -> Path | None:
        """Where the group's directory is."""
        return None if self._directory is None else self._directory.path

    @property
    def identity(self) -> str:
        """What tells the group from every other, also from one of the same name before it; empty without one."""
        return f"{self.group} {self.started}" if self.group else ""

    def watch(self, observe: Callable[[], None], observing: Callable[[], bool], published: StreamRegistry) -> None:
        """Learn how to have observables observed, and what to see to every few seconds.

        Args:
            observe: Runs all callbacks and publishes what they observe.
            observing: Tells whether there are any.
            published: The series of this process.
        """
        self._published = published
        if self._keeper is not None:
            self._keeper.watch(observe, observing)

    def on_restore(self, call: Callable[[], object]) -> None:
        """Have a function called whenever the directory, which was removed, was made anew: nothing is in it."""
        self._restored.append(call)

    def attend(self) -> None:
        """See to it that observables are published, from the process' first second on."""
        if self._keeper is not None and not self._closed:
            self._keeper.start()

    def place(self, identity: bytes, shape: Shape, code: bytes) -> Cell | None:
        """Give a series of this process its cell.

        Returns:
            The cell; None where there is none to be had, which `degraded` then explains.
        """
        try:
            book = self._open()
            if book is None:
                return None
            cell = book.place(identity, shape, code)
        except (OSError, ValueError) as error:
            self._degrade(error)
            return None
        self._cells = max(self._cells, cell.number + 1)
        return cell

    def retire(self, cell: Cell) -> None:
        """Tell the others that this process has forgotten a series."""
        self._note(Book.retire, cell)

    def revive(self, cell: Cell) -> None:
        """Tell the others that this process has a forgotten series again."""
        self._note(Book.revive, cell)

    def _note(self, note: Callable[[Book, Cell], None], cell: Cell) -> None:
        book = self._book
        try:
            if book is not None:
                note(book, cell)
        except OSError as error:
            self._degrade(error)

    def refresh(self) -> None:
        """Read what the other processes have now."""
        if self._shelf is None or self._directory is None:
            return
        book = self._show_itself()
        if book is not None and not self._closed and not book.linked:
            # Whoever removes directories for other programs' sake may do so at any time.
            self._degrade(FileNotFoundError(f"the files in {self._directory.path} were removed"))
        try:
            if self._shelf.empty(book):
                self.totals = None
                return
            self._nudge(self._shelf, self._directory)
            self.totals = totals = self._shelf.read(book)
            if totals.dead > _MANY_DEAD:
                self._tidy()
        except Exception as error:  # whatever it is, this process' own values can be shown
            warn_once(("processes", "read"), "Reading the other processes failed: %r", error)

    def lead(self, purpose: str) -> bool:
        """Tell whether this process does something, such as to ``push``, for all; true where it has no group."""
        if self._directory is None:
            return True
        lead = self._leads.get(purpose)
        if lead is None:
            lead = self._leads.setdefault(purpose, Lead(self._directory, purpose))
        return lead.held

    def after_fork(self) -> None:
        """Begin anew in a forked child: it has a book of its own, from its first measurement on."""
        for book in (self._book, self._replaced):
            if book is not None:
                book.abandon()
        self._book = self._replaced = None
        self._leads = {}
        self._cells = 0
        self.totals = None
        if self._directory is not None and self._keeper is not None:
            self._shelf = Shelf(self._directory)
            self._keeper = self._keeper.renewed()
            if self._keeper.observing:
                self._keeper.start()

    def owe(self, destination: str) -> None:
        """Leave the directory to the next start, unless all that was counted arrives at a destination; see `settle`."""
        self._owed.add(destination)

    def settle(self, destination: str) -> None:
        """Note that all that was counted has arrived at a destination; see `owe`."""
        self._owed.discard(destination)

    def close(self) -> None:
        """Leave the group. What this process has counted stays with the others, or for the next start; see `owe`."""
        self._closed = True
        if self._keeper is not None:
            self._keeper.stop()
        for lead in self._leads.values():
            lead.release()
        for book in (self._book, self._replaced):
            if book is not None:
                book.close()
        self._book = self._replaced = None
        directory, self._directory = self._directory, None
        if directory is not None and self.membership is not None:
            self._leave(directory, self.membership)

    def _leave(self, directory: GroupDirectory, membership: Membership) -> None:
        if membership.why != GROUP_VARIABLE:
            os.environ.pop(GROUP_VARIABLE, None)
        if membership.why != "alone":
            directory.leave()
        elif self._owed or not remove_group(directory):
            directory.leave()
            self._begin_anew(directory, membership)

    def _begin_anew(self, directory: GroupDirectory, membership: Membership) -> None:
        # Where others live, this one comes back to them.
        with suppress(OSError):
            deserted = enter_deserted(directory)
            if deserted is not None:
                deserted.leave()
                begin_anew(membership)

    def _join(self, service: str, directory: Path | None) -> None:
        try:
            base, remark = user_directory(directory)
            self.membership = group_of(service, base)
            self._enter(group_directory(base, self.membership.name))
            if remark:
                warn_once(("processes", "directory"), "%s", remark)
        except (OSError, ValueError) as error:
            self._degrade(error)

    def _enter(self, directory: GroupDirectory) -> None:
        self._directory = directory
        self._shelf = Shelf(directory)
        self._keeper = Keeper(directory, self._open, self._tidy, self._alone)
        self.started = directory.started_ns

    def _open(self) -> Book | None:
        book = self._book
        if book is not None or self._directory is None or self._closed:
            return book
        self.attend()
        with self._lock:
            if self._book is None:
                book = Book.open(self._directory)
                # A signal handler that recorded meanwhile has opened one, and has a cell in it.
                if self._book is None:
                    self._book = book
                else:
                    book.close()
            return self._book

    def _show_itself(self) -> Book | None:
        """Give this process' book: the others publish what they observe only while they are not alone."""
        if self.degraded:
            return self._book
        try:
            return self._open()
        except (OSError, ValueError) as error:
            self._degrade(error)
            return None

    def _alone(self) -> bool:
        return self._shelf is None or self._shelf.empty(self._book)

    def _degrade(self, error: Exception) -> None:
        self._trouble = error
        self.degraded = str(error)
        self.reason = REASONS.get(getattr(error, "errno", None) or 0, "_OTHER")
        warn_once(
            ("processes", "degraded"),
            "This process counts for itself, other workers do not see its metrics: %s. Make room, or name a directory "
            "with OTELBRIDGE_RUN_DIRECTORY.",
            error,
        )

    def _nudge(self, shelf: Shelf, directory: GroupDirectory) -> None:
        waiting = shelf.observing()
        if not waiting:
            return
        ring(directory, list(waiting))
        deadline, pause = time.monotonic() + _PATIENCE, _POLL
        while (waiting := shelf.waiting(waiting)) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL)

    def _tidy(self) -> None:
        directory = self._directory
        if directory is None or self._shelf is None:
            return
        if self._published is not None:
            self._published.tidy()
            self._heal(directory, self._shelf, self._published)
        self.folded += fold(directory, self._shelf)
        if time.monotonic() - self._swept > _SWEEP:
            self._swept = time.monotonic()
            with suppress(OSError):
                remove_orphans(directory.enter(".."))

    def _heal(self, directory: GroupDirectory, shelf: Shelf, published: StreamRegistry) -> None:
        """Put right what a moment without room, descriptors or a directory has left, as soon as there is one again."""
        self._trouble = None
        try:
            lost = self._book is not None and not self._book.linked
            if lost or not directory.exists:
                directory.restore(user_directory(self._setting)[0])
                shelf.reopen(directory)
                for call in self._restored:
                    call()
            if self._book is not None and lost:
                self._replace(self._book, directory, published)
            published.publish()
        except (OSError, ValueError) as error:
            self._degrade(error)
        if self._trouble is None:
            self.degraded = self.reason = ""

    def _replace(self, old: Book, directory: GroupDirectory, published: StreamRegistry) -> None:
        with Book.replacing(directory, old) as book:
            self._book, self._cells, self._trouble = book, 0, None
            published.publish()
            trouble = self._trouble
            if trouble is not None:  # what the new one lacks would be gone for the others
                self._book = old
                published.publish()
                raise trouble
        # Others read the old one until they look into the new directory, so it stays locked.
        if self._replaced is not None:
            self._replaced.close()
        self._replaced = old
