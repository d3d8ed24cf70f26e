"""Processes that fork, end and are interrupted in every way, as a sibling that goes on living sees them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.cells.servers import eventually
from tests.workers import endings
from tests.workers.children import JOBS
from tests.workers.endings import ENDINGS, OF_A_CHILD
from tests.workers.load import total
from tests.workers.programs import GROUP, attempt, observed, run
from tests.workers.soak import LENGTHS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend

_FORKS_SECONDS = 0.5


def test_every_end_of_a_process_leaves_its_counts(environment: dict[str, str], tmp_path: Path) -> None:
    expected = 0
    with observed(environment, tmp_path) as observer:
        for how in ENDINGS:
            attempt([sys.executable, "-m", "tests.workers.endings", how], environment={**environment, **GROUP})
            expected += endings.JOBS + (OF_A_CHILD if how.endswith("child") else 0)
            shown = observer.counters()
            assert total(shown, "service_jobs_total", kind="common") == expected, how
            assert total(shown, "service_job_size_bytes_count") == expected, how


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_that_leave_without_a_word_lose_nothing(method: str, environment: dict[str, str]) -> None:
    shown = run("tests.workers.children", method, str(LENGTHS.children), environment=environment)
    assert shown == {"jobs": 1 + LENGTHS.children * JOBS}


def test_forks_under_load_neither_hang_nor_count_twice(environment: dict[str, str], tmp_path: Path) -> None:
    with observed(environment, tmp_path) as observer:
        shown = run(
            "tests.workers.forks",
            str(LENGTHS.forks),
            str(LENGTHS.recorders),
            environment={**environment, **GROUP},
            timeout=60 + _FORKS_SECONDS * LENGTHS.forks,
        )
        assert shown["hung"] == 0
        assert shown["recorded"] > 0
        assert shown["threads"] == shown["each"] == shown["recorded"]
        assert shown["forked"] == shown["forked apart"] == LENGTHS.forks
        assert shown["sizes"] == shown["recorded"] + LENGTHS.forks
        seen = observer.counters()
        assert total(seen, "service_jobs_total", kind="threads") == shown["recorded"]
        assert total(seen, "service_jobs_total", kind="forked") == LENGTHS.forks
        assert total(seen, "service_job_size_bytes_count") == shown["sizes"]


@pytest.mark.parametrize("where", ["signal", "gc", "del", "atexit"])
def test_what_interruptions_record_is_exact(where: str, environment: dict[str, str], tmp_path: Path) -> None:
    with observed(environment, tmp_path) as observer:
        number = str(LENGTHS.signals)
        tally = run("tests.workers.interruptions", where, number, environment={**environment, **GROUP})
        assert tally["interruption"] >= LENGTHS.signals
        seen = observer.counters()
        assert total(seen, "service_jobs_total", kind="interruption") == tally["interruption"]
        assert total(seen, "service_jobs_total", kind="both") == tally["interruption"] + tally["main"]
        assert total(seen, "service_job_size_bytes_count") == tally["interruption"] + tally["main"]


def test_recording_after_shutdown_is_harmless(environment: dict[str, str], tmp_path: Path) -> None:
    with observed(environment, tmp_path) as observer:
        tally = run("tests.workers.interruptions", "shutdown", "100", environment={**environment, **GROUP})
        assert tally == {"main": 0, "interruption": 0}
        eventually(lambda: total(observer.counters(), "service_jobs_total") == 0, "nothing is counted")
