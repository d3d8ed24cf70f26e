"""Records where code may run between any two steps of other code: ``python -m tests.workers.interruptions WHERE [N]``.

The main thread records to the same series, makes new ones and scrapes meanwhile.
"""

from __future__ import annotations

import atexit
import gc
import json
import sys
from typing import Any

import otelbridge
from tests.interrupting import interrupting
from tests.workers import service

_tally = {"main": 0, "interruption": 0}


def _record_at_the_very_end() -> None:
    service.jobs.add(1, {"kind": "afterwards"})
    sys.stdout.write(json.dumps(_tally))


def _interrupt(*_: Any) -> None:
    _tally["interruption"] += 1
    service.jobs.add(1, {"kind": "interruption"})
    service.jobs.add(1, {"kind": "both"})
    service.sizes.record(2.0)
    if _tally["interruption"] % 20 == 0:
        service.jobs.add(0, {"kind": f"new in an interruption {_tally['interruption'] % 1000}"})


def _be_busy() -> None:
    for number in range(100):
        _tally["main"] += 1
        service.jobs.add(1, {"kind": "both"})
        service.sizes.record(1.0)
        if number == 0:
            service.jobs.add(0, {"kind": f"new {_tally['main'] // 100 % 200}"})


def _signals(number: int) -> None:
    rounds = 0
    with interrupting(_interrupt, 0.001):
        while _tally["interruption"] < number:
            _be_busy()
            rounds += 1
            if rounds % 50 == 0:
                service.scrape()


def _collections(number: int) -> None:
    gc.callbacks.append(_interrupt)
    gc.set_threshold(20, 2, 2)
    rounds = 0
    while _tally["interruption"] < number:
        _be_busy()
        rounds += 1
        if rounds % 5 == 0:
            service.scrape()
    gc.callbacks.remove(_interrupt)


class _Mortal:
    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        _interrupt()


def _finalizers(number: int) -> None:
    gc.set_threshold(20, 2, 2)
    rounds = 0
    while _tally["interruption"] < number:
        for _ in range(3):
            _Mortal()
        _be_busy()
        rounds += 1
        if rounds % 5 == 0:
            service.scrape()
    gc.collect()


def _exit_functions(number: int) -> None:
    for _ in range(number):
        atexit.register(_interrupt)


def _shutdown(number: int) -> None:
    assert otelbridge.shutdown()
    for _ in range(number):
        service.jobs.add(1, {"kind": "afterwards"})
        service.sizes.record(3.0)


WHERE = {
    "signal": _signals,
    "gc": _collections,
    "del": _finalizers,
    "atexit": _exit_functions,
    "shutdown": _shutdown,
}

if __name__ == "__main__":
    # Before otelbridge registers its own, so that this runs after otelbridge has shut down.
    atexit.register(_record_at_the_very_end)
    service.start()
    WHERE[sys.argv[1]](int(sys.argv[2]))
