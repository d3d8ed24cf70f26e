"""Measures again what missed its bound, since a moment of a busy machine looks like a slow program.

A figure is then judged by the median of all its rounds. The second look has twice as many as the first: what only the
first look saw is outvoted, what is really slow is slow in both.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.measure import spread
from benchmarks.run import run_figure

if TYPE_CHECKING:
    from benchmarks.model import Effort, Figure

_TIMES = 2


def look_again(figure: Figure, first: dict[str, Any], effort: Effort) -> dict[str, Any]:
    """Measure a figure again, in new processes, all contenders in turns as before.

    Args:
        figure: What is measured.
        first: What the results file says of it.
        effort: How much is measured.

    Returns:
        What the results file says of both.
    """
    second = run_figure(figure, effort, times=_TIMES)
    return {
        **second,
        "rounds": first["rounds"] + second["rounds"],
        "looks": [*first["looks"], *second["looks"]],
        "contenders": _together(first["contenders"], second["contenders"]),
        "ratios": _together(first["ratios"], second["ratios"]),
        "seconds": first["seconds"],
    }


def _together(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {
        name: asdict(spread([*found["samples"], *second[name]["samples"]]))
        for name, found in first.items()
        if name in second
    }
