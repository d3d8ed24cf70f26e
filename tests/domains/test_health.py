"""Exceptions nobody handled, each counted once."""

from __future__ import annotations

import logging
import pickle
from dataclasses import FrozenInstanceError, dataclass

import pytest

from otelbridge.domains import health, tasks
from otelbridge.metrics.switch import switch


@dataclass(frozen=True)
class FrozenError(Exception):
    code: int


class EchoingError(Exception):
    """Has an answer for every name."""

    def __getattr__(self, name):
        return name


class SecretiveError(Exception):
    """Has an answer for none."""

    def __getattribute__(self, name):
        raise RuntimeError(name)


def test_an_exception_is_counted_by_class_and_origin(recorded):
    health.exception(ValueError("a"), origin="http")
    health.exception(ValueError("b"), origin="http")
    health.exception(KeyError("c"), origin="importer")
    assert recorded.points("health.exceptions") == [
        ({"error.type": "ValueError", "health.exception.origin": "http"}, 2),
        ({"error.type": "KeyError", "health.exception.origin": "importer"}, 1),
    ]


@pytest.mark.parametrize("error", [ValueError("plain"), FrozenError(3), EchoingError()])
def test_several_boundaries_count_it_once(recorded, error):
    health.exception(error, origin="agent")
    health.exception(error, origin="task")
    health.exception(error, origin="http")
    [(attributes, count)] = recorded.points("health.exceptions")
    assert (attributes["health.exception.origin"], count) == ("agent", 1)


def test_a_frozen_exception_really_refuses_attributes():
    with pytest.raises(FrozenInstanceError):
        FrozenError(1).code = 2


def test_one_that_cannot_be_marked_is_counted_rather_than_lost(recorded):
    health.exception(SecretiveError(), origin="task")
    assert recorded.value("health.exceptions") == 1


def test_the_mark_survives_the_way_between_processes(recorded):
    error = ValueError("from a worker")
    health.exception(error, origin="task")
    health.exception(pickle.loads(pickle.dumps(error)), origin="http")
    assert recorded.value("health.exceptions") == 1


def test_an_exception_that_leaves_a_task_and_then_a_request_is_the_tasks(recorded):
    with pytest.raises(ValueError, match="lost") as raised, tasks.task("job"):
        raise ValueError("lost")
    health.exception(raised.value, origin="http")
    assert recorded.points("health.exceptions") == [
        ({"error.type": "ValueError", "health.exception.origin": "task"}, 1)
    ]


def test_what_is_no_exception_is_reported_and_left_out(recorded, caplog):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        health.exception("boom", origin="http")
        health.exception(ValueError, origin="http")
    assert recorded.points("health.exceptions") == []
    assert [record.getMessage() for record in caplog.records] == ["health.exception() takes an exception, not 'boom'."]


def test_one_that_was_seen_while_nothing_recorded_can_still_be_counted(recorded):
    error = ValueError("early")
    switch.disconnect()
    health.exception(error, origin="http")
    switch.connect(recorded.provider)
    assert recorded.points("health.exceptions") == []
    health.exception(error, origin="http")
    assert recorded.value("health.exceptions") == 1


# Components


def states(recorded, name: str = "db") -> dict[str, float]:
    """Value by state, of one component."""
    points = recorded.points("health.component.status")
    return {
        attributes["health.component.state"]: value
        for attributes, value in points
        if attributes["health.component.name"] == name
    }


@pytest.fixture
def report():
    """Reports components for the time of one test."""
    registrations = []

    def report(*arguments, **keywords):
        registrations.append(health.component(*arguments, **keywords))
        return registrations[-1]

    yield report
    for registration in registrations:
        registration.close()


def only(state: str) -> dict[str, float]:
    return {each: int(each == state) for each in ("healthy", "degraded", "unhealthy")}


@pytest.mark.parametrize(
    ("told", "state"),
    [
        ("healthy", "healthy"),
        ("degraded", "degraded"),
        ("unhealthy", "unhealthy"),
        (True, "healthy"),
        (False, "unhealthy"),
    ],
)
def test_a_component_is_in_one_state(recorded, report, told, state, caplog):
    report("db", lambda: told, type="database")
    assert recorded.points("health.component.status")[0][0]["health.component.type"] == "database"
    assert states(recorded) == only(state)
    assert [(each.name, each.type, each.state) for each in health.components()] == [("db", "database", state)]
    assert caplog.records == []


def test_the_state_is_asked_for_each_time(recorded, report):
    told = ["healthy"]
    report("db", lambda: told[0])
    assert states(recorded) == only("healthy")
    told[0] = "degraded"
    assert states(recorded) == only("degraded")


@pytest.mark.parametrize("told", [None, "fine", 1, [], ["healthy"], float("nan")])
def test_a_check_that_nobody_understands_is_no_good_news_and_told_once(recorded, report, told, caplog):
    report("db", lambda: told)
    for _ in range(2):
        assert states(recorded) == only("unhealthy")
    (record,) = caplog.records
    assert f"'db' gave {told!r}" in record.getMessage()
    assert "healthy, degraded, unhealthy" in record.getMessage()


def test_a_check_that_fails_is_no_good_news_and_costs_the_others_nothing(recorded, report, caplog):
    def broken():
        raise ConnectionError("gone")

    report("db", broken)
    report("cache", lambda: True, type="cache")
    for _ in range(2):
        assert states(recorded) == only("unhealthy")
        assert states(recorded, "cache") == only("healthy")
    (record,) = caplog.records
    assert "'db' raised ConnectionError('gone')" in record.getMessage()


def test_a_component_can_be_replaced_and_goes_when_it_is_closed(recorded, report):
    first = report("db", lambda: True)
    second = report("db", lambda: False)
    first.close()
    assert states(recorded) == only("unhealthy")
    second.close()
    second.close()
    assert (states(recorded), health.components()) == ({}, [])


@pytest.mark.parametrize("arguments", [(None, bool), ([], bool), ("db", None), ("db", "healthy")])
def test_what_is_no_component_is_told_and_left_out(recorded, report, arguments, caplog):
    report(*arguments).close()
    report("db", bool, type=None)
    assert (states(recorded), health.components()) == ({}, [])
    (record,) = caplog.records
    assert "takes a name, a function and a type" in record.getMessage()
