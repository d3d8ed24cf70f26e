"""Holds results against the bounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.bounds import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.bounds import Bound

Outcome = Literal["holds", "MISSED", "FAILED", "not measured"]


@dataclass(frozen=True)
class Verdict:
    """What the results say of one bound."""

    bound: Bound
    outcome: Outcome
    detail: str

    @property
    def bad(self) -> bool:
        """Whether something is wrong, rather than right or unknown."""
        return self.outcome in ("MISSED", "FAILED")

    def __str__(self) -> str:
        against = f" / {self.bound.peer}" if self.bound.peer else ""
        whose = f"{self.bound.contender}{against}"
        return f"{self.outcome:<12} {self.bound.figure}: {whose}: {self.detail}"


def judge(results: dict[str, Any], bounds: Iterable[Bound] = BOUNDS) -> list[Verdict]:
    """Judge every bound.

    Args:
        results: A results file.
        bounds: What must hold.

    Returns:
        One verdict a bound, in their order.
    """
    return [_judge(bound, results["figures"].get(bound.figure)) for bound in bounds]


def _judge(bound: Bound, figure: dict[str, Any] | None) -> Verdict:
    if figure is None:
        return Verdict(bound, "not measured", "not in the results")
    for name in (bound.contender, bound.peer):
        if name in figure["failed"]:
            return Verdict(bound, "FAILED", f"{name} broke down: {figure['failed'][name].splitlines()[-1]}")
        if name in figure["unmeasured"]:
            whose = "" if name == bound.contender else f"{name}: "
            return Verdict(bound, "not measured", f"{whose}{figure['unmeasured'][name]}")
    found = figure["contenders" if bound.peer is None else "ratios"].get(bound.peer or bound.contender)
    if found is None:
        return Verdict(bound, "not measured", "no value in the results")
    median = found["median"]
    holds = median >= bound.limit if bound.at_least else median <= bound.limit
    wanted = f"{'at least' if bound.at_least else 'at most'} {bound.limit:.3g}"
    detail = f"{median:.3g} ({found['low']:.3g} to {found['high']:.3g}){_looks(figure, found)}, wanted {wanted}"
    return Verdict(bound, "holds" if holds else "MISSED", detail if holds else f"{detail}. {bound.promise}")


def _looks(figure: dict[str, Any], found: dict[str, Any]) -> str:
    """Tell what each look saw, where there was more than one."""
    looks: list[int] = figure.get("looks", [])
    if len(looks) < 2:
        return ""
    samples: Iterator[float] = iter(found["samples"])
    medians = [statistics.median(islice(samples, rounds)) for rounds in looks]
    return f" over {len(looks)} looks of {', '.join(f'{median:.3g}' for median in medians)}"
