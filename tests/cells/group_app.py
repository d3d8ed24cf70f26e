"""An application that tells, of every process that serves it, which group that process finds itself in.

Environment: GROUP_APP_REPORT, a file each process adds one line to; GROUP_APP_SERVICE, the service name;
GROUP_APP_DIRECTORY, the user directory; GROUP_APP_LATE, to look only at the first request; GROUP_APP_DECORATORS, to
load uWSGI's decorators before.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

from otelbridge.cells.evidence import group_of
from otelbridge.concurrency.forks import register

# What ran in this process after a fork: "python" for Python's own hooks, "uwsgi" for the callback, "earlier" for a hook
# of the application itself.
forks: list[tuple[str, int]] = []


@cache
def _report(pid: int) -> dict[str, Any]:
    directory = os.environ.get("GROUP_APP_DIRECTORY")
    membership = group_of(os.environ.get("GROUP_APP_SERVICE", "shop"), Path(directory) if directory else None)
    report = {
        "pid": pid,
        "parent": os.getppid(),
        "old_master": os.environ.get("GUNICORN_PID"),
        "thread": threading.current_thread().name,
        "group": membership._asdict(),
    }
    with Path(os.environ["GROUP_APP_REPORT"]).open("a") as file:
        file.write(json.dumps(report) + "\n")
    return report


def report() -> dict[str, Any]:
    """This process's report, written down when it is first asked for."""
    return _report(os.getpid())


def _note(what: str) -> None:
    forks.append((what, os.getpid()))


def _prepare_uwsgi() -> None:
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is None:
        return
    if os.environ.get("GROUP_APP_DECORATORS") == "1":
        import uwsgidecorators

        uwsgidecorators.postfork(lambda: _note("earlier"))
    else:
        uwsgi.post_fork_hook = lambda: _note("earlier")
    register(after_in_child=lambda: _note("ours"))
    os.register_at_fork(after_in_child=lambda: _note("python"))


_prepare_uwsgi()
if os.environ.get("GROUP_APP_LATE") != "1":
    report()


def _answer() -> bytes:
    return json.dumps({**report(), "forks": forks}).encode()


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [_answer()]


application = wsgi  # where uWSGI looks for it


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = await asyncio.to_thread(_answer)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def post_fork(_server: object, _worker: object) -> None:
    """A hook of gunicorn's configuration, which runs before the worker has begun."""
    report()
