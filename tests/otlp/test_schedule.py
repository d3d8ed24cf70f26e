"""When exports are due."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.otlp.clock import SystemClock
from otelbridge.otlp.schedule import Schedule
from tests.otlp.faults import FakeClock


def _ticks(clock: FakeClock, schedule: Schedule, busy: list[float]) -> list[float]:
    stop, ticks = threading.Event(), []
    for seconds in busy:
        assert schedule.wait(stop)
        ticks.append(clock.now())
        clock.time += seconds
    return ticks


def test_slow_exports_do_not_shift_the_next_one() -> None:
    clock = FakeClock()
    schedule = Schedule(10, clock=clock, draw=lambda: 0.0)
    assert _ticks(clock, schedule, [0, 7, 3, 9.9, 0]) == [1010, 1020, 1030, 1040, 1050]
    assert schedule.skipped == 0


def test_missed_ticks_are_left_out() -> None:
    clock = FakeClock()
    schedule = Schedule(10, clock=clock, draw=lambda: 0.0)
    assert _ticks(clock, schedule, [35, 0, 0]) == [1010, 1050, 1060]
    assert schedule.skipped == 3


@given(st.floats(0, 1, exclude_max=True))
def test_the_first_tick_is_somewhere_in_the_first_interval(draw) -> None:
    clock = FakeClock()
    schedule = Schedule(10, clock=clock, draw=lambda: draw)
    assert 1000 <= schedule.due <= 1010


@given(st.floats(0.001, 1e5), st.floats(0, 0.999), st.lists(st.floats(0, 1e6), max_size=30))
def test_every_tick_is_on_the_grid_and_later_than_the_one_before(interval, draw, busy) -> None:
    clock = FakeClock()
    schedule = Schedule(interval, clock=clock, draw=lambda: draw)
    first = schedule.due
    ticks = _ticks(clock, schedule, busy)
    for tick in ticks:
        turns = (tick - first) / interval
        assert turns == pytest.approx(round(turns), abs=1e-3 + 1e-9 * abs(first) / interval)
    assert ticks == sorted(set(ticks))


def test_rounding_does_not_add_up() -> None:
    clock = FakeClock()
    schedule = Schedule(0.1, clock=clock, draw=lambda: 0.0)
    ticks = _ticks(clock, schedule, [0.0] * 100_000)
    assert ticks[-1] == pytest.approx(11_000, abs=1e-6)


def test_stopping_ends_the_wait_at_once() -> None:
    schedule, stop, ticked = Schedule(3600), threading.Event(), []
    thread = threading.Thread(target=lambda: ticked.append(schedule.wait(stop)))
    thread.start()
    stop.set()
    thread.join(60)
    assert ticked == [False]


def test_a_tick_at_the_moment_of_stopping_is_none() -> None:
    clock, stop = FakeClock(), threading.Event()
    schedule = Schedule(10, clock=clock, draw=lambda: 0.0)
    clock.time += 10
    stop.set()
    assert not schedule.wait(stop)


def test_the_date_has_no_say(monkeypatch) -> None:
    schedule = Schedule(0.02, draw=lambda: 0.0)
    stop = threading.Event()
    for hours in (0, 1, -1, 10):
        moved = time.time() + 3600 * hours
        monkeypatch.setattr(time, "time", lambda moved=moved: moved)
        monkeypatch.setattr(time, "time_ns", lambda moved=moved: int(moved * 1e9))
        before = SystemClock().now()
        assert schedule.wait(stop)
        assert 0 <= SystemClock().now() - before < 10
