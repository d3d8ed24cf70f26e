"""What misses its bound is measured again before it is judged, and a slow program still fails."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import check, measure
from benchmarks.bounds import Bound
from benchmarks.figures import figure_named
from benchmarks.model import OURS
from benchmarks.peers import HELD
from benchmarks.results import read_results
from benchmarks.run import run_figure
from benchmarks.second_look import look_again
from tests.benchmarks.examples import TINY, figure, older_results_file, ratio

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.endtoend

_NAME = "recording.counter_bound"
# Far from what is measured, slow or not, so that a busy machine does not decide.
_BOUND = Bound(_NAME, HELD, 5.0, "A bound counter is not slow")
_SLOW = """

class _Slow:
    def __init__(self, handle):
        self._handle = handle

    def add(self, amount):
        for _ in range(2000):
            pass
        self._handle.add(amount)


_quick = bind


def bind(instrument, attributes):
    return _Slow(_quick(instrument, attributes))
"""


@pytest.fixture
def slowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Give a switch that makes bound handles slow in every process that measures."""
    root = tmp_path / "slow"
    there = Path(__file__).resolve().parents[2]
    shutil.copytree(there / "benchmarks", root / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    ours = root / "benchmarks" / "ours.py"
    ours.write_text(ours.read_text() + _SLOW)
    monkeypatch.setenv("PYTHONPATH", str(there))
    return lambda slow: monkeypatch.setattr("benchmarks.worker._ROOT", root if slow else there)


def test_a_figure_that_is_slow_fails_on_the_second_look_too(
    tmp_path: Path, document: Path, slowed: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    slowed(True)
    measure(TINY, _NAME, path, document)
    assert check(path, document, _NAME, [_BOUND]) == 1
    out = capsys.readouterr().out
    assert "These missed their bounds and are measured again:" in out
    assert "over 2 looks of " in out
    assert "0 bounds hold, 1 do not, 0 not measured." in out


def test_what_only_the_first_look_saw_is_outvoted_and_both_are_kept(
    tmp_path: Path, document: Path, slowed: Callable[[bool], None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    slowed(True)
    measure(TINY, _NAME, path, document)
    first = read_results(path)["figures"][_NAME]
    slowed(False)
    assert check(path, document, _NAME, [_BOUND]) == 0
    both = read_results(path)["figures"][_NAME]
    assert both["looks"] == [TINY.rounds, 2 * TINY.rounds]
    assert both["ratios"][HELD]["samples"][: TINY.rounds] == first["ratios"][HELD]["samples"]
    assert len(both["contenders"][OURS]["samples"]) == 3 * TINY.rounds
    assert "over 2 looks of " in document.read_text()
    capsys.readouterr()
    assert check(path, document, _NAME, [_BOUND]) == 0
    assert "measured again" not in capsys.readouterr().out


def test_what_other_code_has_measured_is_judged_as_it_stands(
    tmp_path: Path, document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = older_results_file(tmp_path, {_NAME: figure(ratios={HELD: ratio(9.0)})})
    assert check(path, document, _NAME, [_BOUND]) == 1
    out = capsys.readouterr().out
    assert f"Measured by other code or elsewhere, so judged as they stand: {_NAME}." in out
    assert "stale numbers" in document.read_text()


def test_a_contender_that_breaks_down_on_the_second_look_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_figure(figure_named("memory.counters"), TINY)
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # no interpreter starts with it
    both = look_again(figure_named("memory.counters"), first, TINY)
    assert set(both["failed"]) == set(first["contenders"])
    assert both["contenders"] == {}
