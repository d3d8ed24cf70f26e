"""A celery worker whose processes are recycled and killed while they work."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.cells.servers import COMMANDS, eventually, running
from tests.workers.load import Answer, Watch, counters, total
from tests.workers.programs import Observer
from tests.workers.queues import celery_at
from tests.workers.soak import LENGTHS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.endtoend

_WORKERS = 3


# A process that is killed from outside may hold the lock of the queue that all of the pool share, and then celery does
# nothing more. So it kills itself, while it has a task.
@pytest.mark.parametrize(
    ("options", "fatal"),
    [(("--max-tasks-per-child", "10"), 0), ((), LENGTHS.kills), (("--pool", "threads"), 0)],
    ids=["recycled", "killed", "threads"],
)
def test_every_task_counts_whoever_did_it(
    options: tuple[str, ...],
    fatal: int,
    environment: dict[str, str],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    queue, urls = tmp_path / "queue", tmp_path / "urls"
    client = celery_at(queue)
    # Before the worker is there: this kind of queue shows messages that are still being written.
    for number in range(LENGTHS.tasks):
        is_fatal = fatal and number % (LENGTHS.tasks // fatal) == 0
        client.send_task("work_and_die" if is_fatal else "work")
    settings = {**environment, "SERVICE_QUEUE": str(queue), "SERVICE_URLS": str(urls)}
    command = [*COMMANDS["celery"]("tests.workers.service_tasks", 0, _WORKERS), *options]
    with running(command, log_file=tmp_path / "log", environment=settings) as server:
        eventually(lambda: " ready." in server.log(), server.log)
        observer = Observer(urls.read_text().split()[0], environment)
        watch = Watch(0)

        def done() -> float:
            page = observer.page()
            watch.take(Answer(200, page.encode(), 0))
            return total(counters(page), "service_jobs_total", kind="common")

        # A process that died is found out about, and replaced, within a second or two.
        seconds = 120 + 3 * fatal + LENGTHS.tasks / 10
        eventually(
            lambda: done() >= LENGTHS.tasks, lambda: f"{done()} of {LENGTHS.tasks}: {server.log()[-3000:]}", seconds
        )
        assert done() == LENGTHS.tasks
        # The last of the calls that a task makes.
        eventually(
            lambda: total(observer.counters(), "service_job_size_bytes_count") == LENGTHS.tasks, "all sizes are counted"
        )
        assert total(observer.counters(), "service_starts_total") == 1
        assert watch.faults == []
        eventually(lambda: server.log().count("SIGKILL") >= fatal, server.log)
        record_property("tasks", int(done()))
        record_property("killed", fatal)
        server.stop(signal.SIGKILL)
