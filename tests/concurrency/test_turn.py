"""Work that must not wait for itself."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from otelbridge.concurrency.turn import ReentranceError, Turn, during, engaged, inside, on_behalf

_SECONDS = 30


def _in_thread(work):
    """Give what work gives in another thread."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(_SECONDS)
    return found[0]


def test_who_asks_in_the_middle_is_told_at_once() -> None:
    turn = Turn("a read")
    with pytest.raises(ReentranceError, match="a read was asked for in the middle of it"):
        turn.run(lambda: turn.run(lambda: None))
    assert turn.run(lambda: (inside(), engaged())) == ("a read", True)
    assert (inside(), engaged()) == ("", False)


def test_a_turn_within_another_is_no_reentrance() -> None:
    outer, inner = Turn("a scrape"), Turn("a read")
    assert outer.run(lambda: (inner.run(inside), inside())) == ("a read", "a scrape")


def test_threads_come_one_after_the_other() -> None:
    turn = Turn("a read")
    running, most = [], []

    def work() -> None:
        running.append(1)
        most.append(len(running))
        running.pop()

    threads = [threading.Thread(target=lambda: [turn.run(work) for _ in range(200)]) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(_SECONDS)
    assert most == [1] * 1600


def test_who_waits_for_others_gives_up_in_time() -> None:
    turn = Turn("a read")

    def wait() -> str:
        with pytest.raises(TimeoutError, match=r"more than 0\.0 s for a read"):
            turn.run(lambda: None, timeout=0.01)
        return inside()

    assert turn.run(lambda: _in_thread(wait)) == ""
    assert _in_thread(lambda: turn.run(inside, timeout=0)) == "a read"


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_turn_ends_whatever_is_raised(raised) -> None:
    turn = Turn("a read")

    def work() -> None:
        raise raised

    for timeout in (-1, 1):
        with pytest.raises(raised):
            turn.run(work, timeout)
        assert (inside(), engaged()) == ("", False)
        assert _in_thread(lambda: turn.run(inside, timeout=1)) == "a read"


def test_who_works_for_another_is_in_the_middle_of_the_same() -> None:
    turn = Turn("a read")

    def ask() -> str:
        with pytest.raises(ReentranceError):
            turn.run(lambda: None)
        return inside()

    assert turn.run(lambda: _in_thread(on_behalf(ask))) == "a read"
    assert turn.run(lambda: _in_thread(inside)) == ""


def test_what_others_may_do_too_is_known_and_keeps_nobody_out() -> None:
    assert during("a flush", lambda: (inside(), engaged(), _in_thread(inside))) == ("a flush", False, "")
    assert inside() == ""


def test_a_signal_handler_finds_its_thread_in_the_middle(monkeypatch) -> None:
    turn = Turn("a read")
    found: list[object] = []

    def handle(*_: object) -> None:
        try:
            found.append(turn.run(inside))
        except ReentranceError:
            found.append(None)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        turn.run(lambda: signal.raise_signal(signal.SIGUSR1))
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert found == [None, "a read"]


def test_a_forked_child_is_in_the_middle_of_nothing() -> None:
    turn = Turn("a read")
    held, release = threading.Event(), threading.Event()
    other = threading.Thread(target=lambda: turn.run(lambda: (held.set(), release.wait(_SECONDS))), daemon=True)
    mine = Turn("a scrape")

    def fork() -> int:
        child = os.fork()
        if child == 0:
            signal.alarm(_SECONDS)
            both = turn.run(lambda: mine.run(inside)), _in_thread(lambda: mine.run(inside))
            os._exit(0 if both == ("a scrape", "a scrape") else 1)
        return child

    other.start()
    assert held.wait(_SECONDS)
    child = mine.run(fork)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    release.set()
    other.join(_SECONDS)
