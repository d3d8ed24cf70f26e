"""Small runs, and results as a run writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.model import OURS, Effort
from benchmarks.peers import SDK_TWO
from benchmarks.results import write_results

if TYPE_CHECKING:
    from pathlib import Path

TINY = Effort("tiny", rounds=2, heavy_rounds=1, seconds=0.001, series=20, many_series=40, requests=10, workers=1)


def figure(**changes: Any) -> dict[str, Any]:
    """Give what a results file says of a figure."""
    figure = {
        "title": "Recording",
        "unit": "ns",
        "higher_is_better": False,
        "rounds": 1,
        "looks": [1],
        "seconds": 1.0,
        "contenders": {OURS: ratio(1.0), SDK_TWO: ratio(1.0)},
        "ratios": {SDK_TWO: ratio(1.0)},
        "unmeasured": {},
        "failed": {},
    }
    return {**figure, **changes}


def ratio(median: float) -> dict[str, Any]:
    """Give the summary of one sample."""
    return {"median": median, "iqr": 0.0, "low": median, "high": median, "samples": [median]}


def results_file(tmp_path: Path, figures: dict[str, Any]) -> Path:
    """Write a results file, of the present code."""
    path = tmp_path / "results.json"
    write_results(path, figures, TINY)
    return path


def older_results_file(tmp_path: Path, figures: dict[str, Any]) -> Path:
    """Write a results file of other code than the present."""
    path = results_file(tmp_path, figures)
    results = json.loads(path.read_text())
    for each in results["figures"].values():
        each["code"] = "of another day"
    path.write_text(json.dumps(results))
    return path
