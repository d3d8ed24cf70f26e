"""Forks children off threads that record and scrape: ``python -m tests.workers.forks FORKS THREADS``.

Each child records to series that exist and to a new one, every third scrapes, all leave by `os._exit`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

from tests.workers import service
from tests.workers.load import counters, total

_PATIENCE = 60.0
_MOST_HUNG = 3
_SCRAPING = 3
_AT_ONCE = 8


class Recorder(threading.Thread):
    """Records flat out, and keeps a tally."""

    def __init__(self, number: int, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.tally = 0
        self._number = number
        self._ended = stop

    def run(self) -> None:
        own = {"kind": f"thread {self._number}"}
        while not self._ended.is_set():
            for _ in range(200):
                service.jobs.add(1, {"kind": "threads"})
                service.jobs.add(1, own)
                service.sizes.record(1.5)
            self.tally += 200
            # New series all along: forks meet the locks these take.
            service.jobs.add(0, {"kind": f"new {self._number} {self.tally // 200 % 50}"})
            time.sleep(0.001)


def _scrape_until(stop: threading.Event) -> None:
    while not stop.wait(0.01):
        service.scrape()


def _be_a_child(number: int) -> None:
    service.jobs.add(1, {"kind": "forked"})
    service.jobs.add(1, {"kind": f"forked {number % 20}"})
    service.sizes.record(1000.0)
    if number % _SCRAPING == 0:
        service.scrape()


def _fork(number: int) -> int:
    child = os.fork()
    if child == 0:
        try:
            _be_a_child(number)
        finally:
            os._exit(0)
    return child


def _ends(child: int) -> bool:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main(forks: int, threads: int) -> None:
    service.start()
    stop = threading.Event()
    recorders = [Recorder(number, stop) for number in range(threads)]
    scraper = threading.Thread(target=_scrape_until, args=(stop,), daemon=True)
    for thread in (*recorders, scraper):
        thread.start()
    hung = 0
    for first in range(0, forks, _AT_ONCE):
        children = [_fork(number) for number in range(first, min(first + _AT_ONCE, forks))]
        hung += sum(not _ends(child) for child in children)
        if hung >= _MOST_HUNG:
            break
    stop.set()
    for thread in (*recorders, scraper):
        thread.join()
    shown = counters(service.scrape().decode())
    sys.stdout.write(
        json.dumps(
            {
                "hung": hung,
                "recorded": sum(recorder.tally for recorder in recorders),
                "threads": total(shown, "service_jobs_total", kind="threads"),
                "each": sum(total(shown, "service_jobs_total", kind=f"thread {number}") for number in range(threads)),
                "sizes": total(shown, "service_job_size_bytes_count"),
                "forked": total(shown, "service_jobs_total", kind="forked"),
                "forked apart": sum(
                    total(shown, "service_jobs_total", kind=f"forked {number}") for number in range(20)
                ),
            }
        )
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
