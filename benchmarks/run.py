"""Runs figures: the samples of all contenders of a figure in turns."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.measure import paired, spread
from benchmarks.model import OURS, UnmeasuredError
from benchmarks.worker import Worker, WorkerFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.model import Effort, Figure


def run_figure(figure: Figure, effort: Effort, times: int = 1) -> dict[str, Any]:
    """Measure one figure.

    Args:
        figure: What is measured.
        effort: How much.
        times: How many times as many rounds as usual.

    Returns:
        What the results file says of it. A contender that cannot be measured is left out, with its reason.
    """
    begin = time.monotonic()
    usual = effort.heavy_rounds if figure.heavy else effort.rounds
    rounds = min(usual, figure.rounds or usual) * times
    troubles = _Troubles()
    taken = (_fresh if figure.fresh else _standing)(figure, effort, rounds, troubles)
    samples = {name: values for name, values in taken.items() if len(values) == rounds}
    ours = samples.get(OURS, [])
    ratios = {name: paired(ours, values) for name, values in samples.items() if name != OURS}
    return {
        "title": figure.title,
        "unit": figure.unit,
        "higher_is_better": figure.higher_is_better,
        "rounds": rounds,
        "looks": [rounds],
        "seconds": round(time.monotonic() - begin, 1),
        "contenders": {name: asdict(spread(values)) for name, values in samples.items()},
        "ratios": {name: asdict(ratio) for name, ratio in ratios.items() if ratio is not None},
        "unmeasured": troubles.unmeasured,
        "failed": troubles.failed,
    }


class _Troubles:
    """Why contenders have no samples, by name."""

    def __init__(self) -> None:
        self.unmeasured: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def attempt(self, name: str, act: Callable[[], float | None]) -> float | None:
        """Do something for a contender, unless it is in trouble already."""
        if name in self.unmeasured or name in self.failed:
            return None
        try:
            return act()
        except UnmeasuredError as error:
            self.unmeasured[name] = str(error)
        except WorkerFailedError as error:
            self.failed[name] = str(error)
        return None


def _standing(figure: Figure, effort: Effort, rounds: int, troubles: _Troubles) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in figure.contenders}
    with ExitStack() as stack:
        workers = {name: Worker(figure.name, name, effort) for name in figure.contenders}
        for worker in workers.values():
            stack.callback(worker.close)
        for name, worker in workers.items():
            troubles.attempt(name, worker.ready)
        for number in range(rounds):
            for name in _order(list(workers), number):
                value = troubles.attempt(name, workers[name].sample)
                if value is not None:
                    taken[name].append(value)
    return taken


def _fresh(figure: Figure, effort: Effort, rounds: int, troubles: _Troubles) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in figure.contenders}

    def once(name: str) -> float:
        worker = Worker(figure.name, name, effort)
        try:
            worker.ready()
            return worker.sample()
        finally:
            worker.close()

    for number in range(rounds):
        for name in _order(list(figure.contenders), number):
            value = troubles.attempt(name, lambda name=name: once(name))
            if value is not None:
                taken[name].append(value)
    return taken


def _order(names: list[str], number: int) -> list[str]:
    """Let another one begin every round, so that nobody always follows the same neighbour."""
    start = number % len(names)
    return names[start:] + names[:start]
