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
from tests.workers.load import CLIENTS, Load, Tally, Watch, ask, counters, kill_now_and_then, scrape_each, total
from tests.workers.serving import SERVERS, WORKERS, served
from tests.workers.soak import LENGTHS, chosen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend


def expect_exact(server: Server, tally: Tally, watch: Watch) -> None:
    """At rest, whoever is scraped shows what the clients have counted; nothing ever fell."""
    assert not tally.wrong, tally.wrong[0]
    assert tally.answered > 0
    eventually(lambda: _settled(server.port), "the totals stand still")
    pages = scrape_each(server)
    assert len(pages) > 1
    assert not watch.faults, "\n".join(watch.faults[:40])
    shown = {frozenset(_service(page).items()) for page in pages.values()}
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


def _service(page: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {key: value for key, value in counters(page).items() if key[0].startswith("service_")}


def _settled(port: int) -> bool:
    before = _service(ask(port, "/metrics").body.decode())
    time.sleep(0.3)
    return before == _service(ask(port, "/metrics").body.decode())


_EVERY_DAY = (
    "uvicorn",
    "gunicorn sync",
    "gunicorn gthread",
    "gunicorn asgi",
    "gunicorn uvicorn",
    "gunicorn preload",
    "uwsgi",
)


@pytest.mark.parametrize("name", chosen(_EVERY_DAY, tuple(SERVERS.keys() - _EVERY_DAY)))
def test_killed_workers_lose_nothing(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    with served(name, environment=environment, log_file=tmp_path / "log") as server:
        with Watch(server.port) as watch, Load(server.port) as load:
            kills = kill_now_and_then(server, LENGTHS.kills, LENGTHS.load_seconds, server.workers)
            eventually(watch.has_seen_enough, "some scrapes were answered")
        assert kills == LENGTHS.kills
        assert load.tally.unanswered <= kills * CLIENTS
        eventually(lambda: len(server.workers()) >= WORKERS, "the killed workers are replaced")
        expect_exact(server, load.tally, watch)


@pytest.mark.parametrize(
    "name", chosen(("gunicorn gthread", "gunicorn uvicorn"), ("gunicorn sync", "gunicorn preload"))
)
def test_recycled_workers_lose_nothing(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    with served(name, "--max-requests", "50", environment=environment, log_file=tmp_path / "log") as server:
        first = set(server.workers())
        with Watch(server.port) as watch, Load(server.port) as load:
            eventually(lambda: not first & set(server.workers()), "all workers were recycled")
            time.sleep(LENGTHS.load_seconds)
            eventually(watch.has_seen_enough, "some scrapes were answered")
        expect_exact(server, load.tally, watch)


@pytest.mark.parametrize("name", chosen(("uvicorn", "gunicorn asgi"), ("gunicorn sync",)))
def test_a_reload_under_load_loses_nothing(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    with served(name, environment=environment, log_file=tmp_path / "log") as server:
        first = set(server.workers())
        with Watch(server.port) as watch, Load(server.port) as load:
            time.sleep(LENGTHS.load_seconds / 2)
            server.send(signal.SIGHUP)
            eventually(
                lambda: not first & set(server.workers()) and len(server.workers()) >= WORKERS, "all were replaced"
            )
            time.sleep(LENGTHS.load_seconds / 2)
            eventually(watch.has_seen_enough, "some scrapes were answered")
        expect_exact(server, load.tally, watch)


@pytest.mark.parametrize("name", ["gunicorn gthread", "gunicorn preload"])
def test_an_upgrade_under_load_loses_nothing(name: str, environment: dict[str, str], tmp_path: Path) -> None:
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
        assert server.process.poll() is not None, "the old master still runs"
        expect_exact(server, load.tally, watch)
