"""Runs the callbacks of observable instruments where none of them can hold up the others, or who collects."""

from __future__ import annotations

import threading
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions

from otelbridge.concurrency.timeouts import BlockedError, TimeLimitedRunner
from otelbridge.concurrency.turn import Turn, on_behalf
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.metrics.observations import observations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otelbridge.metrics._sdk import Measurement

# Of the time that is left, a callback may take so much; the rest is for the others, and for what is done with the data.
_SHARE = 0.5
# What a callback is told to have at most; the SDK's figure.
_LONGEST = 10.0
# How long a fork waits for callbacks to come back, in seconds.
_BEFORE_FORK = 1.0


class Callbacks:
    """Runs callbacks in a thread of their own, and waits for them no longer than the time allows.

    An instrument whose callbacks do not come back in time is left out, with a warning, until they have come back.
    """

    def __init__(self) -> None:
        self._runner: TimeLimitedRunner[int, list[Measurement]] = TimeLimitedRunner("otelbridge-callbacks", _SHARE)
        self._turn = Turn("a read")
        self._forking: int | None = None

    def before_fork(self) -> None:
        """Let no callback run until the fork is over: what it has locked would stay locked in the child for ever.

        It waits for those that run, though not for long, and not for those that were given up.
        """
        # A callback that forks would wait for itself.
        inside = threading.current_thread() is self._runner.thread
        if not inside and self._turn.lock.acquire(timeout=_BEFORE_FORK):
            self._forking = threading.get_ident()

    def after_fork_in_parent(self) -> None:
        """Go on after a fork."""
        # Several threads may fork at once, and not all of them wait for callbacks.
        if self._forking == threading.get_ident():
            self._forking = None
            self._turn.lock.release()

    def after_fork(self) -> None:
        """Begin anew in a forked child, which has none of the threads."""
        self._forking = None
        self._runner.after_fork()

    def close(self) -> None:
        """End the thread. What is observed later is observed by who asks."""
        self._runner.close()

    def observe(self, instruments: Sequence[Any], timeout_millis: float) -> Mapping[int, Sequence[Measurement]]:
        """Run the callbacks of instruments.

        Args:
            instruments: Observable instruments of the SDK.
            timeout_millis: How long all of them may take.

        Returns:
            What was observed, by the identity of the instrument; nothing of one that did not come back in time.

        Raises:
            ReentranceError: This thread runs callbacks, or is one of theirs.
        """
        deadline = monotonic() + timeout_millis / 1000

        def run() -> tuple[dict[int, list[Measurement]], dict[int, BaseException]]:
            seconds = deadline - monotonic()
            options = CallbackOptions(min(seconds, _LONGEST) * 1000)
            return self._runner.run({id(each): _job(each, options) for each in instruments}, seconds)

        with late_warnings:
            found, errors = self._turn.run(run)
        for each in instruments:
            if isinstance(errors.get(id(each)), BlockedError):
                _report(each.name)
        return found


def _job(instrument: Any, options: CallbackOptions) -> Callable[[], list[Measurement]]:
    # Each has a context of its own, as two threads cannot be in one.
    context = copy_context()
    return on_behalf(lambda: context.run(_observed, instrument, options))


def _observed(instrument: Any, options: CallbackOptions) -> list[Measurement]:
    return list(observations(instrument, options))


def _report(name: str) -> None:
    warn_once(
        (name, "callback", "blocked"),
        "A callback of %s did not come back in time: it is left out until it does, and the others go on. Let it "
        "return what is known, and fetch elsewhere what takes long.",
        name,
    )
