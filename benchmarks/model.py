"""What a benchmark is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = "otelbridge"
"""The contender every other one is compared with."""

Sampler = Callable[[], float]
"""Takes one sample, in the unit of its figure."""


class UnmeasuredError(Exception):
    """There is nothing to measure: the part does not exist, or a peer is not installed. Says which."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    name: str
    """What the results are marked with."""

    rounds: int
    """Samples of each contender, taken in turns."""

    heavy_rounds: int
    """The same for figures whose single sample takes a second or more."""

    seconds: float
    """CPU time a loop over one statement aims for."""

    series: int
    """Series held in the figures on scraping, pushing and memory."""

    many_series: int
    """Series of the figure on linear growth."""

    requests: int
    """HTTP requests, or SQL statements, a sample."""

    workers: int
    """Live worker processes in the figures on many workers."""


FULL = Effort("full", 9, 5, 0.06, 10_000, 100_000, 800, 16)
QUICK = Effort("quick", 3, 2, 0.02, 1000, 10_000, 100, 4)


@dataclass(frozen=True)
class Figure:
    """One number, measured for ours and for the peers."""

    name: str
    """``group.what``."""

    title: str
    """What is measured, for a reader."""

    unit: str
    """Unit of a sample."""

    contenders: Mapping[str, Callable[[Effort], Sampler]] = field(hash=False)
    """By name, what prepares a contender in a process of its own and gives its sampler."""

    heavy: bool = False
    """Whether a sample takes a second or more with the slowest peer."""

    rounds: int | None = None
    """Samples of each contender, where preparing them takes so long that it gets fewer than others."""

    fresh: bool = False
    """Whether every sample needs a new process."""

    higher_is_better: bool = False
    """Only for throughput."""
