"""The service under every kind of server."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cells.servers import COMMANDS, Server, eventually, running
from tests.components import free_port, missing
from tests.workers.soak import LENGTHS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WSGI = "tests.workers.service_wsgi:wsgi"
ASGI = "tests.workers.service_asgi:asgi"

SERVERS = {
    # A busy machine starts a worker too slowly for the five seconds uvicorn grants by itself.
    "uvicorn": ("uvicorn", ASGI, ("--timeout-worker-healthcheck", "30")),
    "gunicorn sync": ("gunicorn sync", WSGI, ()),
    "gunicorn gthread": ("gunicorn gthread", WSGI, ("--threads", "3")),
    "gunicorn asgi": ("gunicorn asgi", ASGI, ()),
    "gunicorn gevent": ("gunicorn gevent", WSGI, ()),
    "gunicorn gevent preload": ("gunicorn gevent", WSGI, ("--preload",)),
    "gunicorn tornado": ("gunicorn tornado", WSGI, ()),
    "gunicorn uvicorn": ("gunicorn uvicorn", ASGI, ()),
    "gunicorn preload": ("gunicorn gthread", WSGI, ("--threads", "3", "--preload")),
    "uwsgi": ("uwsgi", WSGI, ("--master",)),
    "uwsgi lazy": ("uwsgi", WSGI, ("--master", "--lazy-apps")),
    "uwsgi python hooks": ("uwsgi", WSGI, ("--master", "--py-call-osafterfork")),
    "uwsgi own hooks": ("uwsgi", WSGI, ("--master", "--py-call-uwsgi-fork-hooks")),
}

LOADED_ONCE = {"gunicorn preload", "gunicorn gevent preload", "uwsgi", "uwsgi python hooks", "uwsgi own hooks"}
"""Those whose workers are forked off the process that loaded the application."""


@contextmanager
def served(
    name: str,
    *more: str,
    environment: Mapping[str, str],
    log_file: Path,
    workers: int = LENGTHS.workers,
    module: str | None = None,
) -> Iterator[Server]:
    """Run the service for as long as the block lasts, from the moment that all its workers are there.

    Args:
        name: One of `SERVERS`.
        *more: More command line options.
        environment: Added to the environment.
        log_file: Where its output goes.
        workers: How many workers.
        module: Another service than that of `SERVERS`; its applications have the same names.
    """
    kind, app, options = SERVERS[name]
    if module is not None:
        app = f"{module}:{app.partition(':')[2]}"
    port = free_port()
    command = COMMANDS[kind](app, port, workers)
    if not Path(command[0]).exists():
        missing(kind, "is not installed; uWSGI is built from source by: pip install uwsgi")
    if command[1:3] == ["-m", "gunicorn"]:
        # Started by -m, a master that takes over would find gunicorn's own modules in the place of Python's.
        command = [str(Path(sys.executable).with_name("gunicorn")), *command[3:]]
    with running([*command, *options, *more], log_file=log_file, port=port, environment=environment) as server:
        server.wanted = workers
        eventually(server.answers, lambda: f"{name} is ready:\n{server.log()}")
        yield server
        # What an orderly end takes is of no interest here.
        server.stop(signal.SIGKILL)
