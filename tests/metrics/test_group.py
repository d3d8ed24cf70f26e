"""Several processes as one: what each of them shows of all."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.metrics.group import EXPONENTIAL, Worker


def _all_show(workers: list[Worker], name: str, expected: dict[Any, Any]) -> None:
    for worker in workers:
        assert worker("collect")[name] == expected


def test_sums_are_added_and_outlive_their_process(start) -> None:
    first, second, third = start(3)
    first("record", "counter", "c", [1, 2], {"k": "a"})
    second("record", "counter", "c", [10], {"k": "a"})
    second("record", "counter", "c", [0.5], {"k": "b"})
    third("record", "counter", "other", [7])
    expected = {(("k", "a"),): 13, (("k", "b"),): 0.5}
    _all_show([first, second, third], "c", expected)
    second.kill()
    _all_show([first, third], "c", expected)
    assert third("tidy") == 1
    _all_show([first, third], "c", expected)
    (fourth,) = start(1)
    fourth("record", "counter", "c", [1], {"k": "a"})
    _all_show([first, fourth], "c", {(("k", "a"),): 14, (("k", "b"),): 0.5})
    _all_show([first, fourth], "other", {(): 7})


def test_ints_stay_ints_and_are_exact_beyond_what_a_double_holds(start) -> None:
    first, second = start(2)
    first("record", "counter", "c", [2**60 + 1])
    second("record", "counter", "c", [1])
    _all_show([first, second], "c", {(): 2**60 + 2})
    assert type(first("collect")["c"][()]) is int


def test_a_total_beyond_64_bits_becomes_a_float_and_loses_nothing_else(start) -> None:
    first, second = start(2)
    first("record", "counter", "c", [2**62] * 3)
    second("record", "counter", "c", [2**62])
    _all_show([first, second], "c", {(): float(2**64)})


def test_histograms_are_added_and_extremes_compared(start) -> None:
    first, second = start(2)
    first("record", "histogram", "h", [1.0, 7.5])
    second("record", "histogram", "h", [0.25, 30.0])
    shown = {worker("collect")["h"][()] for worker in (first, second)}
    assert {(count, total, low, high) for count, total, _, low, high in shown} == {(4, 38.75, 0.25, 30.0)}
    second.kill()
    first("record", "histogram", "h", [3.0])
    count, total, counts, low, high = first("collect")["h"][()]
    assert (count, total, sum(counts), low, high) == (5, 41.75, 5, 0.25, 30.0)
    assert first("tidy") == 1
    assert first("collect")["h"][()] == (count, total, counts, low, high)


def test_exponential_histograms_are_added(start) -> None:
    first, second = start(2, [{"instrument_name": "h", "aggregation": EXPONENTIAL}])
    first("record", "histogram", "h", [1.0, 7.5, 0.0])
    second("record", "histogram", "h", [0.25, 3e5, 1e-9])
    for worker in (first, second):
        assert worker("collect")["h"][()] == (6, 300_008.75 + 1e-9, 1, 5, 0.0, 3e5)
    second.kill()
    assert first("tidy") == 1
    first("record", "histogram", "h", [2.0])
    assert first("collect")["h"][()] == (7, 300_010.75 + 1e-9, 1, 6, 0.0, 3e5)


def test_deltas_stay_with_their_process(start) -> None:
    first, second = start(2)
    first("record", "histogram", "h", [1.0])
    first("record", "counter", "c", [3])
    second("record", "counter", "c", [4])
    assert first("collect")["c"] == {(): 7}
    assert first("collect_own")["c"] == {(): 3}
    first("record", "histogram", "h", [5.0])
    first("collect")
    assert first("collect_own")["h"][()][:2] == (1, 5.0)
    first("record", "counter", "c", [2])
    assert first("collect_own")["c"] == {(): 2}


def test_a_gauge_is_the_last_one_written_by_a_process_that_runs(start) -> None:
    first, second = start(2)
    first("record", "gauge", "g", [1])
    second("record", "gauge", "g", [2.5])
    _all_show([first, second], "g", {(): 2.5})
    first("record", "gauge", "g", [3])
    _all_show([first, second], "g", {(): 3})
    first.kill()
    _all_show([second], "g", {(): 2.5})


def test_what_is_under_way_ends_with_its_process(start) -> None:
    first, second = start(2)
    for worker in (first, second):
        worker("record", "up_down_counter", "http.server.active_requests", [2])
        worker("record", "up_down_counter", "items", [5])
    _all_show([first, second], "items", {(): 10})
    second.kill()
    _all_show([first], "http.server.active_requests", {(): 2})
    _all_show([first], "items", {(): 10})


@pytest.mark.parametrize(("rule", "expected"), [("max", 9), ("min", 1), ("last", 5)])
def test_a_view_says_how_gauges_become_one(start, rule, expected) -> None:
    first, second, third = start(3, [{"instrument_name": "g", "merge": rule}])
    for worker, value in ((first, 1), (second, 9), (third, 5)):
        worker("record", "gauge", "g", [value])
    _all_show([first, second, third], "g", {(): expected})


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram"])
def test_a_view_keeps_processes_apart(start, kind) -> None:
    first, second = start(2, [{"instrument_name": "m", "merge": "per_worker"}])
    for worker, value in ((first, 1), (second, 9)):
        worker("record", kind, "m", [value], {"k": "v"})
    shown = first("collect")["m"]
    assert set(shown) == {(("k", "v"), ("process.pid", worker.process.pid)) for worker in (first, second)}
    second.kill()
    assert list(first("collect")["m"]) == [(("k", "v"), ("process.pid", first.process.pid))]


def test_observed_values_are_merged_by_their_kind(start) -> None:
    first, second = start(2)
    for worker, value in ((first, 1), (second, 10)):
        worker("observe", "counter", "oc", (value, {"k": "v"}))
        worker("observe", "up_down_counter", "ou", (value, None))
    second("observe", "gauge", "og", (0.5, None))
    deadline = time.monotonic() + 60
    while first("collect").get("og") != {(): 0.5} and time.monotonic() < deadline:
        time.sleep(0.05)
    assert first("collect") == {"oc": {(("k", "v"),): 11}, "ou": {(): 11}, "og": {(): 0.5}}
    # A nudge brings what is observed now, not what was some time ago.
    second("observe", "counter", "oc", (20, {"k": "v"}))
    second("observe", "gauge", "og")
    assert first("collect") == {"oc": {(("k", "v"),): 21}, "ou": {(): 11}}
    second.kill()
    assert first("collect") == {"oc": {(("k", "v"),): 21}, "ou": {(): 1}}


def test_who_only_looks_is_shown_what_the_others_observe(start) -> None:
    looking, observed = start(2)
    observed("observe", "gauge", "og", (0.5, None))
    deadline = time.monotonic() + 60
    while not (shown := looking("collect")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert shown == {"og": {(): 0.5}}


def test_a_counter_that_is_no_longer_observed_keeps_what_it_had(start) -> None:
    first, second = start(2)
    first("observe", "counter", "oc", (5, {"k": "v"}))
    second("record", "counter", "c", [1])
    assert first("collect")["oc"] == {(("k", "v"),): 5}
    first("observe", "counter", "oc")
    assert first("collect")["oc"] == {(("k", "v"),): 5}


def test_a_forked_child_is_one_more_process(start) -> None:
    first, second = start(2)
    for _ in range(3):
        first("fork")
    _all_show([first, second], "forked", {(): 33})


def test_starts_are_the_groups_and_stay(start) -> None:
    first, second = start(2)
    first("record", "counter", "c", [1])
    began = first("started")
    assert second("started") == began
    second.kill()
    (third,) = start(1)
    assert third("started") == began


def test_the_limit_holds_for_all_together(start) -> None:
    first, second = start(2, limit=3)
    for number in range(3):
        first("record", "counter", "c", [1], {"k": f"a{number}"})
        second("record", "counter", "c", [1], {"k": f"b{number}"})
    for worker in (first, second):
        shown = worker("collect")["c"]
        assert len(shown) == 4
        assert sum(shown.values()) == 6
        assert shown[(("otel.metric.overflow", True),)] == 3
    second("record", "counter", "c", [1], {"k": "b9"})
    assert sum(first("collect")["c"].values()) == 7


def test_a_process_that_leaves_in_order_leaves_its_counts(start) -> None:
    first, second = start(2)
    first("record", "counter", "c", [1])
    second("record", "counter", "c", [2])
    second.shutdown()
    _all_show([first], "c", {(): 3})


def test_a_view_renames_what_only_another_process_has(start) -> None:
    first, second = start(2, [{"instrument_name": "c", "name": "renamed", "attribute_keys": {"k"}}])
    second("record", "counter", "c", [2], {"k": "v", "dropped": "x"})
    assert first("collect") == {"renamed": {(("k", "v"),): 2}}
    first("record", "counter", "c", [1], {"k": "v"})
    _all_show([first, second], "renamed", {(("k", "v"),): 3})
