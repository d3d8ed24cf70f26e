"""A parent and its children: ``python -m tests.cells.group_family METHOD WHEN`` (WHEN: before, after, never)."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

os.environ["GROUP_APP_LATE"] = "1"

from tests.cells import group_app


def _nested(method: str) -> None:
    group_app.report()
    grandchild = multiprocessing.get_context(method).Process(target=group_app.report)
    grandchild.start()
    grandchild.join()


def _multiprocessing(method: str) -> None:
    children = [multiprocessing.get_context(method).Process(target=_nested, args=(method,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()


def _fork(_method: str) -> None:
    for _ in range(2):
        child = os.fork()
        if child == 0:
            group_app.report()
            os._exit(0)
        os.waitpid(child, 0)


def _subprocess(_method: str) -> None:
    for service in ("shop", "shop", "tool"):
        environment = {**os.environ, "GROUP_APP_LATE": "0", "GROUP_APP_SERVICE": service}
        subprocess.run([sys.executable, "-m", "tests.cells.group_app"], env=environment, check=True)


STARTERS = {
    "fork": _multiprocessing,
    "spawn": _multiprocessing,
    "forkserver": _multiprocessing,
    "os.fork": _fork,
    "subprocess": _subprocess,
}


def main(method: str, when: str) -> None:
    if when == "before":
        group_app.report()
    STARTERS[method](method)
    if when == "after":
        group_app.report()


if __name__ == "__main__":
    main(*sys.argv[1:])
