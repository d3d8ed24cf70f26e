"""Callbacks of observable instruments: none of them holds up the others, or who collects."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from contextvars import ContextVar

import pytest
from opentelemetry.metrics import Observation

from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.callbacks import Callbacks
from otelbridge.metrics.provider import MeterProvider

pytestmark = pytest.mark.endtoend

_THREAD = "otelbridge-callbacks"


@pytest.fixture
def meter():
    forget_warnings()
    provider = MeterProvider(shutdown_on_exit=False)
    yield provider.get_meter("test")
    provider.shutdown()


def threads() -> int:
    return sum(thread.name == _THREAD for thread in threading.enumerate())


def eventually(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def gauge(meter, name: str, callback):
    return meter.create_observable_gauge(name, [callback])


def one(value):
    return lambda _options: [Observation(value)]


def seen(found, *instruments) -> list[list[float]]:
    return [[each.value for each in found.get(id(instrument), ())] for instrument in instruments]


def test_everything_is_observed_in_order_and_in_one_thread_that_is_kept(meter) -> None:
    callbacks, where = Callbacks(), []

    def note(value: int):
        return lambda _options: where.append((value, threading.current_thread())) or [Observation(value)]

    instruments = [gauge(meter, f"g{number}", note(number)) for number in range(5)]
    for _ in range(3):
        assert seen(callbacks.observe(instruments, 5000), *instruments) == [[0], [1], [2], [3], [4]]
    assert [value for value, _ in where] == [0, 1, 2, 3, 4] * 3
    assert len({thread for _, thread in where}) == 1
    callbacks.close()
    eventually(lambda: not where[0][1].is_alive())


def test_one_that_blocks_is_left_out_until_it_comes_back(meter, caplog) -> None:
    callbacks, go_on = Callbacks(), threading.Event()
    blocked = gauge(meter, "blocked", lambda _options: go_on.wait(60) and [Observation(7)])
    before, after = gauge(meter, "before", one(1)), gauge(meter, "after", one(2))
    for _ in range(3):
        found = callbacks.observe([before, blocked, after], 1000)
        assert seen(found, before, blocked, after) == [[1], [], [2]]
    go_on.set()
    eventually(lambda: seen(callbacks.observe([before, blocked], 1000), before, blocked) == [[1], [7]])
    (record,) = caplog.records
    assert "A callback of blocked did not come back in time" in record.getMessage()
    callbacks.close()


def test_several_that_block_cost_a_thread_each_and_no_more(meter) -> None:
    callbacks, go_on = Callbacks(), threading.Event()
    running = threads()
    stuck = [gauge(meter, f"blocked.{number}", lambda _options: go_on.wait(60) and []) for number in range(3)]
    sound = gauge(meter, "sound", one(1))
    for _ in range(10):
        assert seen(callbacks.observe([*stuck, sound], 4000), sound) == [[1]]
    assert threads() - running <= 4
    go_on.set()
    callbacks.close()
    eventually(lambda: threads() <= running)


def test_a_slow_one_that_comes_back_in_time_is_waited_for(meter, caplog) -> None:
    callbacks = Callbacks()
    slow = gauge(meter, "slow", lambda _options: time.sleep(0.3) or [Observation(1)])
    assert seen(callbacks.observe([slow], 20_000), slow) == [[1]]
    assert not caplog.records
    callbacks.close()


@pytest.mark.parametrize("millis", [0, -5, 1e-6])
def test_no_time_at_all_blames_nobody_and_loses_nothing_for_later(meter, millis) -> None:
    callbacks = Callbacks()
    instrument = gauge(meter, "sound", one(1))
    assert seen(callbacks.observe([instrument], millis), instrument) in ([[]], [[1]])
    eventually(lambda: seen(callbacks.observe([instrument], 5000), instrument) == [[1]])
    callbacks.close()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_whatever_one_raises_is_its_own_and_told_once_without_its_words(meter, caplog, error) -> None:
    def fail(_options):
        yield Observation(1)
        raise error("s3cret")

    callbacks = Callbacks()
    failing, sound = gauge(meter, "failing", fail), gauge(meter, "sound", one(2))
    for _ in range(3):
        assert seen(callbacks.observe([failing, sound], 5000), failing, sound) == [[1], [2]]
    (record,) = caplog.records
    assert "A callback of failing raised" in record.getMessage()
    assert "test_callbacks.py:" in record.getMessage()
    assert "s3cret" not in caplog.text
    callbacks.close()


async def coroutine(_options):
    return [Observation(1)]


async def async_generator(_options):
    yield Observation(1)


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        (coroutine, "returned a coroutine, which nobody awaits"),
        (async_generator, "returned an async generator, which nobody awaits"),
        (lambda _options: None, "returned None"),
        (lambda _options: 5, "returned the number 5"),
        (lambda _options: Observation(5), "returned an object of the type Observation"),
        (lambda _options: [5], "gave the number 5"),
        (lambda _options: {"s3cret": 1}, "gave an object of the type str"),
        (lambda _options: [Observation(1), None], "gave None"),
    ],
)
def test_what_one_should_not_return_is_named_once_with_what_is_wanted(meter, caplog, callback, told) -> None:
    callbacks = Callbacks()
    instruments = [meter.create_observable_gauge("wrong", [callback, one(2)]), gauge(meter, "sound", one(3))]
    for _ in range(3):
        wrong, sound = seen(callbacks.observe(instruments, 5000), *instruments)
        assert (wrong[-1], sound) == (2, [3])
    gc.collect()  # what is left of a coroutine would complain now
    (record,) = caplog.records
    assert f"A callback of wrong {told}; it is left out. Let it be a plain function that" in record.getMessage()
    assert "s3cret" not in caplog.text
    callbacks.close()


def test_one_without_end_fills_no_memory_and_leaves_the_others(meter, monkeypatch, caplog) -> None:
    monkeypatch.setattr("otelbridge.metrics.observations._MOST", 1000)

    def endless(_options):
        while True:
            yield Observation(1)

    callbacks = Callbacks()
    instruments = [meter.create_observable_gauge("endless", [endless, one(2)]), gauge(meter, "sound", one(3))]
    for _ in range(2):
        assert seen(callbacks.observe(instruments, 20_000), *instruments) == [[1] * 1000 + [2], [3]]
    (record,) = caplog.records
    assert "A callback of endless" in record.getMessage()
    callbacks.close()


def test_they_run_in_the_context_of_who_collects(meter) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="default")
    callbacks, found = Callbacks(), []
    instrument = gauge(meter, "g", lambda _options: found.append(variable.get()) or [])
    for value in ("a", "b"):
        variable.set(value)
        callbacks.observe([instrument], 5000)
    assert found == ["a", "b"]
    callbacks.close()


def test_callbacks_are_told_the_time_they_have(meter) -> None:
    callbacks, told = Callbacks(), []
    instrument = gauge(meter, "g", lambda options: told.append(options.timeout_millis) or [])
    callbacks.observe([instrument], 3000)
    callbacks.observe([instrument], 3_000_000)
    assert 0 < told[0] <= 3000
    assert told[1] == 10_000
    callbacks.close()


def test_after_the_end_who_asks_runs_them(meter) -> None:
    callbacks, where = Callbacks(), []
    instrument = gauge(meter, "g", lambda _options: where.append(threading.current_thread()) or [Observation(1)])
    callbacks.close()
    assert seen(callbacks.observe([instrument], 5000), instrument) == [[1]]
    assert where == [threading.current_thread()]


def test_a_forked_child_has_a_thread_of_its_own(meter) -> None:
    callbacks, go_on = Callbacks(), threading.Event()
    blocked = gauge(meter, "blocked", lambda _options: go_on.wait(60) and [])
    sound = gauge(meter, "sound", one(1))
    callbacks.observe([blocked, sound], 600)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads is the point
        child = os.fork()
    if not child:
        callbacks.after_fork()
        go_on.set()
        os._exit(0 if seen(callbacks.observe([blocked, sound], 5000), sound) == [[1]] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go_on.set()
    callbacks.close()


_FORKING = """
import os, signal, sys, threading, time
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otelbridge.metrics.provider import MeterProvider

lock, blocked = threading.Lock(), threading.Event()


def slow(options):
    with lock:
        time.sleep(0.05)
    return [Observation(1)]


reader = InMemoryMetricReader()
provider = MeterProvider([reader])
meter = provider.get_meter("test")
meter.create_observable_gauge("blocked", [lambda options: blocked.wait(60) and []])
meter.create_observable_gauge("slow", [slow])
reader.collect(400)
stop = threading.Event()


def collect():
    while not stop.is_set():
        reader.collect(10_000)


threading.Thread(target=collect).start()
hung = 0
for _ in range(10):
    time.sleep(0.02)
    child = os.fork()
    if not child:
        signal.alarm(60)
        with lock:
            os._exit(0)
    hung += os.waitpid(child, 0)[1] != 0
stop.set()
blocked.set()
print("hung:", hung)
"""


def test_a_fork_waits_until_callbacks_have_let_go_of_their_locks() -> None:
    command = [sys.executable, "-W", "ignore", "-c", _FORKING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.stdout == "hung: 0\n", done.stderr


def test_of_several_threads_that_fork_each_lets_go_of_what_it_holds(meter, monkeypatch) -> None:
    monkeypatch.setattr("otelbridge.metrics.callbacks._BEFORE_FORK", 0.05)
    callbacks, holds, go_on = Callbacks(), threading.Event(), threading.Event()

    def fork() -> None:
        callbacks.before_fork()
        holds.set()
        go_on.wait(60)
        callbacks.after_fork_in_parent()

    other = threading.Thread(target=fork)
    other.start()
    assert holds.wait(60)
    callbacks.before_fork()
    callbacks.after_fork_in_parent()
    go_on.set()
    other.join(60)
    instrument = gauge(meter, "sound", one(1))
    assert seen(callbacks.observe([instrument], 5000), instrument) == [[1]]
    callbacks.close()


def test_a_callback_that_forks_waits_for_nobody(meter) -> None:
    callbacks, told = Callbacks(), []

    def fork(_options):
        callbacks.before_fork()
        told.append(callbacks._forking)
        callbacks.after_fork_in_parent()
        return [Observation(1)]

    instrument = gauge(meter, "forks", fork)
    assert seen(callbacks.observe([instrument], 5000), instrument) == [[1]]
    assert told == [None]
    callbacks.close()


def test_an_end_waits_for_no_callback(meter) -> None:
    callbacks, go_on = Callbacks(), threading.Event()
    blocked = gauge(meter, "blocked", lambda _options: go_on.wait(60) and [])
    collecting = threading.Thread(target=callbacks.observe, args=([blocked], 60_000))
    collecting.start()
    eventually(lambda: threads() > 0)
    callbacks.close()
    assert collecting.is_alive()
    go_on.set()
    collecting.join(60)


def test_no_thread_outlives_who_needed_it(meter) -> None:
    running = threads()
    callbacks = Callbacks()
    callbacks.observe([gauge(meter, "g", one(1))], 5000)
    assert threads() == running + 1
    del callbacks
    gc.collect()
    eventually(lambda: threads() <= running)
