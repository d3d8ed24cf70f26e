"""A port of its own under real servers: one worker serves it for all, and when that one dies, another.

Where the application is loaded before the workers are forked, the first process serves it, which outlives them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psutil
import pytest

from tests.cells.servers import Server, eventually
from tests.components import free_port
from tests.workers.load import ask, counters, total
from tests.workers.serving import served
from tests.workers.soak import chosen

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend

_WORKERS, _JOBS = 3, 40


def _listening(server: Server, port: int) -> list[int]:
    """The workers that listen on the port."""
    found = {
        worker
        for worker in server.workers()
        for connection in psutil.Process(worker).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }
    return sorted(found)


def _shown(port: int) -> float:
    """How many jobs the port shows; -1 while it does not answer."""
    try:
        return total(counters(ask(port, "/metrics").body.decode()), "service_jobs_total", kind="common")
    except OSError:
        return -1


def _expect(server: Server, port: int, done: int) -> None:
    eventually(lambda: _shown(port) == done, lambda: f"{_shown(port)} becomes {done}: {server.log()}")


@pytest.mark.parametrize("name", chosen(("uvicorn", "gunicorn sync"), ("gunicorn gthread", "gunicorn uvicorn")))
def test_one_worker_serves_for_all_and_the_next_takes_over(
    name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    port = free_port()
    more = {**environment, "SERVICE_PORT": str(port)}
    with served(name, environment=more, log_file=tmp_path / "log", workers=_WORKERS) as server:
        for turn in (1, 2):
            assert {ask(server.port, "/work").status for _ in range(_JOBS)} == {200}
            _expect(server, port, turn * _JOBS)
            (first,) = _listening(server, port)
            server.kill(first)
            eventually(lambda: len(server.workers()) == _WORKERS, "there are as many workers as before")
            _expect(server, port, turn * _JOBS)
            (second,) = _listening(server, port)
            assert second != first
