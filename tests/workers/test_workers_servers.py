"""Real servers with many workers under load, while workers are killed, recycled and replaced.

Every answered request counts, whoever answered it. A request whose worker was killed under it may count or not: there
is at most one a kill and client.
"""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.cells.servers import Server, eventually
from tests.workers.load import CLIENTS, Load, Tally, Values, Watch, ask, counters, kill_now_and_then, scrape_each, total
from tests.workers.serving import LOADED_ONCE, SERVERS, served
from tests.workers.soak import LENGTHS, chosen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Expect = Callable[[Server, Tally, Watch], Values]

pytestmark = pytest.mark.endtoend


@pytest.fixture
def expect_exact(record_property: Callable[[str, object], None]) -> Expect:
    """Checks that at rest whoever is scraped shows what the clients have counted, and that nothing ever fell."""

    def expect(server: Server, tally: Tally, watch: Watch) -> Values:
        values = _expect_exact(server, tally, watch)
        record_property("answered", tally.answered)
        record_property("unanswered", tally.unanswered)
        record_property("counted", int(total(values, "service_jobs_total", kind="common")))
        record_property("scrapes", watch.scrapes)
        return values

    return expect


def _expect_exact(server: Server, tally: Tally, watch: Watch) -> Values:
    assert not tally.wrong, tally.wrong[0]
    assert tally.answered > 0
    eventually(lambda: _settled(server.port), "the totals stand still")
    pages = scrape_each(server)
    assert len(pages) > 1
    assert not watch.faults, "\n".join(watch.faults[:40])
    shown = {frozenset(_jobs(page).items()) for page in pages.values()}
    assert len(shown) == 1, shown
    values = counters(next(iter(pages.values())))
    done = total(values, "service_jobs_total", kind="common")
    assert tally.answered <= done <= tally.answered + tally.unanswered, tally
    # Each job is recorded by three calls. A worker may be killed between two of them.
    for of_a_job in (total(values, "service_jobs_total") - done, total(values, "service_job_size_bytes_count")):
        assert done - tally.unanswered <= of_a_job <= done
    states = [json.loads(ask(server.port, "/status").body) for _ in range(8)]
    assert {state["degraded"] for state in states} == {""}
    assert len({state["group"] for state in states}) == 1
    assert len({state["instance"] for state in states}) == 1
    begun = [set(state["begun"]) for state in states]
    assert all(len(each) == 1 for each in begun), begun
    assert len(set.union(*begun)) == 1
    return values


def _jobs(page: str) -> Values:
    return {key: value for key, value in counters(page).items() if key[0].startswith("service_job")}


def _settled(port: int) -> bool:
    before = _jobs(ask(port, "/metrics").body.decode())
    time.sleep(0.3)
    return before == _jobs(ask(port, "/metrics").body.decode())


def _all_workers(server: Server) -> list[int]:
    """The workers, once those that were killed before are replaced: uvicorn looks after one at a time."""
    eventually(lambda: len(server.workers()) >= server.wanted, "the killed workers are replaced")
    return server.workers()


_EVERY_DAY = (
    "uvicorn",
    "gunicorn sync",
    "gunicorn gthread",
    "gunicorn uvicorn",
    "gunicorn preload",
    "gunicorn gevent preload",
    "uwsgi",
    "uwsgi python hooks",
)


@pytest.mark.parametrize("name", chosen(_EVERY_DAY, tuple(SERVERS.keys() - _EVERY_DAY)))
def test_killed_workers_lose_nothing(
    name: str,
    environment: dict[str, str],
    tmp_path: Path,
    expect_exact: Expect,
    record_property: Callable[[str, object], None],
) -> None:
    with served(name, environment=environment, log_file=tmp_path / "log") as server:
        with Watch(server.port) as watch, Load(server.port) as load:
            kills = kill_now_and_then(server, LENGTHS.kills, LENGTHS.load_seconds, lambda: _all_workers(server))
            eventually(watch.has_seen_enough, "some scrapes were answered")
        record_property("kills", kills)
        assert kills == LENGTHS.kills
        assert load.tally.unanswered <= kills * CLIENTS
        _all_workers(server)
        values = expect_exact(server, load.tally, watch)
        if name in LOADED_ONCE:
            # What was counted before the workers were forked is the first process', and counts once.
            assert total(values, "service_starts_total") == 1


@pytest.mark.parametrize(
    "name", chosen(("gunicorn gthread",), ("gunicorn uvicorn", "gunicorn sync", "gunicorn preload"))
)
def test_recycled_workers_lose_nothing(
    name: str, environment: dict[str, str], tmp_path: Path, expect_exact: Expect
) -> None:
    with served(name, "--max-requests", "50", environment=environment, log_file=tmp_path / "log") as server:
        first = set(server.workers())
        with Watch(server.port) as watch, Load(server.port) as load:
            eventually(lambda: not first & set(server.workers()), "all workers were recycled")
            time.sleep(LENGTHS.load_seconds)
            eventually(watch.has_seen_enough, "some scrapes were answered")
        expect_exact(server, load.tally, watch)


@pytest.mark.parametrize("name", chosen(("gunicorn asgi",), ("uvicorn", "gunicorn sync")))
def test_a_reload_under_load_loses_nothing(
    name: str, environment: dict[str, str], tmp_path: Path, expect_exact: Expect
) -> None:
    with served(name, environment=environment, log_file=tmp_path / "log") as server:
        first = set(server.workers())
        with Watch(server.port) as watch, Load(server.port) as load:
            time.sleep(LENGTHS.load_seconds / 2)
            server.send(signal.SIGHUP)
            eventually(
                lambda: not first & set(server.workers()) and len(server.workers()) >= LENGTHS.workers,
                "all were replaced",
            )
            time.sleep(LENGTHS.load_seconds / 2)
            eventually(watch.has_seen_enough, "some scrapes were answered")
        expect_exact(server, load.tally, watch)


@pytest.mark.parametrize("name", chosen(("gunicorn preload",), ("gunicorn gthread",)))
def test_an_upgrade_under_load_loses_nothing(
    name: str, environment: dict[str, str], tmp_path: Path, expect_exact: Expect
) -> None:
    with served(name, environment=environment, log_file=tmp_path / "log", workers=2) as server:
        first = set(server.workers())
        with Watch(server.port) as watch, Load(server.port) as load:
            server.send(signal.SIGUSR2)
            eventually(lambda: len(server.workers()) >= 4, lambda: f"the new master has workers:\n{server.log()}")
            time.sleep(LENGTHS.load_seconds / 2)
            server.send(signal.SIGTERM)
            eventually(lambda: not first & set(server.workers()), "the old workers are gone")
            time.sleep(LENGTHS.load_seconds / 2)
            eventually(watch.has_seen_enough, "some scrapes were answered")
        eventually(lambda: server.process.poll() is not None, "the old master is gone")
        expect_exact(server, load.tally, watch)
