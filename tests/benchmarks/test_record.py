"""A run that is cut off keeps what it has measured, and can be continued."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.__main__ import measure
from benchmarks.figures import select
from benchmarks.model import Effort
from benchmarks.progress import Progress
from benchmarks.results import effort_of, read_results, seconds_of, up_to_date, write_results
from tests.benchmarks.examples import TINY, figure, older_results_file, results_file

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.endtoend

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_keeps_what_it_has_and_names_the_rest(
    tmp_path: Path, document: Path, number: signal.Signals
) -> None:
    results = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks", "run", "--quick", "--only", "recording"]
    with subprocess.Popen(
        [*command, "--results", str(results), "--docs", str(document)], stdout=subprocess.PIPE, text=True, cwd=_ROOT
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        first = next(line for line in lines if line.startswith("    otelbridge "))
        kept = set(read_results(results)["figures"])
        process.send_signal(number)
        rest = [first, *lines]
    assert process.returncode == 130
    assert kept == {"recording.counter_bound"}
    assert "| `recording.counter_bound` |" in document.read_text()
    told = "".join(rest)
    done = set(read_results(results)["figures"])
    assert f"Stopped. {len(done)} of 7 figures are measured and kept. Left: " in told
    assert all(each.name in told for each in select("recording") if each.name not in done)
    assert "--continue" in told


def test_a_continued_run_measures_what_is_left(
    tmp_path: Path, document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = results_file(tmp_path, {"sqlalchemy.statement": figure(title="kept")})
    assert measure(TINY, "sqlalchemy", path, document, go_on=True) == 0
    figures = read_results(path)["figures"]
    assert figures["sqlalchemy.statement"]["title"] == "kept"
    assert figures["sqlalchemy.checkout"]["failed"] == {}
    out = capsys.readouterr().out
    assert "1 of 2 figures are measured already." in out
    assert "[1 of 1, after 0 s] sqlalchemy.checkout" in out


def test_only_figures_of_the_same_code_and_environment_are_measured_already(tmp_path: Path) -> None:
    path = results_file(tmp_path, {"a.b": figure()})
    assert set(up_to_date(path, TINY)) == {"a.b"}
    assert up_to_date(path, Effort("other", 1, 1, 1, 1, 1, 1, 1)) == {}
    assert up_to_date(results_file(tmp_path, {"a.b": figure(failed={"otelbridge": "OSError: no"})}), TINY) == {}
    assert up_to_date(older_results_file(tmp_path, {"a.b": figure()}), TINY) == {}
    assert up_to_date(tmp_path / "none.json", TINY) == {}


def test_the_effort_of_results_can_be_had_again(tmp_path: Path) -> None:
    results = read_results(results_file(tmp_path, {}))
    assert effort_of(results) == TINY
    del results["effort"]
    assert effort_of(results) is None


def test_whoever_is_stopped_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = results_file(tmp_path, {"a.b": figure()})
    with pytest.raises(TypeError):
        write_results(path, {"c.d": {"not": object()}}, TINY)
    assert set(read_results(path)["figures"]) == {"a.b"}
    assert list(tmp_path.iterdir()) == [path]


def _clock(*times: float) -> Iterator[float]:
    yield from times


def test_progress_estimates_from_earlier_lengths_and_the_pace_of_this_run() -> None:
    times = _clock(0.0, 20.0, 40.0)
    progress = Progress(["a", "b", "c", "d"], {"a": 10.0, "b": 10.0, "c": 60.0}, lambda: next(times))
    assert progress.left() is None  # nothing is known of d
    assert progress.position() == "1 of 4, after 0 s"
    progress.done("a")
    # Twice as slow as before: b and c take 20 and 120, d what a figure takes here.
    assert progress.left() == 160.0
    assert progress.position() == "2 of 4, after 20 s, about 3 min left"
    progress.done("b")
    assert progress.left() == 140.0


def test_progress_knows_the_whole_length_beforehand_from_an_earlier_run(tmp_path: Path) -> None:
    path = results_file(tmp_path, {"a": figure(seconds=100.0), "b": figure(seconds=200.0)})
    progress = Progress(["a", "b"], seconds_of(path), lambda: 0.0)
    assert progress.position() == "1 of 2, after 0 s, about 5 min left"
