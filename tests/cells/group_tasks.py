"""A celery application without a server: its queue is a directory (GROUP_TASKS_QUEUE)."""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import Celery

from tests.cells import group_app

_queue = os.environ["GROUP_TASKS_QUEUE"]

app = Celery("group_tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": _queue,
        "data_folder_out": _queue,
        "control_folder": str(Path(_queue) / "control"),
        "polling_interval": 0.05,
    },
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_hijack_root_logger=False,
)


@app.task(name="report")
def report() -> None:
    group_app.report()
    time.sleep(0.2)  # so that one process does not do all tasks before the other has begun
