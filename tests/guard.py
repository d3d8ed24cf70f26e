"""No test changes the process for the tests after it, or leaves something running."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import psutil

from tests import leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS_TO_END = 30.0
# Not every system has all of them.
_TIMERS = [getattr(signal, name) for name in ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF") if hasattr(signal, name)]
_NAMES = ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
# pytest says by it which test runs.
_CHANGING = {"PYTEST_CURRENT_TEST"}


class _Shared(NamedTuple):
    """What there is once in a process."""

    timers: list[bool]
    handlers: list[Any]
    switch_interval: float
    tracing: tuple[Any, Any]
    collection: tuple[bool, tuple[int, int, int]]
    variables: dict[str, str]

    @classmethod
    def now(cls) -> _Shared:
        return cls(
            timers=[any(signal.getitimer(timer)) for timer in _TIMERS],
            handlers=[signal.getsignal(number) for number in _SIGNALS],
            switch_interval=sys.getswitchinterval(),
            tracing=(sys.gettrace(), sys.getprofile()),
            collection=(gc.isenabled(), gc.get_threshold()),
            variables={name: value for name, value in os.environ.items() if name not in _CHANGING},
        )

    def restore(self) -> None:
        for timer, on in zip(_TIMERS, self.timers, strict=True):
            if not on:
                signal.setitimer(timer, 0)
        for number, handler in zip(_SIGNALS, self.handlers, strict=True):
            signal.signal(number, handler)
        sys.setswitchinterval(self.switch_interval)
        sys.settrace(self.tracing[0])
        sys.setprofile(self.tracing[1])
        (gc.enable if self.collection[0] else gc.disable)()
        gc.set_threshold(*self.collection[1])
        kept = {name: os.environ[name] for name in _CHANGING if name in os.environ}
        os.environ.clear()
        os.environ.update(self.variables | kept)


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail when something of the process is not after the block as it was before it; it is then put right."""
    shared, processes, threads = _Shared.now(), leftovers.members(), set(threading.enumerate())
    yield
    faults = [*_changed(shared), *_processes(processes), *_zombies(), *_threads(threads)]
    assert not faults, "the test leaves behind: " + "; ".join(faults)


def _changed(before: _Shared) -> list[str]:
    after = _Shared.now()
    if after == before:
        return []
    before.restore()
    variables = sorted(dict(before.variables.items() ^ after.variables.items()))
    others = zip(before._fields[:-1], before, after, strict=False)
    return [
        *([f"variables {', '.join(variables)}"] if variables else []),
        *(f"{name} {new} instead of {old}" for name, old, new in others if new != old),
    ]


def _processes(before: set[int]) -> list[str]:
    left = {pid for pid in leftovers.members() - before if not _of(pid, before)}
    left = left and leftovers.lasting(left, _SECONDS_TO_END)
    described = leftovers.describe(left)
    leftovers.kill(left)
    leftovers.lasting(left, _SECONDS_TO_END)
    for pid in left:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
    return [f"processes {described}"] if left else []


def _of(pid: int, servers: set[int]) -> bool:
    """Whether a server that was there before has started the process."""
    try:
        return any(parent.pid in servers for parent in psutil.Process(pid).parents())
    except psutil.Error:
        return True


def _zombies() -> list[str]:
    """A child that has ended and that was never waited for."""
    if not hasattr(os, "waitid"):
        return []
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    if ended is None:
        return []
    os.waitpid(ended.si_pid, 0)
    return [f"an ended child, {ended.si_pid}, that was not waited for"]


def _threads(before: set[threading.Thread]) -> list[str]:
    left = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in left:
        thread.join(_SECONDS_TO_END)
    return [f"{thread}" for thread in left if thread.is_alive()]
