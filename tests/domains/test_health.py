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
