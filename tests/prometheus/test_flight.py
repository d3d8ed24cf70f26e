"""Work done once for all who ask."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future

import pytest

from otelbridge.prometheus.flight import BusyError, SingleFlight, rescue, then
from tests.prometheus.endpoint_kit import SECONDS, metrics_threads


@pytest.fixture
def flight():
    flight: SingleFlight = SingleFlight("otelbridge-metrics-test", 3)
    yield flight
    flight.close(SECONDS)
    for thread in threading.enumerate():
        if thread.name == "otelbridge-metrics-test":
            thread.join(SECONDS)  # it has nothing more to do, and may not have come to its end
    assert metrics_threads() == []


def test_those_who_ask_meanwhile_share_the_result(flight) -> None:
    release, done = threading.Event(), []

    def job():
        release.wait(SECONDS)
        done.append(1)
        return len(done)

    futures = [flight.run("one", job) for _ in range(50)]
    assert metrics_threads() == ["otelbridge-metrics-test"]
    release.set()
    assert [future.result(SECONDS) for future in futures] == [1] * 50
    assert flight.run("one", job).result(SECONDS) == 2


def test_jobs_run_one_at_a_time_in_their_order(flight) -> None:
    order, running = [], threading.Semaphore()

    def job(name):
        assert running.acquire(blocking=False)
        order.append(name)
        running.release()
        return name

    release = threading.Event()
    first = flight.run("first", lambda: release.wait(SECONDS))
    rest = [flight.run(name, lambda name=name: job(name)) for name in "ab"]
    release.set()
    assert first.result(SECONDS)
    assert [future.result(SECONDS) for future in rest] == order == ["a", "b"]


def test_too_many_jobs_are_refused_and_known_ones_are_not(flight) -> None:
    release = threading.Event()
    futures = [flight.run(key, lambda: release.wait(SECONDS)) for key in range(3)]
    with pytest.raises(BusyError):
        flight.run(3, lambda: True)
    assert flight.run(2, lambda: True) is futures[2]
    release.set()
    assert all(future.result(SECONDS) for future in futures)


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_an_error_goes_to_those_who_asked_and_ends_nothing(flight, error) -> None:
    def fail():
        raise error

    assert flight.run("bad", fail).exception(SECONDS) is error
    assert flight.run("good", lambda: 5).result(SECONDS) == 5


async def test_one_who_gives_up_does_not_cost_the_others_their_result(flight) -> None:
    release = threading.Event()
    shared = flight.run("one", lambda: release.wait(SECONDS))
    impatient = asyncio.create_task(asyncio.wait_for(asyncio.wrap_future(shared), 0.01))
    with pytest.raises(asyncio.TimeoutError):
        await impatient
    release.set()
    assert await asyncio.wrap_future(shared)


def test_then_goes_on_now_or_later() -> None:
    assert then(2, lambda value: value + 1) == 3
    first: Future = Future()
    second: Future = Future()
    result = then(then(first, lambda value: value + 1), lambda value: then(second, lambda other: value * other))
    first.set_result(2)
    assert not result.done()
    second.set_result(5)
    assert result.result(0) == 15


def test_errors_pass_by_the_steps_and_can_be_rescued() -> None:
    first: Future = Future()
    broken = then(then(first, lambda _: Future()), lambda _: "never")
    failing = then(first, lambda value: 1 // value)
    inner: Future = Future()
    deep = then(first, lambda _: inner)
    first.set_result(0)
    inner.set_exception(ValueError("deep"))
    assert not broken.done()
    assert isinstance(failing.exception(0), ZeroDivisionError)
    assert rescue(failing, lambda error: type(error).__name__).result(0) == "ZeroDivisionError"
    assert str(rescue(deep, lambda error: error).result(0)) == "deep"
    assert rescue("fine", lambda error: "cured") == "fine"


def test_a_forked_child_does_its_own_work() -> None:
    script = """
import os, threading
from otelbridge.prometheus.flight import SingleFlight
flight = SingleFlight("work", 1)
release, held = threading.Event(), threading.Event()
waiting = flight.run("one", lambda: release.wait(30))
def hold():
    with flight._lock:
        held.set()
        release.wait(30)
threading.Thread(target=hold, daemon=True).start()
held.wait(30)
child = os.fork()
if child == 0:
    print(flight.run("one", lambda: "done by the child").result(30), flush=True)
    os._exit(0)
os.waitpid(child, 0)
release.set()
print(waiting.result(30))
"""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("done by the child\nTrue\n", "")


@pytest.mark.parametrize("at", ["before", "after"])
def test_one_who_is_interrupted_while_the_thread_starts_leaves_nobody_waiting(flight, monkeypatch, at) -> None:
    start = threading.Thread.start

    def interrupted(thread) -> None:
        monkeypatch.undo()
        if at == "after":
            start(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        flight.run("one", lambda: 5)
    assert flight.run("one", lambda: 5).result(SECONDS) == 5
    assert flight.run("two", lambda: 6).result(SECONDS) == 6


def test_a_signal_handler_that_asks_in_the_middle_of_asking_shares_the_result(flight, monkeypatch) -> None:
    found: list[Future] = []
    start = threading.Thread.start

    def ask(*_: object) -> None:
        found.append(flight.run("one", lambda: 5))

    def interrupted(thread) -> None:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGUSR1)
        start(thread)

    before = signal.signal(signal.SIGUSR1, ask)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    try:
        assert flight.run("one", lambda: 5).result(SECONDS) == 5
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert found[0].result(SECONDS) == 5
