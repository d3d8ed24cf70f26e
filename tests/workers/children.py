"""Children of multiprocessing that leave by `os._exit` or SIGKILL.

Started by ``python -m tests.workers.children METHOD NUMBER``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys

from tests.workers import service
from tests.workers.load import counters, total

JOBS = 200


def _job(number: int) -> None:
    service.start()
    for _ in range(JOBS):
        service.work()
    if number % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def main(method: str, number: int) -> None:
    service.start()
    service.work()
    context = multiprocessing.get_context(method)
    for begin in range(0, number, 3):
        children = [context.Process(target=_job, args=(each,)) for each in range(begin, min(begin + 3, number))]
        for child in children:
            child.start()
        for child in children:
            child.join()
    shown = counters(service.scrape().decode())
    sys.stdout.write(json.dumps({"jobs": total(shown, "service_jobs_total", kind="common")}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
