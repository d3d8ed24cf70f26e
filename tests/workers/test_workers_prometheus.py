"""A service whose workers are killed, as a real Prometheus sees it."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.workers.load import CLIENTS, Load, ask, counters
from tests.workers.scraped import query, resets, scraped
from tests.workers.serving import served
from tests.workers.soak import LENGTHS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otelbridge.stack import Stack
    from tests.cells.servers import Server

pytestmark = [pytest.mark.endtoend, pytest.mark.components]

_INTERVAL = 1.0
_NEAR = 0.5
"""Seconds after the begin of a scrape in which a kill may have hit the worker that was answering it."""


@dataclass
class Killer:
    """Kills a worker at random every two seconds, and notes when."""

    server: Server
    times: list[float] = field(default_factory=list[float])

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(2 * _INTERVAL)
            workers = self.server.workers()
            if len(workers) == LENGTHS.workers:
                self.times.append(time.time())
                self.server.kill(random.choice(workers))


def _value(stack: Stack, expression: str) -> float:
    found = query(stack, expression)
    assert len(found) == 1, f"{expression}: {found}"
    return float(found[0]["value"][1])


def test_a_prometheus_sees_no_reset_and_every_request(
    environment: dict[str, str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with (
        served("gunicorn gthread", environment=environment, log_file=tmp_path / "log") as server,
        scraped(server, tmp_path / "stack", _INTERVAL) as stack,
    ):
        killer = Killer(server)
        with Load(server.port) as load:
            thread = threading.Thread(target=killer.run, args=(LENGTHS.scraped_seconds,))
            thread.start()
            thread.join()
        time.sleep(3 * _INTERVAL)
        tally = load.tally
        assert not tally.wrong
        assert killer.times
        assert tally.unanswered <= len(killer.times) * CLIENTS
        stored = _value(stack, 'service_jobs_total{job="service",kind="common"}')
        assert tally.answered <= stored <= tally.answered + tally.unanswered
        names = {name for name, _ in counters(ask(server.port, "/metrics").body.decode())}
        assert names
        figures = {"kills": len(killer.times), "answered": tally.answered, "unanswered": tally.unanswered}
        for figure, value in {**figures, "stored": int(stored), "series checked for resets": len(names)}.items():
            record_property(figure, value)
        assert resets(stack, names, "1h") == {}
        (up,) = query(stack, 'up{job="service"}[1h]')
        assert len(up["values"]) >= LENGTHS.scraped_seconds / _INTERVAL
        failed = [at for at, value in up["values"] if value != "1"]
        unexplained = [at for at in failed if not any(at <= kill <= at + _NEAR for kill in killer.times)]
        assert unexplained == []
