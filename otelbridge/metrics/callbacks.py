"""Runs the callbacks of observable instruments where none of them can hold up the others, or who collects."""

from __future__ import annotations

import queue
import threading
import weakref
from contextvars import copy_context
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions

from otelbridge.diagnostics import warn_once
from otelbridge.metrics.observations import observations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otelbridge.metrics._sdk import Measurement

# Of the time a collection has, so much may go by before a callback is given up; the rest is for the others, and for
# what is done with the data.
_SHARE = 0.5
# Where the time is short, a busy machine needs this much of it to come to anything at all.
_LEAST = 0.25
# What a callback is told to have at most; the SDK's figure.
_LONGEST = 10.0


class Callbacks:
    """Runs callbacks in a thread of their own, and waits for them no longer than the time allows.

    An instrument whose callbacks do not come back in time is left out, with a warning, until they have come back.
    Meanwhile it keeps its thread; the other instruments get a new one.
    """

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has none of the threads."""
        self._turn = threading.RLock()
        self._given_up: set[int] = set()
        self._rounds: queue.SimpleQueue[Callable[[], None] | None] | None = None
        self._closed = False

    def close(self) -> None:
        """End the thread. What is observed later is observed by who asks."""
        with self._turn:
            self._closed = True
            self._leave_thread()

    def observe(self, instruments: Sequence[Any], timeout_millis: float) -> Mapping[int, Sequence[Measurement]]:
        """Run the callbacks of instruments.

        Args:
            instruments: Observable instruments of the SDK.
            timeout_millis: How long all of them may take.

        Returns:
            What was observed, by the identity of the instrument; nothing of one that did not come back in time.
        """
        deadline = monotonic() + timeout_millis / 1000
        found: dict[int, list[Measurement]] = {}
        with self._turn:
            left = [each for each in instruments if id(each) not in self._given_up]
            while left and (seconds := deadline - monotonic()) > 0:
                one_round = _Round(left, CallbackOptions(min(seconds, _LONGEST) * 1000), self._given_up)
                self._begin(one_round)
                one_round.done.wait(max(seconds * _SHARE, min(seconds, _LEAST)))
                left = one_round.give_up()
                if not one_round.done.is_set():
                    self._leave_thread()
                found.update(one_round.found)
        return found

    def _begin(self, one_round: _Round) -> None:
        run = partial(copy_context().run, one_round.run)
        if self._rounds is None and not self._closed:
            self._rounds = _start_thread(self)
        if self._rounds is None:
            run()
        else:
            self._rounds.put(run)

    def _leave_thread(self) -> None:
        rounds, self._rounds = self._rounds, None
        if rounds is not None:
            rounds.put(None)


class _Round:
    """The callbacks of some instruments, once."""

    def __init__(self, instruments: Sequence[Any], options: CallbackOptions, given_up: set[int]) -> None:
        self.found: dict[int, list[Measurement]] = {}
        self.done = threading.Event()
        self._todo = list(reversed(instruments))
        self._options = options
        self._given_up = given_up
        self._current: Any = None
        self._over = False
        self._lock = threading.Lock()

    def run(self) -> None:
        """Run them, until one is given up."""
        while self._next():
            observed = list(observations(self._current, self._options))
            with self._lock:
                if self._over:
                    self._given_up.discard(id(self._current))
                    return
                self.found[id(self._current)] = observed

    def _next(self) -> bool:
        with self._lock:
            if not self._todo:
                self.done.set()
                return False
            self._current = self._todo.pop()
            return True

    def give_up(self) -> list[Any]:
        """Wait no longer.

        Returns:
            The instruments whose turn had not come yet.
        """
        with self._lock:
            if self.done.is_set():
                return []
            if self._current is None:
                return self._abandon()
            self._over = True
            self._given_up.add(id(self._current))
        warn_once(
            (self._current.name, "callback", "blocked"),
            "A callback of %s did not come back in time: it is left out until it does, and the others go on. Let it "
            "return what is known, and fetch elsewhere what takes long.",
            self._current.name,
        )
        return list(reversed(self._todo))

    def _abandon(self) -> list[Any]:
        # The machine did not get round to it; there is nobody to blame, and no time to try again.
        self._todo = []
        return []


def _start_thread(owner: Callbacks) -> queue.SimpleQueue[Callable[[], None] | None] | None:
    rounds: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
    try:
        threading.Thread(target=_work, args=(rounds,), name="otelbridge-callbacks", daemon=True).start()
    except RuntimeError:
        # No thread can be had: at the end of a process (Python 3.12), or at the limit of the system.
        return None
    weakref.finalize(owner, rounds.put, None).atexit = False
    return rounds


def _work(rounds: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (run := rounds.get()) is not None:
        run()
