"""Workers are killed and push to a real collector that is stopped and started: in the end every count is there."""

from __future__ import annotations

import random
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from otelbridge.stack import Ports, Stack, StackOptions, ToolMissingError, locate
from tests.cells.servers import eventually
from tests.components import missing
from tests.otlp.pushing import run_directory
from tests.workers.load import Load, ask, counters, kill_now_and_then, total
from tests.workers.serving import served
from tests.workers.soak import LENGTHS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cells.servers import Server

pytestmark = [pytest.mark.components, pytest.mark.endtoend]

_SECONDS = LENGTHS.collector_seconds
_WORKERS = 8
_JOBS = "service_jobs_total"
# So little that the collector refuses all it is sent, as it does when memory runs out.
_NO_MEMORY = {"OTELBRIDGE_MEMORY_LIMIT_MIB": "2", "OTELBRIDGE_MEMORY_SPIKE_MIB": "1"}


@dataclass
class Collector:
    """A real collector that can be stopped and started again at the same place."""

    run_dir: Path
    ports: Ports = field(default_factory=lambda: Ports().settled())
    starts: int = 0

    def __post_init__(self) -> None:
        self._stack = self._make({})

    def _make(self, environ: dict[str, str]) -> Stack:
        options = StackOptions(
            run_dir=self.run_dir, prometheus=False, ports=self.ports, collector_environ=environ, may_download=False
        )
        return Stack(options, say=lambda line: None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.otlp_http}"

    def start(self, **environ: str) -> None:
        self._stack = self._make(environ).up()
        self.starts += 1

    def stop(self) -> None:
        self._stack.down()

    def jobs(self) -> float | None:
        """The total that it exposes; None where it runs not, or has none."""
        found = self.jobs_of_instances()
        return sum(found.values()) if found else None

    def jobs_of_instances(self) -> dict[str, float]:
        """The totals that it exposes by instance; empty where it runs not."""
        try:
            page = ask(self.ports.collector_metrics, "/metrics").body.decode()
        except OSError:
            return {}
        samples = [(dict(labels), value) for (name, labels), value in counters(page).items() if name == _JOBS]
        return {labels["instance"]: value for labels, value in samples if labels["kind"] == "common"}

    def refused(self) -> float:
        """How many points it said it cannot take, this time."""
        page = ask(self.ports.collector_self, "/metrics").body.decode()
        return total(counters(page), "otelcol_receiver_refused_metric_points_total")


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    try:
        locate("otelcol", may_download=False, may_build=False)
    except ToolMissingError as error:
        missing("otelcol", error.problem)
    running = Collector(tmp_path / "stack")
    yield running
    running.stop()


@pytest.fixture
def environment(collector: Collector) -> Iterator[dict[str, str]]:
    with run_directory() as directory:
        yield {
            "OTELBRIDGE_RUN_DIRECTORY": directory,
            "SERVICE_OTLP": collector.url,
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2000",
        }


class Interruptions:
    """Stops and starts the collector at random, and notes whatever total falls. A context manager."""

    def __init__(self, collector: Collector) -> None:
        self.falls: list[tuple[float, float]] = []
        self.seen = 0
        self._collector = collector
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._interrupt), threading.Thread(target=self._watch)]

    def __enter__(self) -> Interruptions:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _interrupt(self) -> None:
        while not self._end.wait(random.uniform(0.5, 3)):
            self._collector.stop()
            self._end.wait(random.uniform(0.2, 3))
            self._collector.start()

    def _watch(self) -> None:
        highest = 0.0
        while not self._end.wait(0.1):
            now = self._collector.jobs()
            if now is not None:
                self.seen += 1
                if now < highest:
                    self.falls.append((highest, now))
                highest = max(highest, now)


def jobs(server: Server) -> float:
    """The total that the service itself shows."""
    return total(counters(ask(server.port, "/metrics").body.decode()), _JOBS, kind="common")


@contextmanager
def under_load(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Server, Load]]:
    """The service, with clients that keep a tally."""
    log = tmp_path / "server.log"
    with served("gunicorn sync", environment=environment, log_file=log, workers=_WORKERS) as server:
        load = Load(server.port)
        yield server, load


def check(server: Server, load: Load, collector: Collector) -> None:
    """What the collector has in the end is what the clients have counted, and what the service shows."""
    tally = load.tally
    assert not tally.wrong
    assert tally.answered > 100
    shown = jobs(server)
    # Of a request whose worker was killed nobody knows whether it was done before.
    assert tally.answered <= shown <= tally.answered + tally.unanswered
    eventually(lambda: collector.jobs() == shown, lambda: f"{collector.jobs()} becomes {shown}: {server.log()[-2000:]}")


def test_workers_are_killed_and_the_collector_comes_and_goes(collector, environment, tmp_path) -> None:
    collector.start()
    with under_load(environment, tmp_path) as (server, load):
        with load, Interruptions(collector) as interruptions:
            kills = kill_now_and_then(server, int(_SECONDS), _SECONDS, server.workers)
        assert kills > _SECONDS / 2
        assert collector.starts > 2
        check(server, load, collector)
    assert interruptions.seen > 5
    assert interruptions.falls == []


def test_a_collector_without_memory_refuses_everything_for_a_while(collector, environment, tmp_path) -> None:
    collector.start(**_NO_MEMORY)
    with under_load(environment, tmp_path) as (server, load):
        with load:
            eventually(lambda: collector.refused() > 0, "it refuses")
            for _ in range(2):
                time.sleep(_SECONDS / 8)
                server.kill(random.choice(server.workers()))
            assert collector.refused() > 0
            collector.stop()
            collector.start()
            time.sleep(_SECONDS / 8)
        check(server, load, collector)


def test_everything_is_killed_and_started_again(collector, environment, tmp_path) -> None:
    """What the killed service could not push arrives as its own, beside what its successor counts."""
    with under_load(environment, tmp_path) as (server, load), load:
        time.sleep(_SECONDS / 8)
        server.stop(signal.SIGKILL)
    lost = load.tally
    assert lost.answered > 100
    collector.start()
    with under_load(environment, tmp_path) as (server, load):
        with load:
            time.sleep(_SECONDS / 8)
        shown = jobs(server)
        eventually(
            lambda: len(collector.jobs_of_instances()) == 2 and shown in collector.jobs_of_instances().values(),
            lambda: f"{collector.jobs_of_instances()} has {shown} and the killed ones': {server.log()[-2000:]}",
        )
        (old,) = [value for value in collector.jobs_of_instances().values() if value != shown]
    assert lost.answered <= old <= lost.answered + lost.unanswered
    assert load.tally.answered == shown
