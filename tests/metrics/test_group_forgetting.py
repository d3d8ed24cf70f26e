"""Limits and forgetting where several processes are one."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.metrics.group import EXPONENTIAL

pytestmark = pytest.mark.endtoend

A = (("k", "a"),)
OVERFLOW = (("otel.metric.overflow", True),)
KINDS = ["counter", "up_down_counter", "histogram", "exponential"]


def _sort(kind: str) -> tuple[str, list[dict[str, Any]]]:
    """The instrument of a kind, and the views that make it one."""
    if kind == "exponential":
        return "histogram", [{"instrument_name": "m", "aggregation": EXPONENTIAL}]
    return kind, []


def _total(shown: Any) -> Any:
    return shown[:2] if isinstance(shown, tuple) else shown


def _point(kind: str, *amounts: float) -> Any:
    return (len(amounts), sum(amounts)) if kind in ("histogram", "exponential") else sum(amounts)


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_goes_when_nobody_has_it_and_its_total_goes_on_when_it_returns(start, kind) -> None:
    instrument, views = _sort(kind)
    first, second = start(2, views)
    first("hold", instrument, "m", [1, 2.5], {"k": "a"})
    second("record", instrument, "m", [4], {"k": "a"})
    for worker in (first, second):
        assert _total(worker("collect")["m"][A]) == _point(kind, 1, 2.5, 4)
    first("remove", instrument, "m", {"k": "a"})
    # The other still has it, and all that was counted.
    for worker in (first, second):
        assert _total(worker("collect")["m"][A]) == _point(kind, 1, 2.5, 4)
    second("remove", instrument, "m", {"k": "a"})
    for worker in (first, second):
        assert worker("collect") == {}
    assert (first("held"), second("held")) == (0, 0)
    first("hold", instrument, "m", [8], {"k": "a"})
    for worker in (first, second):
        assert _total(worker("collect")["m"][A]) == _point(kind, 1, 2.5, 4, 8)
    second("record", instrument, "m", [16], {"k": "a"})
    first.kill()
    assert second("tidy") == 1
    assert _total(second("collect")["m"][A]) == _point(kind, 1, 2.5, 4, 8, 16)


@pytest.mark.parametrize("kind", ["counter", "histogram", "exponential"])
def test_extremes_and_deltas_of_what_returned_are_right(start, kind) -> None:
    instrument, views = _sort(kind)
    (first,) = start(1, views)
    first("record", instrument, "m", [5, 1], {"k": "a"})
    assert _total(first("collect_own")["m"][A]) == _point(kind, 5, 1)
    first("record", instrument, "m", [7], {"k": "a"})
    first("remove", instrument, "m", {"k": "a"})
    assert _total(first("collect_own")["m"][A]) == _point(kind, 7)
    first("record", instrument, "m", [3], {"k": "a"})
    shown = first("collect_own")["m"][A]
    assert _total(shown) == _point(kind, 3)
    if isinstance(shown, tuple):
        assert shown[-2:] == (3, 3)
    second = start(1, views)[0]
    second("record", instrument, "m", [4], {"k": "a"})
    shown = first("collect")["m"][A]
    assert _total(shown) == _point(kind, 5, 1, 7, 3, 4)
    if isinstance(shown, tuple):
        assert shown[-2:] == (1, 7)


def test_a_gauge_that_is_removed_says_nothing_any_longer(start) -> None:
    first, second = start(2)
    first("record", "gauge", "g", [1], {"k": "a"})
    second("record", "gauge", "g", [2], {"k": "a"})
    second("remove", "gauge", "g", {"k": "a"})
    for worker in (first, second):
        assert worker("collect")["g"] == {A: 1}
    first("remove", "gauge", "g", {"k": "a"})
    for worker in (first, second):
        assert worker("collect") == {}
    first("record", "gauge", "g", [3.5], {"k": "a"})
    for worker in (first, second):
        assert worker("collect")["g"] == {A: 3.5}


@pytest.mark.parametrize("rule", ["sum", "livesum", "max", "min", "last"])
def test_a_gauge_that_is_removed_has_no_part_in_what_the_others_say(start, rule) -> None:
    first, second = start(2, [{"instrument_name": "m", "merge": rule}])
    first("hold", "gauge", "m", [5], {"k": "a"})
    second("record", "gauge", "m", [7], {"k": "a"})
    first("remove", "gauge", "m", {"k": "a"})
    for worker in (first, second):
        assert worker("collect")["m"] == {A: 7}


def test_a_forked_child_forgets_for_itself(start) -> None:
    first, second = start(2)
    for _ in range(3):
        first("fork_and_remove")
    for worker in (first, second):
        assert worker("collect")["forked"] == {(("k", "v"),): 33}


@pytest.mark.parametrize("kind", KINDS)
def test_idle_series_go_in_every_process_and_are_told_so_by_the_keeper(start, kind) -> None:
    instrument, views = _sort(kind)
    views = [{**(views[0] if views else {"instrument_name": "m"}), "forget_after": 0.2}]
    first, second = start(2, views)
    amounts = [2, -2] if kind == "up_down_counter" else [2]
    for worker in (first, second):
        worker("record", instrument, "m", amounts, {"k": "a"})
        assert A in worker("collect")["m"]
    deadline = time.monotonic() + 30
    while (first("collect") or second("held")) and time.monotonic() < deadline:
        if kind != "counter":  # nobody looks at the other one but its own keeper
            second("tidy")
        time.sleep(0.1)
    assert (first("collect"), second("held")) == ({}, 0)
    second("record", instrument, "m", [4], {"k": "a"})
    assert _total(first("collect")["m"][A]) == _point(kind, *amounts, *amounts, 4)


def test_forgetting_makes_room_in_what_is_shown_of_all(start) -> None:
    first, second = start(2, limit=2)
    for turn in range(3):
        for worker, name in ((first, "a"), (second, "b")):
            worker("record", "counter", "c", [1], {"k": f"{name}{turn}"})
        for worker in (first, second):
            assert worker("collect")["c"] == {(("k", f"{name}{turn}"),): 1 for name in "ab"}
        for worker, name in ((first, "a"), (second, "b")):
            worker("remove", "counter", "c", {"k": f"{name}{turn}"})
    assert first("collect") == {}


def test_what_a_handle_has_returns_with_all_it_had_though_there_is_no_room(start) -> None:
    first, second = start(2, limit=1)
    first("hold", "counter", "c", [1], {"k": "a"})
    first("collect_own")
    first("remove", "counter", "c", {"k": "a"})
    first("record", "counter", "c", [2], {"k": "b"})
    first("hold", "counter", "c", [4], {"k": "a"})
    first("collect")
    for worker in (first, second):
        assert sum(worker("collect")["c"].values()) == 7
    assert second("collect")["c"] == first("collect")["c"] == {A: 5, OVERFLOW: 2}


def test_readers_of_other_limits_have_streams_of_their_own(start) -> None:
    first, second = start(2)
    for worker in (first, second):
        worker("limit", {"counter": 1})
    for worker, names in ((first, "ab"), (second, "ac")):
        for name in names:
            worker("record", "counter", "c", [1], {"k": name})
    for worker in (first, second):
        assert sum(worker("collect")["c"].values()) == 4
        assert len(worker("collect")["c"]) == 3
        assert worker("collect_limited")["c"] == {A: 2, OVERFLOW: 2}


def test_a_process_that_has_no_such_reader_shows_each_metric_once(start) -> None:
    first, second = start(2)
    first("limit", {"counter": 1, "observable_counter": 1})
    first("record", "counter", "c", [1], {"k": "a"})
    first("observe", "counter", "o", (3, {"k": "a"}))
    second("record", "counter", "c", [1], {"k": "a"})
    deadline = time.monotonic() + 10
    while "o" not in second("collect") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert second("collect") == {"c": {A: 2}, "o": {A: 3}}


def test_a_change_of_the_common_limit_does_not_part_old_workers_from_new(start) -> None:
    (first,) = start(1, limit=5)
    (second,) = start(1, limit=7)
    first("record", "counter", "c", [1], {"k": "a"})
    second("record", "counter", "c", [2], {"k": "a"})
    assert first("collect")["c"] == second("collect")["c"] == {A: 3}


@pytest.mark.parametrize("kind", ["counter", "up_down_counter", "gauge"])
def test_what_is_observed_by_nobody_any_longer_goes_after_its_time(start, kind) -> None:
    first, second = start(2, [{"instrument_name": "o", "forget_after": 0.2}])
    for worker in (first, second):
        worker("observe", kind, "o", (3, {"k": "a"}))
    deadline = time.monotonic() + 30
    expected = {A: 3 if kind == "gauge" else 6}
    while first("collect").get("o") != expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert first("collect")["o"] == expected
    for worker in (first, second):
        worker("observe", kind, "o")
    while (first("collect") or first("held") or second("held")) and time.monotonic() < deadline:
        first("tidy"), second("tidy")
        time.sleep(0.1)
    assert (first("collect"), first("held"), second("held")) == ({}, 0, 0)
    first("observe", kind, "o", (5, {"k": "a"}))
    assert first("collect")["o"] == {A: 8 if kind == "counter" else 5}


@pytest.mark.parametrize("kind", ["counter", "histogram", "exponential"])
def test_what_only_ended_processes_had_goes_after_its_time_too(start, kind) -> None:
    instrument, views = _sort(kind)
    views = [{**(views[0] if views else {"instrument_name": "m"}), "forget_after": 0.2}]
    first, second = start(2, views)
    for worker in (first, second):
        worker("record", instrument, "m", [2], {"k": "a"})
    first("record", instrument, "m", [1], {"k": "b"})
    first.kill()
    assert second("tidy") == 1
    deadline = time.monotonic() + 30
    while second("collect") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert second("collect") == {}
    second("record", instrument, "m", [4], {"k": "b"})
    shown = second("collect")["m"]
    assert {key: _total(value) for key, value in shown.items()} == {(("k", "b"),): _point(kind, 1, 4)}
    (third,) = start(1, views)
    third("record", instrument, "m", [8], {"k": "a"})
    assert _total(second("collect")["m"][A]) == _point(kind, 2, 2, 8)
