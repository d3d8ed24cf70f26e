"""A thread that works at every tick and whenever it is asked, whatever the work does."""

from __future__ import annotations

import threading
import time

import pytest

from otelbridge.diagnostics import forget_warnings
from otelbridge.otlp.schedule import Schedule
from otelbridge.otlp.ticker import Ticker
from tests.otlp.faults import run
from tests.otlp.pushing import NEVER, SLACK, eventually, timed


class Work:
    """Work that notes how it was called, and does what it is told."""

    def __init__(self, *does) -> None:
        self.does = list(does)
        self.calls: list[tuple[float, bool]] = []
        self.at_once = self.most_at_once = self.hurried = 0

    def __call__(self, seconds: float, asked: bool) -> bool:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.calls.append((seconds, asked))
        try:
            does = self.does.pop(0) if len(self.does) > 1 else self.does[0]
            return does() if callable(does) else does
        finally:
            self.at_once -= 1

    def hurry(self) -> None:
        self.hurried += 1


def ticker(work: Work, interval: float = NEVER) -> Ticker:
    forget_warnings()
    return Ticker(work, Schedule(interval, draw=lambda: 0.5), 7.0, work.hurry, "ticker-test")


def raising(error: BaseException):
    def do() -> bool:
        raise error

    return do


def test_it_works_at_every_tick() -> None:
    work = Work(True)
    ticking = ticker(work, 0.02)
    eventually(lambda: len(work.calls) >= 3)
    assert ticking.ask(5, last=True)()
    assert [(round(seconds), asked) for seconds, asked in work.calls[:3]] == [(7, False)] * 3


@pytest.mark.parametrize("well", [True, False])
def test_who_asks_hears_how_it_went(well) -> None:
    work = Work(well)
    ticking = ticker(work)
    assert ticking.ask(5)() is well
    ((seconds, asked),) = work.calls
    assert (0 < seconds <= 5, asked, work.hurried) == (True, True, 1)
    ticking.ask(5, last=True)()


def test_many_ask_and_it_works_once_at_a_time() -> None:
    work = Work(lambda: time.sleep(0.01) or True)
    ticking = ticker(work)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(ticking.ask(20)())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 16
    assert 1 <= len(work.calls) <= 16
    assert work.most_at_once == 1
    ticking.ask(5, last=True)()


def test_who_asks_while_it_works_is_served_after_it() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work_first() -> bool:
        begun.set()
        return go_on.wait(20)

    work = Work(work_first, True)
    ticking = ticker(work)
    first = ticking.ask(20)
    begun.wait(20)
    second = ticking.ask(20)
    go_on.set()
    assert (first(), second()) == (True, True)
    assert len(work.calls) == 2
    ticking.ask(5, last=True)()


def test_each_waits_no_longer_than_it_wants_to() -> None:
    go_on = threading.Event()
    work = Work(lambda: go_on.wait(20), True)
    ticking = ticker(work)
    patient, impatient = ticking.ask(20), timed(ticking.ask(0.1))
    assert not impatient.result
    assert impatient.seconds < SLACK
    go_on.set()
    assert patient()
    assert ticking.ask(5, last=True)()


@pytest.mark.parametrize("seconds", [0, -1, 1e-9])
def test_no_time_at_all(seconds) -> None:
    work = Work(lambda: time.sleep(0.3) or True)
    ticking = ticker(work)
    assert timed(ticking.ask(seconds)).seconds < SLACK
    ticking.ask(5, last=True)()


@pytest.mark.parametrize("seconds", [1e12, float("inf")])
def test_all_the_time_in_the_world(seconds) -> None:
    ticking = ticker(Work(True))
    assert ticking.ask(seconds)()
    assert ticking.ask(seconds, last=True)()


@pytest.mark.parametrize("error", [ValueError("s3cret"), SystemExit("s3cret"), KeyboardInterrupt("s3cret")])
def test_work_that_raises_is_reported_once_without_its_words_and_goes_on(caplog, error) -> None:
    work = Work(raising(error), raising(error), True)
    ticking = ticker(work)
    assert [ticking.ask(5)() for _ in range(3)] == [False, False, True]
    ticking.ask(5, last=True)()
    (record,) = caplog.records
    assert type(error).__name__ in record.getMessage()
    assert "test_ticker.py:" in record.getMessage()
    assert "s3cret" not in caplog.text


def test_the_last_time_ends_the_thread_and_is_told_again() -> None:
    work = Work(True, False)
    ticking = ticker(work, 0.01)
    eventually(lambda: work.calls)
    work.does = [True]
    assert ticking.ask(5, last=True)()
    eventually(lambda: "ticker-test" not in {thread.name for thread in threading.enumerate()})
    done = len(work.calls)
    assert ticking.stopping
    assert ticking.ask(5, last=True)()
    assert not ticking.ask(5)()
    assert len(work.calls) == done


def test_the_last_time_comes_after_what_is_under_way() -> None:
    go_on = threading.Event()
    work = Work(lambda: go_on.wait(20), True)
    ticking = ticker(work)
    first, end = ticking.ask(20), ticking.ask(20, last=True)
    go_on.set()
    assert (first(), end()) == (True, True)


def test_it_ends_whenever_it_is_asked_to() -> None:
    # The thread looks whether it is the last time at any moment, that of asking included.
    for _ in range(200):
        work = Work(True)
        ticking = ticker(work, 0.0005)
        assert ticking.ask(5, last=True)()


_WITHOUT_THREADS = """
import resource, threading
from otelbridge.otlp.schedule import Schedule
from otelbridge.otlp.ticker import Ticker
threading.stack_size(1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
ticking = Ticker(lambda seconds, asked: asked, Schedule(3600), 1.0, lambda: None, "ticker-test")
print(ticking.ask(5)(), ticking.ask(5, last=True)(), ticking.ask(5)(), threading.active_count())
"""


def test_where_no_thread_can_be_had_who_asks_does_it() -> None:
    assert run(_WITHOUT_THREADS).split() == ["True", "True", "False", "1"]
