"""Whether this process is one of gunicorn's, and whose.

gunicorn keeps no public reference to its arbiter, so it is looked for where it must be: a worker installs bound methods
as signal handlers (sync, gthread, gevent, tornado and uvicorn workers; whatever thread asks), and a worker's main
thread runs inside the arbiter's `spawn_worker` for as long as it lives (all others, among them the asgi worker, which
leaves its signals to asyncio). Checked with gunicorn 27.0.1.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def master() -> int | None:
    """The process id of the gunicorn master this process belongs to.

    Returns:
        Another process's id in a worker (also in gunicorn's "dirty" workers and in processes they fork); this process's
        own in a master, which loads the application itself with ``--preload``; None outside gunicorn.
    """
    # Only a master that took over is a child of the one that started it; it may not have loaded gunicorn yet.
    if old_master() == os.getppid():
        return os.getpid()
    if "gunicorn.arbiter" not in sys.modules:
        return None
    for owner in (*_owners_of_signals(), *_owners_of_frames()):
        pid = _master_of(owner)
        if pid is not None:
            return pid
    return os.getpid() if _starting() else None


def old_master() -> int | None:
    """The process id of the master that started this process's master on SIGUSR2 and has not ended yet.

    Returns:
        What gunicorn put into `GUNICORN_PID`; workers keep it for as long as they live.
    """
    value = os.environ.get("GUNICORN_PID", "")
    return int(value) if value.isdecimal() else None


def _master_of(owner: object) -> int | None:
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(owner).__mro__}
    if "gunicorn.workers.base.Worker" in kinds:
        return _pid(getattr(owner, "ppid", None))
    if "gunicorn.arbiter.Arbiter" in kinds:
        return _pid(getattr(owner, "pid", None))
    return None


def _pid(value: object) -> int | None:
    return value if isinstance(value, int) and value > 0 else None


def _owners_of_signals() -> Iterator[object]:
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        owner = getattr(handler, "__self__", None)
        if owner is not None:
            yield owner


def _owners_of_frames() -> Iterator[object]:
    return (frame.f_locals.get("self") for frame in _main_frames() if _module(frame) == "gunicorn.arbiter")


def _starting() -> bool:
    """Whether a master is being made: it reads its configuration or preloads, and has no process id yet."""
    return any(_module(frame) in {"gunicorn.arbiter", "gunicorn.app.base"} for frame in _main_frames())


def _main_frames() -> Iterator[FrameType]:
    # No public call tells another thread's frames; this one is documented in the library reference.
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
    frame = frames.get(threading.main_thread().ident or 0)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module(frame: FrameType) -> object:
    return frame.f_globals.get("__name__")
