"""The service as a celery application. Environment: SERVICE_QUEUE, the directory that is the queue."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.workers import service
from tests.workers.queues import celery_at

app = celery_at(Path(os.environ["SERVICE_QUEUE"]))


@app.task(name="work")
def work() -> None:
    service.work()


@app.task(name="work_and_die")
def work_and_die() -> None:
    service.work()
    os.kill(os.getpid(), signal.SIGKILL)


service.start()
