"""Clocks, loops and statistics.

The clock is the CPU time of the measuring thread wherever one thread does the work: time in which a
neighbour had the processor is then not counted. The garbage collector stays on, since collecting what a
contender allocates is part of its price, but starts every sample from the same state.
"""

from __future__ import annotations

import gc
import statistics
import time
import timeit
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.model import Sampler

_FIRST_LOOPS = 64


@dataclass(frozen=True)
class Spread:
    """What repeated samples of one thing say."""

    median: float
    iqr: float
    """Interquartile range, in the unit of the samples."""
    low: float
    high: float
    samples: tuple[float, ...]


def spread(samples: Sequence[float]) -> Spread:
    """Summarize samples, at least one."""
    ordered = sorted(samples)
    quartiles = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else [ordered[0]] * 3
    return Spread(statistics.median(ordered), quartiles[2] - quartiles[0], ordered[0], ordered[-1], tuple(samples))


def paired(ours: Sequence[float], peer: Sequence[float]) -> Spread | None:
    """Summarize the ratios ours / peer, round by round; None where a peer's sample is 0.

    Samples of one round lie next to each other in time, so that a change in the machine's speed cancels.
    """
    if not ours or not peer or not all(peer):
        return None
    return spread([one / other for one, other in zip(ours, peer, strict=False)])


def loop_sampler(statement: str, names: dict[str, Any], seconds: float) -> Sampler:
    """Time a statement in a loop.

    Args:
        statement: What is executed, compiled into the loop.
        names: The names it uses.
        seconds: CPU time to aim for; the number of loops is found by trying.

    Returns:
        A sampler of nanoseconds a statement, with the cost of the empty loop taken off.
    """
    timer = timeit.Timer(statement, "gc.enable()", timer=time.thread_time, globals={**names, "gc": gc})
    empty = timeit.Timer("pass", "gc.enable()", timer=time.thread_time, globals={"gc": gc})
    loops, empty_loops = _calibrate(timer, seconds), _calibrate(empty, seconds / 4)

    def sample() -> float:
        gc.collect()
        overhead = empty.timeit(empty_loops) / empty_loops
        return (timer.timeit(loops) / loops - overhead) * 1e9

    return sample


def _calibrate(timer: timeit.Timer, seconds: float) -> int:
    loops = _FIRST_LOOPS
    while True:
        taken = timer.timeit(loops)
        if taken > seconds / 8:
            return max(_FIRST_LOOPS, int(loops * seconds / taken))
        loops *= 4


def cpu_sampler(work: Callable[[], object], before: Callable[[], object] | None = None) -> Sampler:
    """Time one run of something big.

    Args:
        work: What is timed, done by the calling thread.
        before: What goes before it, untimed.

    Returns:
        A sampler of milliseconds of the thread's CPU time.
    """
    return _once(work, before, time.thread_time)


def process_cpu_sampler(work: Callable[[], object], before: Callable[[], object] | None = None) -> Sampler:
    """As `cpu_sampler`, for what other threads of the process may take a part in."""
    return _once(work, before, time.process_time)


def _once(work: Callable[[], object], before: Callable[[], object] | None, clock: Callable[[], float]) -> Sampler:
    def sample() -> float:
        if before is not None:
            before()
        gc.collect()
        begin = clock()
        work()
        return (clock() - begin) * 1e3

    return sample
