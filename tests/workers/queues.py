"""A queue that is a directory, for celery without a broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery

if TYPE_CHECKING:
    from pathlib import Path


def celery_at(queue: Path) -> Celery:
    """A celery application, worker or client, of a queue. The directory is made where it is missing."""
    queue.mkdir(exist_ok=True)
    app = Celery("service", broker="filesystem://")
    app.conf.update(
        broker_transport_options={
            "data_folder_in": str(queue),
            "data_folder_out": str(queue),
            "control_folder": str(queue / "control"),
            "polling_interval": 0.02,
        },
        broker_connection_retry_on_startup=True,
        task_ignore_result=True,
        worker_hijack_root_logger=False,
        worker_lost_wait=0.5,
    )
    return app
