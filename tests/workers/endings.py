"""A process that does seven jobs and ends in the way it is told: ``python -m tests.workers.endings HOW``.

Its jobs, and those of its child where it has one, are of the kind HOW.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from typing import TYPE_CHECKING

from tests.workers import service

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS = 7
OF_A_CHILD = 100


def _raise() -> None:
    raise RuntimeError("the end")


def _signalled(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def _work(how: str, jobs: int) -> None:
    for _ in range(jobs):
        service.jobs.add(1, {"kind": how})
        service.sizes.record(1.0)


def _be_a_child(how: str) -> None:
    service.start()
    _work(how, OF_A_CHILD)
    os._exit(0)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        _be_a_child(sys.argv[1])
    os.waitpid(child, 0)


def _child_of(method: str) -> Callable[[], None]:
    def start() -> None:
        child = multiprocessing.get_context(method).Process(target=_be_a_child, args=(sys.argv[1],))
        child.start()
        child.join()

    return start


ENDINGS: dict[str, Callable[[], object]] = {
    "return": lambda: None,
    "sys.exit": lambda: sys.exit(3),
    "exception": _raise,
    "SIGINT": _signalled(signal.SIGINT),
    "SIGTERM": _signalled(signal.SIGTERM),
    "os._exit": lambda: os._exit(0),
    "SIGKILL": _signalled(signal.SIGKILL),
    "os.fork child": _fork,
    "fork child": _child_of("fork"),
    "spawn child": _child_of("spawn"),
    "forkserver child": _child_of("forkserver"),
}

if __name__ == "__main__":
    service.start()
    _work(sys.argv[1], JOBS)
    ENDINGS[sys.argv[1]]()
