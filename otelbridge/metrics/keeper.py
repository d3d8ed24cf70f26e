"""The one thread a process has for its group: it publishes what callbacks observe, and tidies up."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

from otelbridge.cells.nudge import Bell
from otelbridge.concurrency import forks
from otelbridge.diagnostics import origin_of, warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.cells.book import Book
    from otelbridge.cells.private import Directory

_INTERVAL = 5.0
"""Seconds between observations nobody asked for, and between tidyings."""

_FIRST = 0.5
"""Seconds until the first ones, so that a short-lived process goes without."""

_PATIENCE = 1.0
"""Seconds to wait for its end."""


def _nothing() -> None: ...


def _never() -> bool:
    return False


class Keeper:
    """Runs in a daemon thread once started. A forked child makes its own.

    Args:
        directory: The group's directory.
        open_book: Gives the book of this process, opening it the first time.
        tidy: What is to be done every few seconds besides.
        alone: Tells whether nobody else would see what is published.
    """

    def __init__(
        self,
        directory: Directory,
        open_book: Callable[[], Book | None],
        tidy: Callable[[], object],
        alone: Callable[[], bool],
    ) -> None:
        self._directory = directory
        self._open_book = open_book
        self._tidy = tidy
        self._alone = alone
        self._observe: Callable[[], None] = _nothing
        self._observing: Callable[[], bool] = _never
        self._thread: threading.Thread | None = None
        self._stopped = forks.event()
        self._bell: Bell | None = None

    @property
    def observing(self) -> bool:
        """Whether there is anything to observe."""
        return self._observing()

    def watch(self, observe: Callable[[], None], observing: Callable[[], bool]) -> None:
        """Learn how to have observables observed; see `Processes.watch`."""
        self._observe = observe
        self._observing = observing

    def renewed(self) -> Keeper:
        """Give one for a forked child, which has none of the parent's threads."""
        keeper = Keeper(self._directory, self._open_book, self._tidy, self._alone)
        keeper.watch(self._observe, self._observing)
        return keeper

    def start(self) -> None:
        """Start, unless it runs already."""
        if self._thread is not None:
            return
        self._thread = thread = threading.Thread(target=self._run, name="otelbridge-keeper", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is about to end
            self._thread = None
            warn_once(("keeper", "start"), "What callbacks observe is not seen by other workers: %s", error)

    def stop(self) -> None:
        """Stop and wait for it, unless it is the one who asks. Twice is once."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._bell is not None:
            self._bell.close()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join(_PATIENCE)

    def _run(self) -> None:
        self._stopped.wait(_FIRST)
        tidied = 0.0
        while not self._stopped.is_set():
            self._attempt(self._publish)
            if monotonic() - tidied >= _INTERVAL:
                self._attempt(self._tidy)
                tidied = monotonic()
            if not self._attempt(self._wait):
                self._stopped.wait(_INTERVAL)

    def _attempt(self, step: Callable[[], object]) -> bool:
        try:
            step()
        except Exception as error:  # a full disk today may have room tomorrow
            warn_once(
                ("keeper", type(error).__name__), "Keeping the metrics of this process failed: %s", origin_of(error)
            )
            return False
        return True

    def _publish(self) -> None:
        book = self._open_book()
        if book is None:
            return
        observing = self._observing()
        if observing and not self._alone():
            self._observe()
        book.observing = observing
        book.refreshed += 1

    def _wait(self) -> None:
        book = self._open_book()
        if book is None:
            self._stopped.wait(_INTERVAL)
            return
        if self._bell is None or self._bell.uid != book.uid or not self._bell.listening:
            if self._bell is not None:
                self._bell.close()
            self._bell = Bell(self._directory, book.uid)
            if self._stopped.is_set():
                self._bell.close()
        self._bell.wait(_INTERVAL)
