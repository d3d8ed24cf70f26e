"""Children that record flat out until they are killed: ``python -m tests.workers.victims NUMBER``.

Every second one is killed from outside at some random moment, the others kill themselves after a known number of jobs.
The tally is kept in memory that the children share and otelbridge knows nothing of.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import sys
import time

from tests.workers import service
from tests.workers.load import Answer, Watch, counters, total

_AT_ONCE = 4
_LONGEST_LIFE = 0.05
_MOST_JOBS = 3000
_KINDS = ("from outside", "by itself")


def _live(number: int, tally: memoryview, jobs: int | None) -> None:
    kind = {"kind": _KINDS[number % 2]}
    service.jobs.add(1, kind)
    tally[number] = done = 1
    while done != jobs:
        service.jobs.add(1, kind)
        done += 1
        tally[number] = done
    os.kill(os.getpid(), signal.SIGKILL)


def _fork(number: int, tally: memoryview, jobs: int | None) -> int:
    child = os.fork()
    if child == 0:
        try:
            _live(number, tally, jobs)
        finally:
            os._exit(1)
    return child


def main(number: int) -> None:
    service.start()
    chance, watch = random.Random(number), Watch(0)
    tally = memoryview(mmap.mmap(-1, 8 * number)).cast("q")
    for begin in range(0, number, _AT_ONCE):
        numbers = range(begin, min(begin + _AT_ONCE, number))
        doomed = [_fork(each, tally, chance.randrange(2, _MOST_JOBS) if each % 2 else None) for each in numbers]
        for each, child in zip(numbers, doomed, strict=True):
            if each % 2 == 0:
                while not tally[each]:
                    time.sleep(0.001)
                time.sleep(chance.uniform(0.0, _LONGEST_LIFE))
                os.kill(child, signal.SIGKILL)
        watch.take(Answer(200, service.scrape(), 0))
        for child in doomed:
            os.waitpid(child, 0)
    shown = counters(service.scrape().decode())
    killed = {
        kind: {
            "kills": len(tally.tolist()[first::2]),
            "tally": sum(tally.tolist()[first::2]),
            "shown": total(shown, "service_jobs_total", kind=kind),
        }
        for first, kind in enumerate(_KINDS)
    }
    sys.stdout.write(json.dumps({**killed, "faults": watch.faults, "scrapes": watch.scrapes}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
