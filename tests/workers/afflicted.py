"""An application whose run directory fails it: ``python -m tests.workers.afflicted TROUBLE``.

It works before, during and after the trouble, forks a child, scrapes, and says how that went.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.workers import service
from tests.workers.load import counters, total

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS = 10
SERIES = 400
CHILDREN = 3
_DIRECTORY = Path(os.environ.get("OTELBRIDGE_RUN_DIRECTORY", "."))


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _nothing() -> None: ...


def _leave_no_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        pass


def _remove() -> None:
    shutil.rmtree(_DIRECTORY / f"otelbridge-{os.geteuid()}")


def _fill() -> None:
    with (_DIRECTORY / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(512))
        except OSError:
            pass


TROUBLES: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "from the start": (_nothing, _nothing),
    "no descriptors, early": (_leave_no_descriptors, _nothing),
    "no descriptors, late": (_nothing, _leave_no_descriptors),
    "removed, early": (_remove, _nothing),
    "removed, late": (_nothing, _remove),
    "full, early": (_fill, _nothing),
    "full, late": (_nothing, _fill),
}
"""What happens before the first measurement, and after some."""


def _work(jobs: int, series: int) -> None:
    for _ in range(jobs):
        service.jobs.add(1, {"kind": "all"})
    for number in range(series):
        service.jobs.add(1, {"kind": f"series {number}"})
        service.sizes.record(number, {"kind": f"series {number}"})


def _fork() -> int:
    child = os.fork()
    if child == 0:
        try:
            _work(JOBS, SERIES)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def main(trouble: str) -> None:
    heard = _Heard()
    logging.getLogger("otelbridge").addHandler(heard)
    early, late = TROUBLES[trouble]
    service.start()
    early()
    _work(JOBS, SERIES // 2)
    first = counters(service.scrape().decode())
    late()
    _work(JOBS, SERIES)
    exits = [_fork() for _ in range(CHILDREN)]
    _work(JOBS, SERIES)
    shown = counters(service.scrape().decode())
    sys.stdout.write(
        json.dumps(
            {
                "first": total(first, "service_jobs_total", kind="all"),
                "all": total(shown, "service_jobs_total", kind="all"),
                "apart": total(shown, "service_jobs_total") - total(shown, "service_jobs_total", kind="all"),
                "sizes": total(shown, "service_job_size_bytes_count"),
                "exits": exits,
                "fell": [
                    str(key)
                    for key, value in first.items()
                    if key[0].startswith("service_") and shown.get(key, -1) < value
                ],
                "heard": heard.messages,
                "degraded": service.degraded(),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
