"""`shutdown` and `init` again in one process: it counts from zero, and what did not arrive is delivered as it was."""

from __future__ import annotations

import os
import socket
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from otelbridge.cells import evidence
from otelbridge.cells.evidence import GROUP_VARIABLE, begin_anew, group_of
from tests.otlp.faults import Receiver, answer
from tests.otlp.spooling import Programs, eventually, points

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.endtoend


@contextmanager
def _nobody() -> Iterator[int]:
    """Keep a port where nobody answers, until the end of the block."""
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1/metrics"


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_what_each_run_counted_arrives_once_as_its_own(started: Programs, temporality) -> None:
    instances = []
    with _nobody() as port:
        program = started.start(_url(port), temporality=temporality, interval=0.3)
        for _ in range(3):
            program("add", 1)
            instances.append(program("instance"))
            assert not program("restart", 0.2)
    with Receiver(answer(), port=port) as receiver:
        eventually(lambda: len(started.groups) == 1)
        program("add", 5)
        instances.append(program("instance"))
        assert program("shutdown")
        assert len(set(instances)) == 4
        found = Counter((point.instance, point.value) for point in points(receiver, "orders"))
    assert {each for each in found if each[0] != instances[-1]} == {(each, 1) for each in instances[:3]}
    assert all(found[each, 1] == 1 for each in instances[:3])
    values = [value for instance, value in found if instance == instances[-1]]
    assert (sum if temporality == "delta" else max)(values) == 5


def test_what_arrived_is_not_delivered_again(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        program = started.start(receiver.url)
        for _ in range(3):
            program("add", 1)
            assert program("restart")
            assert len(started.groups) == 1
        program("add", 1)
        assert program("shutdown")
        found = [(point.instance, point.value) for point in points(receiver, "orders")]
    assert [value for _, value in found] == [1, 1, 1, 1]
    assert len(set(found)) == 4


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_find_the_group_of_the_present_run(started: Programs, method) -> None:
    with _nobody() as port:
        program = started.start(_url(port))
        program("add", 1)
        first = program("group")
        assert not program("restart", 0.2)
        program("add", 10)
        second = program("group")
        assert program("multiply", 100, method) == second != first
    with Receiver(answer(), port=port) as receiver:
        assert program("flush")
        assert [point.value for point in points(receiver, "orders") if point.instance == program("instance")] == [110]


def test_who_leaves_others_behind_comes_back_to_them(started: Programs) -> None:
    with _nobody() as port:
        program = started.start(_url(port))
        program("add", 1)
        instance = program("instance")
        program("fork")
        assert not program("restart", 0.2)
        program("add", 1)
        assert program("instance") == instance
    with Receiver(answer(), port=port) as receiver:
        assert program("flush")
        assert [(point.instance, point.value) for point in points(receiver, "orders")] == [(instance, 2)]


def test_workers_that_are_told_their_group_stay_in_it(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        worker, other = (started.start(receiver.url, group="workers") for _ in range(2))
        for one in (worker, other):
            one("add", 1)
        assert worker("restart")
        worker("add", 1)
        assert worker("instance") == other("instance")
        assert worker("flush")
        assert [point.value for point in points(receiver, "orders")] == [2, 3]


def test_who_loses_patience_with_the_last_push_leaves_it_to_the_next_run(started: Programs) -> None:
    with _nobody() as port:
        program = started.start(_url(port))
        program("add", 1)
        instance = program("instance")
        assert program("interrupted_shutdown") == "KeyboardInterrupt"
        assert len(started.groups) == 1
    with Receiver(answer(), port=port) as receiver:
        program("restart")
        eventually(lambda: points(receiver, "orders"))
        assert [(point.instance, point.value) for point in points(receiver, "orders")] == [(instance, 1)]


def test_a_group_is_left_for_another_by_the_one_it_was_named_after(monkeypatch) -> None:
    monkeypatch.setattr(evidence, "_ended", Counter())
    names = []
    for _ in range(2):
        monkeypatch.delenv(GROUP_VARIABLE, raising=False)
        names.append(group_of("shop"))
        assert names[-1].pid == os.getpid()
        begin_anew(names[-1])
    monkeypatch.setenv(GROUP_VARIABLE, "told")
    told = group_of("shop")
    begin_anew(told)
    assert group_of("shop") == told
    assert len({one.name for one in (*names, told)}) == 3
