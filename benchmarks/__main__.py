"""``python -m benchmarks run`` measures, ``python -m benchmarks check`` holds the results against the bounds."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bounds import BOUNDS
from benchmarks.check import judge
from benchmarks.figures import select
from benchmarks.model import FULL, QUICK
from benchmarks.record import record, terminable
from benchmarks.results import LATEST, effort_of, read_results, up_to_date
from benchmarks.run import run_figure
from benchmarks.second_look import look_again
from benchmarks.table import DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.bounds import Bound
    from benchmarks.model import Effort

_STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: By default those of the process.

    Returns:
        0; 1 for a bound that is missed; 2 for a command that cannot be done; 130 for one that was stopped.
    """
    chosen = _parser().parse_args(arguments)
    try:
        with terminable():
            if chosen.command == "check":
                return check(chosen.results, chosen.docs, chosen.only)
            effort = QUICK if chosen.quick else FULL
            return measure(effort, chosen.only, chosen.results, chosen.docs, go_on=chosen.go_on)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if chosen.command == "run":
            print("With --continue only what is left is measured: python -m benchmarks run --continue")
        return _STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, write the results and the table in the documentation")
    run.add_argument("--quick", action="store_true", help="small sizes and few rounds: for a first look")
    run.add_argument(
        "--continue",
        dest="go_on",
        action="store_true",
        help="measure only what the results do not have yet of this code, machine and versions",
    )
    check_command = commands.add_parser(
        "check", help="exit 1 for every bound that is missed, also when its figure is measured again"
    )
    for command in (run, check_command):
        command.add_argument("--only", metavar="NAME", help="one group (scrape) or one figure (scrape.counters)")
        command.add_argument("--results", type=Path, default=LATEST, help="the results file")
        command.add_argument("--docs", type=Path, default=DOCUMENT, help="the document with the table")
    return parser


def measure(effort: Effort, only: str | None, results: Path, docs: Path, *, go_on: bool = False) -> int:
    """Measure figures and write them down.

    Args:
        effort: How much.
        only: A group or figure; None for all.
        results: The file they go to.
        docs: The document with the table.
        go_on: Whether figures that are in the file, of this code and environment, are not measured again.

    Returns:
        0, also where something could not be measured; the check speaks of that.
    """
    chosen = select(only)
    done = up_to_date(results, effort) if go_on else {}
    left = [figure for figure in chosen if figure.name not in done]
    if go_on:
        print(f"{len(chosen) - len(left)} of {len(chosen)} figures are measured already.")
    record(left, lambda figure: run_figure(figure, effort), effort, results, docs)
    print(f"The results are in {results}, the table is in {docs}.")
    return 0


def check(path: Path, docs: Path, only: str | None, bounds: Iterable[Bound] = BOUNDS) -> int:
    """Hold results against the bounds; what misses one is measured again before it is judged.

    Args:
        path: The results file.
        docs: The document with the table.
        only: A group or figure; None for all.
        bounds: What must hold.

    Returns:
        0; 1 for a bound that is missed or a figure that broke down.
    """
    names = {figure.name for figure in select(only)}
    chosen = [bound for bound in bounds if bound.figure in names]
    _look_at_missed(path, docs, chosen)
    results = read_results(path)
    if results["environment"]["effort"] != "full":
        print(f"Note: the results are of a {results['environment']['effort']} run.")
    verdicts = judge(results, chosen)
    for verdict in verdicts:
        print(verdict)
    bad = sum(verdict.bad for verdict in verdicts)
    unmeasured = sum(verdict.outcome == "not measured" for verdict in verdicts)
    held = len(verdicts) - bad - unmeasured
    print(f"{held} bounds hold, {bad} do not, {unmeasured} not measured.")
    return 1 if bad else 0


def _look_at_missed(path: Path, docs: Path, bounds: Iterable[Bound]) -> None:
    results = read_results(path)
    missed = [verdict for verdict in judge(results, bounds) if verdict.outcome == "MISSED"]
    if not missed:
        return
    effort = effort_of(results)
    present = up_to_date(path, effort) if effort else {}
    names = {verdict.bound.figure for verdict in missed}
    if effort and (again := [figure for figure in select(None) if figure.name in names & present.keys()]):
        print("These missed their bounds and are measured again:")
        for verdict in missed:
            if verdict.bound.figure in present:
                print(f"  {verdict}")
        record(again, lambda figure: look_again(figure, present[figure.name], effort), effort, path, docs)
    if stale := sorted(names - present.keys()):
        print(f"Measured by other code or elsewhere, so judged as they stand: {', '.join(stale)}.")


if __name__ == "__main__":
    sys.exit(main())
