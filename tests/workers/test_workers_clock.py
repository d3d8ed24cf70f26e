"""A clock that is set, with siblings whose clock is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.workers.load import total
from tests.workers.programs import GROUP, observed, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend


def test_a_clock_that_is_set_moves_no_counter_back(environment: dict[str, str], tmp_path: Path) -> None:
    with observed(environment, tmp_path) as observer:
        result = run("tests.workers.clocks", environment={**environment, **GROUP})
        assert result["faults"] == []
        assert result["jobs"] == result["steps"]
        assert len(result["begun"]) == 1
        assert total(observer.counters(), "service_jobs_total", kind="common") == result["steps"]


def test_no_interval_ends_before_it_begins(environment: dict[str, str]) -> None:
    assert run("tests.workers.clocks", environment=environment)["negative"] == []
