"""Workers that do not answer: stopped by a signal, or busy in an extension that keeps the interpreter's lock."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.cells.servers import eventually
from tests.workers.load import Load, ask, counters, total
from tests.workers.serving import served
from tests.workers.soak import LENGTHS, chosen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend

_WORKERS = 4


@pytest.mark.parametrize("name", chosen(("gunicorn gthread",), ("uvicorn",)))
def test_stopped_workers_are_seen_as_they_were(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    with served(name, environment=environment, log_file=tmp_path / "log", workers=_WORKERS) as server:
        with Load(server.port) as load:
            time.sleep(LENGTHS.load_seconds)
        answered = load.tally.answered
        stopped = server.workers()[: _WORKERS // 2]
        try:
            for worker in stopped:
                os.kill(worker, signal.SIGSTOP)
            pages = [ask(server.port, "/metrics") for _ in range(LENGTHS.frozen_scrapes)]
        finally:
            for worker in stopped:
                os.kill(worker, signal.SIGCONT)
        assert not {page.worker for page in pages} & set(stopped)
        for page in pages:
            shown = counters(page.body.decode())
            assert total(shown, "service_jobs_total", kind="common") == answered
            assert total(shown, "process_cpu_time_seconds_total") > 0


def test_a_worker_that_keeps_the_interpreters_lock_is_seen_as_it_is(
    environment: dict[str, str], tmp_path: Path
) -> None:
    mark = tmp_path / "held"
    settings = {**environment, "SERVICE_HELD_SECONDS": str(LENGTHS.held_seconds), "SERVICE_HELD": str(mark)}
    with served("gunicorn gthread", environment=settings, log_file=tmp_path / "log", workers=2) as server:
        with Load(server.port) as load:
            time.sleep(LENGTHS.load_seconds)
        held: list[int] = []
        holding = threading.Thread(target=lambda: held.append(ask(server.port, "/hold").worker))
        holding.start()
        eventually(mark.exists, "a worker holds the lock")
        answered = load.tally.answered
        pages = [ask(server.port, "/metrics") for _ in range(5)]
        meanwhile = holding.is_alive()
        holding.join()
        assert meanwhile, "the scrapes waited for the worker that holds the lock"
        assert held
        assert held[0] not in {page.worker for page in pages}
        for page in pages:
            assert total(counters(page.body.decode()), "service_jobs_total", kind="common") == answered
