"""Processes that fork, end and are interrupted in every way, as a sibling that goes on living sees them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.workers import endings
from tests.workers.children import JOBS
from tests.workers.endings import ENDINGS, OF_A_CHILD
from tests.workers.load import total
from tests.workers.programs import attempt, run
from tests.workers.soak import LENGTHS, chosen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.workers.programs import Observer

pytestmark = pytest.mark.endtoend

_FORKS_SECONDS = 0.5
_VICTIMS_SECONDS = 0.5
_AT_ONCE = 2
# The other ways multiprocessing starts children have a test of their own.
_EVERY_DAY = ("return", "exception", "SIGTERM", "SIGKILL", "os._exit", "os.fork child", "spawn child")


def test_every_end_of_a_process_leaves_its_counts(observer: Observer) -> None:
    ways = chosen(_EVERY_DAY, tuple(ENDINGS.keys() - _EVERY_DAY))
    before = total(observer.counters(), "service_job_size_bytes_count")

    def end(how: str) -> None:
        attempt([sys.executable, "-m", "tests.workers.endings", how], environment=observer.environment)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(end, ways))
    expected = {how: endings.JOBS + (OF_A_CHILD if how.endswith("child") else 0) for how in ways}
    shown = observer.counters()
    assert {how: total(shown, "service_jobs_total", kind=how) for how in ways} == expected
    assert total(shown, "service_job_size_bytes_count") - before == sum(expected.values())


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_that_leave_without_a_word_lose_nothing(method: str, environment: dict[str, str]) -> None:
    shown = run("tests.workers.children", method, str(LENGTHS.children), environment=environment)
    assert shown == {"jobs": 1 + LENGTHS.children * JOBS}


def test_victims_lose_at_most_what_they_were_doing(
    observer: Observer, record_property: Callable[[str, object], None]
) -> None:
    timeout = 240 + _VICTIMS_SECONDS * LENGTHS.victims
    said = run("tests.workers.victims", str(LENGTHS.victims), environment=observer.environment, timeout=timeout)
    outside, itself = said["from outside"], said["by itself"]
    for kind, killed in (("from outside", outside), ("by itself", itself)):
        for name, value in killed.items():
            record_property(f"{kind} {name}", value)
    assert said["faults"] == []
    assert said["scrapes"] > 1
    assert itself["shown"] == itself["tally"]
    assert 0 <= outside["shown"] - outside["tally"] <= outside["kills"]
    seen = observer.counters()
    assert total(seen, "service_jobs_total", kind="by itself") == itself["shown"]
    assert total(seen, "service_jobs_total", kind="from outside") == outside["shown"]


def test_forks_under_load_neither_hang_nor_count_twice(
    observer: Observer, record_property: Callable[[str, object], None]
) -> None:
    before = total(observer.counters(), "service_job_size_bytes_count")
    shown = run(
        "tests.workers.forks",
        str(LENGTHS.forks),
        str(LENGTHS.recorders),
        environment=observer.environment,
        timeout=240 + _FORKS_SECONDS * LENGTHS.forks,
    )
    for name in ("hung", "recorded", "threads", "forked"):
        record_property(name, shown[name])
    assert shown["hung"] == 0
    assert shown["recorded"] > 0
    assert shown["threads"] == shown["each"] == shown["recorded"]
    assert shown["forked"] == shown["forked apart"] == LENGTHS.forks
    assert shown["sizes"] - before == shown["recorded"] + LENGTHS.forks
    seen = observer.counters()
    assert total(seen, "service_jobs_total", kind="threads") == shown["recorded"]
    assert total(seen, "service_jobs_total", kind="forked") == LENGTHS.forks
    assert total(seen, "service_job_size_bytes_count") == shown["sizes"]


@pytest.mark.parametrize("where", ["signal", "gc", "del", "atexit"])
def test_what_interruptions_record_is_exact(
    where: str, observer: Observer, record_property: Callable[[str, object], None]
) -> None:
    before = observer.counters()
    tally = run("tests.workers.interruptions", where, str(LENGTHS.signals), environment=observer.environment)
    seen = observer.counters()

    def grown(name: str, **labels: str) -> float:
        return total(seen, name, **labels) - total(before, name, **labels)

    record_property("interruptions", tally["interruption"])
    record_property("difference", grown("service_jobs_total", kind="both") - sum(tally.values()))
    assert tally["interruption"] >= LENGTHS.signals
    assert grown("service_jobs_total", kind="interruption") == tally["interruption"]
    assert grown("service_jobs_total", kind="both") == tally["interruption"] + tally["main"]
    assert grown("service_job_size_bytes_count") == tally["interruption"] + tally["main"]


def test_recording_after_shutdown_is_harmless(observer: Observer) -> None:
    before = total(observer.counters(), "service_jobs_total")
    tally = run("tests.workers.interruptions", "shutdown", "100", environment=observer.environment)
    assert tally == {"main": 0, "interruption": 0}
    assert total(observer.counters(), "service_jobs_total") == before
