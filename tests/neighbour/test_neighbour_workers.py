"""Several real processes that count with prometheus_client: seen as one, from any of them, also after a SIGKILL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.components import free_port
from tests.neighbour.pages import Samples, samples
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.endtoend

COMMON = ("jobs_total", (("kind", "common"),))
PATIENCE = 60.0


class Main:
    """The main process of a service."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, *order: Any) -> Any:
        """Have something done, and wait for it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the main process has ended"
        return json.loads(line)

    def page(self, whose: int | str) -> Samples:
        """What a scrape of a worker, or of the main process (``self``), gets."""
        return samples(self.tell("render", whose))


@contextmanager
def main(method: str, directory: Path, *, before: int = 0, **environ: str) -> Iterator[Main]:
    """Run the main process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.neighbour.workers", method, str(before)],
        env={**os.environ, "OTELBRIDGE_RUN_DIRECTORY": str(directory), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Main(process)
        assert process.stdin
        process.stdin.close()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()


def eventually(look: Any, wanted: Any) -> None:
    """What workers have done is published when somebody asks; a new one is asked from its first half second on."""
    deadline = time.monotonic() + PATIENCE
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found} is not {wanted}"
        time.sleep(0.1)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_any_worker_shows_what_all_have_done(method, tmp_path) -> None:
    with main(method, tmp_path, before=100) as service:
        pids = [service.tell("hire") for _ in range(3)]
        for at, amount in enumerate((1, 20, 300)):
            service.tell("work", at, amount)
        total = 421.0
        eventually(lambda: service.page("self")[COMMON], total)
        for whose in ("self", 0, 1, 2):
            page = service.page(whose)
            assert page[COMMON] == total
            assert page["job_size_bytes_count", ()] == total
            assert page["job_size_bytes_bucket", (("le", "10.0"),)] == 0.0
            assert page["job_size_bytes_bucket", (("le", "100.0"),)] == total
            assert page["job_size_bytes_sum", ()] == 50 * total
            assert (page["wait_seconds_count", ()], page["wait_seconds_sum", ()]) == (total, total / 2)
            assert page["busy", ()] == total
            assert page["peak", ()] == 300.0
            kinds = {key: value for key, value in page.items() if key[0] == "jobs_total" and key != COMMON}
            assert sum(kinds.values()) == total
            levels = {dict(labels)["pid"]: value for (name, labels), value in page.items() if name == "level"}
            assert levels == {
                str(service.tell("pid")): 100.0,
                **dict(zip(map(str, pids), (1.0, 20.0, 300.0), strict=True)),
            }
            assert page["python_info", page_labels(page, "python_info")] == 1.0


def page_labels(page: Samples, name: str) -> tuple[tuple[str, str], ...]:
    (labels,) = [labels for called, labels in page if called == name]
    return labels


def test_a_killed_worker_stays_counted_and_its_gauges_end(tmp_path) -> None:
    with main("fork", tmp_path) as service:
        for at, amount in enumerate((1, 20, 300)):
            service.tell("hire")
            service.tell("work", at, amount)
        eventually(lambda: service.page(0)[COMMON], 321.0)
        service.tell("kill", 2)
        for whose in (0, "self", 1):
            page = service.page(whose)
            assert page[COMMON] == page["job_size_bytes_count", ()] == page["wait_seconds_count", ()] == 321.0
            assert page["busy", ()] == 21.0
            assert page["peak", ()] == 20.0
            assert page["custom_total", ()] == 321.0
        for at in (0, 1):
            service.tell("kill", at)
        page = service.page("self")
        assert page[COMMON] == 321.0
        assert page["level", ()] == 0.0  # one process alone needs no label to tell it from others


def test_a_child_that_ends_at_once_is_counted(tmp_path) -> None:
    with main("fork", tmp_path) as service:
        for at in range(3):
            service.tell("hire")
            service.tell("work", at, 10)
            service.tell("end", at)
        assert service.page("self")[COMMON] == 30.0


def test_the_gauge_that_changed_last_is_the_latest(tmp_path) -> None:
    with main("fork", tmp_path) as service:
        for at in range(2):
            service.tell("hire")
            service.tell("latest", at, 5 + at)
            eventually(lambda at=at: service.page("self")["latest", ()], 5.0 + at)
        for whose in (0, 1, "self", 0):
            assert service.page(whose)["latest", ()] == 6.0


def test_counts_never_fall_while_workers_are_killed(tmp_path) -> None:
    """What was not published yet goes with a killed worker, so nothing that was shown is ever taken back."""
    with main("fork", tmp_path) as service:
        shown, done = 0.0, 0
        for at in range(4):
            service.tell("hire")
            for _ in range(3):
                service.tell("work", at, 7)
                done += 7
                now = service.page("self").get(COMMON, 0.0)
                assert shown <= now <= done
                shown = now
            service.tell("kill", at)
            now = service.page("self").get(COMMON, 0.0)
            assert shown <= now <= done
            shown = now


def test_prometheus_clients_own_files_are_read_where_it_keeps_them(tmp_path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with main("fork", tmp_path, before=100, PROMETHEUS_MULTIPROC_DIR=str(files)) as service:
        for at, amount in enumerate((1, 20, 300)):
            service.tell("hire")
            service.tell("work", at, amount)
        eventually(lambda: service.page("self")["custom_total", ()], 421.0 + 3 * 100)
        for whose in ("self", 0, 1, 2):
            page = service.page(whose)
            assert page[COMMON] == page["job_size_bytes_count", ()] == page["wait_seconds_count", ()] == 421.0
            assert page["busy", ()] == 421.0
            assert page["peak", ()] == 300.0
            assert sum(value for (name, _), value in page.items() if name == "level") == 421.0
        service.tell("work", 2, 1000)
        service.tell("kill", 2)  # at once: the files lose nothing
        for whose in ("self", 0):
            assert service.page(whose)[COMMON] == 1421.0


@pytest.mark.parametrize("shared", [False, True], ids=["published", "files"])
def test_one_process_pushes_what_all_have_done(shared, tmp_path) -> None:
    receiver = Receiver()
    files = tmp_path / "files"
    files.mkdir()
    environ = {"PROMETHEUS_MULTIPROC_DIR": str(files)} if shared else {}
    environ |= {"SERVICE_OTLP": receiver.url, "OTEL_METRIC_EXPORT_INTERVAL": "500"}
    try:
        with main("fork", tmp_path, **environ) as service:
            for at in range(2):
                service.tell("hire")
                service.tell("work", at, 10)
            eventually(lambda: last_value(receiver), 20.0)
        eventually(lambda: last_value(receiver), 20.0)
        assert len({instance(request) for _, _, request in receiver.requests}) == 1
    finally:
        receiver.close()


FORKING = """
import os, signal, sys, threading
import prometheus_client as client
import otelbridge

sys.setswitchinterval(1e-6)
registry = client.CollectorRegistry()
counters = [client.Counter(f"c{at}", "", ["x"], registry=registry) for at in range(20)]
for counter in counters:
    for x in range(20):
        counter.labels(str(x)).inc()
options = otelbridge.PrometheusOptions(mode="server", port=0)
bridge = otelbridge.init(prometheus=options, instrument=[], domains=[], prometheus_client=registry)
stop = threading.Event()


def scrape():
    while not stop.is_set():
        bridge.render()


thread = threading.Thread(target=scrape)
thread.start()
hung = 0
for _ in range(10):
    children = []
    for _ in range(5):
        child = os.fork()
        if not child:
            signal.alarm(60)
            for counter in counters:
                for x in range(20):
                    counter.labels(str(x)).inc()
            list(registry.collect())
            os._exit(0)
        children.append(child)
    hung += sum(os.waitpid(child, 0)[1] != 0 for child in children)
stop.set()
thread.join()
print("hung:", hung)
"""


def test_a_fork_amid_a_scrape_leaves_the_client_usable(tmp_path) -> None:
    environ = {**os.environ, "OTELBRIDGE_RUN_DIRECTORY": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", FORKING]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "hung: 0\n", done.stderr


def last_value(receiver: Receiver) -> float | None:
    for _, _, request in reversed(receiver.requests):
        for of_scope in request.resource_metrics[0].scope_metrics:
            for metric in of_scope.metrics:
                if metric.name == "jobs":
                    (found,) = [
                        point.as_double
                        for point in metric.sum.data_points
                        if point.attributes[0].value.string_value == "common"
                    ]
                    return found
    return None


def instance(request: Any) -> str:
    (found,) = [
        each.value.string_value
        for each in request.resource_metrics[0].resource.attributes
        if each.key == "service.instance.id"
    ]
    return found


def get(port: int, path: str) -> tuple[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        return answer.read().decode(), answer.headers["X-Worker"]


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["plain", "preload"])
@pytest.mark.parametrize("shared", [False, True], ids=["published", "files"])
def test_gunicorn(options, shared, tmp_path) -> None:
    port = free_port()
    files = tmp_path / "files"
    files.mkdir()
    environ = {**os.environ, "OTELBRIDGE_RUN_DIRECTORY": str(tmp_path), "SERVICE_BEFORE_FORK": "5"}
    environ["SERVER_SOFTWARE"] = "gunicorn"
    if shared:
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(files)
    log = (tmp_path / "log").open("wb")
    server = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("gunicorn")), "tests.neighbour.service:wsgi", "--workers=3"),
            *("--worker-class=gthread", "--threads=2", f"--bind=127.0.0.1:{port}", *options),
        ],
        env=environ,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    # What was done before there were workers was done once by the master, or once in each worker.
    at_start = 5.0 if options else 15.0
    try:
        eventually(lambda: answers(port), True)
        eventually(lambda: samples(get(port, "/metrics")[0]).get(COMMON), at_start)
        tally: Counter[str] = Counter()
        deadline = time.monotonic() + PATIENCE
        while sum(tally.values()) < 60 or len(tally) < 3:
            tally[get(port, "/work")[1]] += 1
            assert time.monotonic() < deadline
        total = at_start + sum(tally.values())
        # On a busy machine a worker may take longer to publish than a scrape waits.
        eventually(lambda: samples(get(port, "/metrics")[0])[COMMON], total)
        for _ in range(6):
            assert samples(get(port, "/metrics")[0])[COMMON] == total
        victim = int(next(iter(tally)))
        os.kill(victim, 9)
        again = 0.0 if options else 5.0  # the new worker does at its start what each has done
        eventually(lambda: len({get(port, "/metrics")[1] for _ in range(12)} - {str(victim)}) >= 3, True)
        eventually(lambda: samples(get(port, "/metrics")[0])[COMMON], total + again)
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def answers(port: int) -> bool:
    try:
        get(port, "/metrics")
    except OSError:
        return False
    return True
