"""The harness for real on tiny sizes, and the check on results it is given."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.__main__ import main, measure
from benchmarks.bounds import BOUNDS, Bound
from benchmarks.check import judge
from benchmarks.figures import FIGURES, figure_named, select
from benchmarks.measure import loop_sampler, paired, spread
from benchmarks.model import OURS, Effort, Figure, UnmeasuredError
from benchmarks.peers import SDK_TWO
from benchmarks.results import read_results, write_results
from benchmarks.run import run_figure
from benchmarks.table import render
from benchmarks.worker import Worker, WorkerFailedError, neutral
from tests.benchmarks.examples import TINY, figure, older_results_file, ratio, results_file

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend

BOUND = Bound("recording.counter_dict", SDK_TWO, 0.05, "Recording is cheap")


def test_a_run_writes_results_and_table(tmp_path: Path, document: Path) -> None:
    results = tmp_path / "deep" / "latest.json"
    assert measure(TINY, "recording.counter_dict", results, document) == 0
    found = json.loads(results.read_text())["figures"]["recording.counter_dict"]
    assert found["failed"] == {}
    assert found["unmeasured"] == {}
    assert set(found["contenders"]) == set(figure_named("recording.counter_dict").contenders)
    assert all(len(value["samples"]) == TINY.rounds for value in found["contenders"].values())
    assert found["contenders"][SDK_TWO]["median"] > 0
    assert set(found["ratios"]) == set(found["contenders"]) - {OURS}
    text = document.read_text()
    assert text.startswith("# Before\n")
    assert text.endswith("\n\nAfter\n")
    assert "stale numbers" not in text
    assert f"| {SDK_TWO} |" in text
    assert "**tiny run**" in text


def test_every_sample_of_a_fresh_figure_has_its_own_process() -> None:
    found = run_figure(figure_named("memory.counters"), TINY)
    assert found["failed"] == {}
    assert SDK_TWO in found["contenders"]


def test_prometheus_clients_multi_process_mode_is_really_on() -> None:
    found = run_figure(figure_named("workers.scrape"), TINY)
    assert found["failed"] == {}
    assert found["contenders"]["prometheus_client, multi-process"]["median"] > 0


def test_what_is_measured_does_not_depend_on_the_callers_environment() -> None:
    decisive = {"OTEL_SDK_DISABLED": "true", "PROMETHEUS_MULTIPROC_DIR": "/x", "PYTHONDONTWRITEBYTECODE": "1"}
    places = {"PATH": "/bin", "PYTHONPATH": "/here"}
    assert neutral({**decisive, **places}) == places


def test_a_contender_that_breaks_down_says_so() -> None:
    worker = Worker("recording.counter_dict", "nobody", TINY)
    with pytest.raises(WorkerFailedError, match="KeyError: 'nobody'"):
        worker.ready()
    worker.close()


@pytest.mark.parametrize(
    ("name", "error", "where"),
    [("unmeasured", UnmeasuredError("not there yet"), "unmeasured"), ("failed", WorkerFailedError("died"), "failed")],
)
def test_a_contender_in_trouble_is_left_out_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, where: str
) -> None:
    class Troubled:
        def __init__(self, figure: str, contender: str, effort: Effort) -> None:
            self.troubled = contender == name

        def ready(self) -> None:
            if self.troubled:
                raise error

        def sample(self) -> float:
            return 2.0

        def close(self) -> None: ...

    monkeypatch.setattr("benchmarks.run.Worker", Troubled)
    contenders = dict.fromkeys((OURS, name), lambda effort: lambda: 0.0)
    found = run_figure(Figure("a.b", "A", "ns", contenders), TINY)
    assert found[where] == {name: str(error)}
    assert list(found["contenders"]) == [OURS]
    assert found["ratios"] == {}


def test_a_missed_bound_fails_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = older_results_file(tmp_path, {BOUND.figure: figure(ratios={SDK_TWO: ratio(0.2)})})
    assert main(["check", "--results", str(path)]) == 1
    assert main(["check", "--only", "memory", "--results", str(path)]) == 0
    assert main(["check", "--only", "memor", "--results", str(path)]) == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSED")]
    assert len(lines) == 1
    assert "recording.counter_dict: otelbridge / OpenTelemetry SDK, 2 readers: 0.2" in lines[0]
    assert "wanted at most 0.05" in lines[0]


def test_what_is_not_measured_is_listed_and_neither_passes_nor_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figure(contenders={}, ratios={}, unmeasured={OURS: "not there yet: cells"})
    assert main(["check", "--results", str(results_file(tmp_path, {"workers.scrape": found}))]) == 0
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line.startswith("not measured")]
    assert len(lines) == len(BOUNDS)
    assert any("workers.scrape" in line and "not there yet: cells" in line for line in lines)
    assert f"0 bounds hold, 0 do not, {len(BOUNDS)} not measured." in out


def test_a_breakdown_of_either_side_fails_the_check() -> None:
    for name in (OURS, SDK_TWO):
        [verdict] = judge({"figures": {BOUND.figure: figure(failed={name: "Traceback\nOSError: no"})}}, [BOUND])
        assert verdict.bad
        assert "OSError: no" in verdict.detail


@pytest.mark.parametrize(
    ("limit", "at_least", "outcome"),
    [(1.0, False, "holds"), (0.99, False, "MISSED"), (1.0, True, "holds"), (1.01, True, "MISSED")],
)
def test_bounds_of_a_figure_by_itself(limit: float, at_least: bool, outcome: str) -> None:
    bound = Bound(BOUND.figure, None, limit, "So it is", at_least=at_least)
    [verdict] = judge({"figures": {BOUND.figure: figure()}}, [bound])
    assert verdict.outcome == outcome


def test_every_bound_is_about_a_figure_and_contenders_that_exist() -> None:
    for bound in BOUNDS:
        contenders = figure_named(bound.figure).contenders
        assert bound.contender in contenders
        assert bound.peer is None or bound.peer in contenders


def test_selection() -> None:
    assert select(None) == FIGURES
    assert {figure.name.partition(".")[0] for figure in select("scrape")} == {"scrape"}
    assert [figure.name for figure in select("scrape.stall")] == ["scrape.stall"]


def test_mistakes_are_told_with_their_cure(tmp_path: Path, document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--only", "scrap", "--results", str(tmp_path / "r.json"), "--docs", str(document)]) == 2
    assert "Known: recording.counter_bound" in capsys.readouterr().err
    document.write_text("# No markers\n")
    assert main(["run", "--only", "scrape", "--results", str(tmp_path / "r.json"), "--docs", str(document)]) == 2
    assert "Put them in" in capsys.readouterr().err
    assert main(["check", "--results", str(tmp_path / "none.json")]) == 2
    assert "Measure first" in capsys.readouterr().err
    (tmp_path / "list.json").write_text("[]")
    assert main(["check", "--results", str(tmp_path / "list.json")]) == 2
    assert "Measure again" in capsys.readouterr().err


def test_figures_of_another_effort_are_not_mixed_in(tmp_path: Path) -> None:
    path = results_file(tmp_path, {"a.b": figure()})
    write_results(path, {"c.d": figure()}, TINY)
    assert set(read_results(path)["figures"]) == {"a.b", "c.d"}
    write_results(path, {"e.f": figure()}, Effort("other", 1, 1, 1, 1, 1, 1, 1))
    assert set(read_results(path)["figures"]) == {"e.f"}


def test_the_table_shows_promises_and_reasons(tmp_path: Path) -> None:
    found = figure(contenders={SDK_TWO: ratio(5.0)}, ratios={}, unmeasured={OURS: "not there yet: cells"})
    text = render(read_results(results_file(tmp_path, {"workers.scrape": found})))
    assert "| otelbridge | | | not there yet: cells |" in text
    assert text.count("not measured |") == len(BOUNDS)


@given(st.lists(st.floats(0.001, 1e9), min_size=1))
def test_spread_lies_within_its_samples(samples: list[float]) -> None:
    found = spread(samples)
    assert found.low <= found.median <= found.high
    assert 0 <= found.iqr <= found.high - found.low
    assert found.samples == tuple(samples)


@given(st.lists(st.tuples(st.floats(0.001, 1e6), st.floats(0.5, 2.0)), min_size=1))
def test_ratios_are_taken_round_by_round(rounds: list[tuple[float, float]]) -> None:
    peer = [value for value, _ in rounds]
    ours = [value * factor for value, factor in rounds]
    found = paired(ours, peer)
    assert found is not None
    assert all(math.isclose(one, factor, rel_tol=1e-9) for one, (_, factor) in zip(found.samples, rounds, strict=True))


def test_there_is_no_ratio_to_nothing() -> None:
    assert paired([], [1.0]) is None
    assert paired([1.0], [0.0]) is None


def test_a_loop_runs_its_statement_often_enough_to_be_timed() -> None:
    calls: list[None] = []
    loop_sampler("f(None)", {"f": calls.append}, 0.001)()
    assert len(calls) > 64
