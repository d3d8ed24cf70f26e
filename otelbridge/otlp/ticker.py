"""A thread that works at every tick of a schedule, and whenever somebody asks it to."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from otelbridge.concurrency import forks
from otelbridge.concurrency.turn import Turn
from otelbridge.diagnostics import late_warnings, origin_of, warn_once

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.otlp.schedule import Schedule

    Work = Callable[[float, bool], bool]
    """Does it within some seconds, asked or by itself; tells whether that went well."""

# The work ends by its own deadline; whoever asked waits this much longer, to hear how it went.
_GRACE = 0.05
# More than anybody waits, and less than what the system's clocks and locks cannot count.
_LONGEST = 86_400.0


class _Asked:
    """Somebody waits for the work to be done once from now on."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.done = forks.event()
        self.well = False

    def finish(self, *, well: bool) -> None:
        self.well = well
        self.done.set()

    def wait(self) -> bool:
        """Wait until the deadline; tell whether it was done and went well."""
        self.done.wait(max(self.deadline + _GRACE - time.monotonic(), 0))
        return self.done.is_set() and self.well


class Ticker:
    """Does one thing again and again, in a thread of its own that is there from the start.

    Nobody who asks does the work, so each of them can give up in time, whatever the work hangs in; also at the end
    of a process, when Python starts no further threads (from 3.12 on). Where there is no thread, because none was to
    be had, whoever asks does it after all.

    Args:
        work: What is done. It is never done twice at a time.
        schedule: When it is done by itself. None: never, and there is no thread.
        seconds: How long it may take then.
        hurry: Is called when somebody asks; may shorten what is under way.
        name: Name of the thread.
    """

    def __init__(
        self, work: Work, schedule: Schedule | None, seconds: float, hurry: Callable[[], None], name: str
    ) -> None:
        self._work = work
        self._schedule = schedule
        self._seconds = seconds
        self._hurry = hurry
        self._asked: deque[_Asked] = deque()
        self._wake = forks.event()
        self._turn = Turn("a push")
        self._last: _Asked | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        if schedule is None:
            return
        try:
            self._thread.start()
        except RuntimeError as error:
            warn_once(
                (name, "thread"), "No thread can be had for %s (%s): it only works when it is asked to.", name, error
            )

    @property
    def stopping(self) -> bool:
        """Whether it has been asked for the last time."""
        return self._last is not None

    def ask(self, seconds: float, *, last: bool = False) -> Callable[[], bool]:
        """Ask for the work to be done now.

        Args:
            seconds: How long it may take, and how long to wait for it.
            last: Whether the thread ends after it.

        Returns:
            What waits for it, at most until the time is over, and tells whether it was done and went well.
        """
        if self._last is not None:
            return self._last.wait if last else _not_any_more
        asked = _Asked(min(seconds, _LONGEST))
        # In this order, since the thread ends once it was asked for the last time and nobody waits.
        self._asked.append(asked)
        if last:
            self._last = asked
        self._wake.set()
        self._hurry()
        if not self._thread.is_alive():
            self._serve()
        return asked.wait

    def _run(self) -> None:
        schedule = self._schedule
        while schedule is not None and not (self.stopping and not self._asked):
            due = schedule.wait(self._wake)
            self._wake.clear()
            if self._asked:
                self._serve()
            elif due:
                self._do(self._seconds, asked=False)

    def _serve(self) -> None:
        waiting: list[_Asked] = []
        while self._asked:
            waiting.append(self._asked.popleft())
        if waiting:
            well = self._do(max(one.deadline for one in waiting) - time.monotonic(), asked=True)
            for one in waiting:
                one.finish(well=well)

    def _do(self, seconds: float, *, asked: bool) -> bool:
        deadline = time.monotonic() + seconds
        try:
            with late_warnings:
                return self._turn.run(lambda: self._attempt(deadline - time.monotonic(), asked), max(seconds, 0))
        except TimeoutError:
            return False

    def _attempt(self, seconds: float, asked: bool) -> bool:
        try:
            return self._work(seconds, asked)
        except BaseException as error:  # a callback may raise even SystemExit, which must not end the thread
            raised = origin_of(error)
            warn_once(("otlp", "push", raised), "Collecting or pushing metrics raised %s.", raised)
            return False


def _not_any_more() -> bool:
    return False
