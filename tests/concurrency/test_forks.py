"""Locks, hooks and imports across forks, by Python and behind its back."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def child_says(judge: Callable[[], bool], fork: Callable[[], int] = os.fork) -> bool:
    """Fork, and tell whether the child found something to be so; a child that hangs is ended by its alarm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is the point
        child = fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        os._exit(0 if judge() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def c_fork() -> int:
    return ctypes.PyDLL(None).fork()


@pytest.fixture
def held() -> Iterator[Any]:
    """A lock that another thread holds."""
    made, taken, over = forks.lock(), threading.Event(), threading.Event()

    def hold() -> None:
        with made:
            taken.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    yield made
    over.set()
    thread.join()


def test_a_lock_that_another_thread_holds_is_free_in_the_child_alone(held: Any) -> None:
    assert child_says(lambda: held.acquire(blocking=False))
    assert not held.acquire(blocking=False)


def test_a_lock_of_another_maker_is_renewed_once_it_is_adopted() -> None:
    theirs = forks.adopt(threading.Lock())
    theirs.acquire()
    assert child_says(lambda: theirs.acquire(blocking=False))
    assert theirs.locked()


def test_who_forks_inside_a_lock_has_it_in_both_processes() -> None:
    def leave() -> bool:
        made.__exit__(None, None, None)
        return not forks.holding()

    made: Any = forks.lock()
    with made:
        assert child_says(leave)
    assert not forks.holding()


@pytest.mark.parametrize("is_set", [True, False])
def test_an_event_is_in_the_child_what_it_was(is_set: bool) -> None:
    event = forks.event()
    waiting = threading.Thread(target=event.wait)
    if is_set:
        event.set()
    waiting.start()

    def judge() -> bool:
        found = event.is_set()
        event.set()
        return found is is_set and event.wait(0)

    assert child_says(judge)
    event.set()
    waiting.join()


class Noting:
    def __init__(self, notes: list[str], name: str) -> None:
        self._notes, self._name = notes, name
        forks.register(before=self.before, after_in_parent=self.after, after_in_child=self.child)

    def before(self) -> None:
        self._notes.append(f"before {self._name}")

    def after(self) -> None:
        self._notes.append(f"after {self._name}")

    def child(self) -> None:
        self._notes.append(f"child {self._name}")
        if self._name == "raising":
            raise RuntimeError(self._name)


def test_hooks_run_in_order_until_their_objects_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", raised.append)
    notes: list[str] = []
    living = [Noting(notes, "raising"), Noting(notes, "second")]
    gone = Noting(notes, "gone")
    del gone
    gc.collect()
    begin = ["before second", "before raising"]
    assert child_says(lambda: notes == [*begin, "child raising", "child second"] and len(raised) == 1)
    assert notes == [*begin, "after raising", "after second"]
    assert len(living) == 2


def test_a_fork_behind_pythons_back_is_noticed_once(held: Any) -> None:
    notes: list[str] = []
    noting = Noting(notes, "it")

    def judge() -> bool:
        forks.notice()
        forks.notice()
        return notes == ["child it"] and held.acquire(blocking=False)

    forks.notice()
    assert child_says(judge, c_fork)
    assert noting
    assert notes == []


@pytest.mark.parametrize("decorated", [True, False])
def test_uwsgi_is_followed_once_however_often_something_is_registered(
    monkeypatch: pytest.MonkeyPatch, decorated: bool
) -> None:
    notes: list[str] = []
    uwsgi, decorators = ModuleType("uwsgi"), ModuleType("uwsgidecorators")
    earlier = lambda: notes.append("earlier")  # noqa: E731
    vars(uwsgi).update(masterpid=os.getpid, post_fork_hook=earlier)
    vars(decorators).update(postfork_chain=[earlier])
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    if decorated:
        monkeypatch.setitem(sys.modules, "uwsgidecorators", decorators)
    noting = [Noting(notes, "a"), Noting(notes, "b")]

    def judge() -> bool:
        for hook in vars(decorators)["postfork_chain"] if decorated else [vars(uwsgi)["post_fork_hook"]]:
            hook()
        return notes == ["earlier", "child a", "child b"]

    assert child_says(judge, c_fork)
    assert noting
    assert decorated or len(vars(decorators)["postfork_chain"]) == 1


class _StoppedError(Exception):
    pass


def test_an_exception_out_of_a_signal_handler_leaves_no_lock_behind() -> None:
    def stop(*_: object) -> None:
        raise _StoppedError

    made, stops = forks.lock(), 0
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for _ in range(3000):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0001)
                while True:
                    with made:
                        pass
            except _StoppedError:
                stops += 1
            assert not forks.owns(made)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stops == 3000


_IMPORTING = """
import os, sys, threading, types, importlib.util, importlib.abc
import otelbridge
from otelbridge.concurrency import forks

began, forked = threading.Event(), threading.Event()

class Slow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "otelbridge.slow" else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        if not began.is_set():
            began.set()
            forked.wait()
        module.whole = True

sys.meta_path.insert(0, Slow())
importing = threading.Thread(target=lambda: __import__("otelbridge.slow"))
importing.start()
began.wait()
child = os.fork()
if not child:
    import signal
    signal.alarm(30)
    import otelbridge.slow
    os._exit(0 if otelbridge.slow.whole else 1)
forked.set()
importing.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_what_another_thread_was_importing_is_imported_anew_in_the_child() -> None:
    command = [sys.executable, "-W", "ignore", "-c", _IMPORTING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "0\n", done.stderr


def test_what_the_forking_thread_imports_goes_on_in_the_child() -> None:
    # What is imported by the thread that forks goes on being imported by it in the child.
    program = """
import os, sys, time, importlib.util, importlib.abc
import otelbridge
from otelbridge.concurrency import forks

class Forking(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.util.spec_from_loader(name, self) if name == "otelbridge.forking" else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        if not os.fork():
            os._exit(0 if sys.modules["otelbridge.forking"] is module else 1)
        module.status = os.wait()[1]

sys.meta_path.insert(0, Forking())
import otelbridge.forking
print("done", otelbridge.forking.status)
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "done 0\n", done.stderr


def test_a_lock_that_was_collected_is_known_no_longer() -> None:
    made = forks.lock()
    assert forks.is_adopted(made)
    before = len(forks._inherited)
    del made
    gc.collect()
    assert len(forks._inherited) < before
