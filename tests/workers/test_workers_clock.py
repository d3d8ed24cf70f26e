"""A clock that is set, with siblings whose clock is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workers.load import total
from tests.workers.programs import run

if TYPE_CHECKING:
    from tests.workers.programs import Observer

pytestmark = pytest.mark.endtoend


def test_a_clock_that_is_set_moves_no_counter_back_and_turns_no_interval(observer: Observer) -> None:
    result = run("tests.workers.clocks", environment=observer.environment)
    assert result["faults"] == []
    assert result["negative"] == []
    assert result["jobs"] == result["steps"]
    assert len(result["begun"]) == 1
    assert total(observer.counters(), "service_jobs_total", kind="common") == result["steps"]


def test_the_same_where_a_process_is_alone(environment: dict[str, str]) -> None:
    result = run("tests.workers.clocks", environment={**environment, "OTELBRIDGE_WORKERS": "separate"})
    assert result["faults"] == []
    assert result["negative"] == []
    assert result["jobs"] == result["steps"]
