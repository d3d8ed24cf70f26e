"""``python -m benchmarks run`` measures, ``python -m benchmarks check`` holds the results against the bounds."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bounds import BOUNDS
from benchmarks.check import judge
from benchmarks.figures import select
from benchmarks.model import FULL, QUICK, Effort
from benchmarks.results import LATEST, read_results, write_results
from benchmarks.run import run_figure
from benchmarks.table import DOCUMENT, around_table, write_table

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: By default those of the process.

    Returns:
        0; 1 for a bound that is missed; 2 for a command that cannot be done.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure, write the results and the table in the documentation")
    run.add_argument("--quick", action="store_true", help="small sizes and few rounds, under a minute")
    run.add_argument("--docs", type=Path, default=DOCUMENT, help="the document with the table")
    check = commands.add_parser("check", help="exit 1 for every bound that is missed")
    for command in (run, check):
        command.add_argument("--only", metavar="NAME", help="one group (scrape) or one figure (scrape.counters)")
        command.add_argument("--results", type=Path, default=LATEST, help="the results file")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "check":
            return _check(chosen.results, chosen.only)
        return measure(QUICK if chosen.quick else FULL, chosen.only, chosen.results, chosen.docs)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def measure(effort: Effort, only: str | None, results: Path, docs: Path) -> int:
    """Measure figures and write them down.

    Args:
        effort: How much.
        only: A group or figure; None for all.
        results: The file they go to.
        docs: The document with the table.

    Returns:
        0, also where something could not be measured; the check speaks of that.
    """
    figures = select(only)
    around_table(docs)  # a document that cannot take the table is told of now, not after minutes
    begin = time.monotonic()
    measured: dict[str, Any] = {}
    for figure in figures:
        found = measured[figure.name] = run_figure(figure, effort)
        print(f"{time.monotonic() - begin:6.0f} s  {figure.name}: {_summary(found)}", flush=True)
    write_table(docs, write_results(results, measured, effort))
    print(f"wrote {results} and the table in {docs}")
    return 0


def _summary(found: dict[str, Any]) -> str:
    parts = [f"{name} {value['median']:.4g} {found['unit']}" for name, value in found["contenders"].items()]
    parts += [f"{name} not measured" for name in found["unmeasured"]]
    parts += [f"{name} FAILED" for name in found["failed"]]
    return "; ".join(parts)


def _check(path: Path, only: str | None) -> int:
    results = read_results(path)
    names = {figure.name for figure in select(only)}
    verdicts = judge(results, [bound for bound in BOUNDS if bound.figure in names])
    if results["environment"]["effort"] != "full":
        print(f"Note: the results are of a {results['environment']['effort']} run.")
    for verdict in verdicts:
        print(verdict)
    bad = sum(verdict.bad for verdict in verdicts)
    unmeasured = sum(verdict.outcome == "not measured" for verdict in verdicts)
    held = len(verdicts) - bad - unmeasured
    print(f"{held} bounds hold, {bad} do not, {unmeasured} not measured.")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
