"""The generated part of docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.check import judge
from benchmarks.figures import FIGURES
from benchmarks.model import OURS
from benchmarks.results import write_whole

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
BEGIN = "<!-- results: written by python -m benchmarks run -->"
END = "<!-- end of results -->"


def write_table(path: Path, results: dict[str, Any]) -> None:
    """Put the results into a document, between its two markers; raises as `around_table`."""
    before, after = around_table(path)
    write_whole(path, f"{before}{BEGIN}\n\n{render(results)}\n{END}{after}")


def around_table(path: Path) -> tuple[str, str]:
    """Give what stands before and after the two markers of a document.

    Raises:
        ValueError: It cannot be read, or has no such markers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error}). Name the document with --docs") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} has no lines {BEGIN!r} and {END!r} to write between. Put them in")
    return before, after


def render(results: dict[str, Any]) -> str:
    """Render results as Markdown."""
    lines = [*_about(results), "", "### Promises", "", *_promises(results), "", "### Figures", ""]
    for figure in FIGURES:
        if figure.name in results["figures"]:
            lines += _figure(figure.name, results["figures"][figure.name])
    return "\n".join(lines)


def _about(results: dict[str, Any]) -> list[str]:
    environment = results["environment"]
    packages = ", ".join(f"{name} {number}" for name, number in environment["packages"].items() if number)
    build = "" if environment["optimized"] else " (built without profile-guided optimization)"
    sizes = (
        ""
        if environment["effort"] == "full"
        else (
            f" This was a **{environment['effort']} run**: {environment['series']} series where the titles say 10 000, "
            f"{environment['workers']} workers where they say 16, few rounds."
        )
    )
    return [
        f"Measured {results['measured']} on {environment['processors']} x {environment['processor']}, "
        f"{environment['system']}, {environment['python']}{build}; {packages}.{sizes}",
    ]


def _promises(results: dict[str, Any]) -> list[str]:
    rows = ["| figure | compared with | wanted | measured (lowest to highest) | |", "| --- | --- | --- | --- | --- |"]
    for verdict in judge(results):
        bound = verdict.bound
        compared = bound.peer or ("-" if bound.contender == OURS else f"({bound.contender})")
        wanted = f"{'>=' if bound.at_least else '<='} {bound.limit:.3g}"
        measured = verdict.detail.partition(", wanted")[0].splitlines()[0].replace("|", "\\|")
        rows.append(f"| `{bound.figure}` | {compared} | {wanted} | {measured} | {verdict.outcome} |")
    return rows


def _figure(name: str, figure: dict[str, Any]) -> list[str]:
    rows = [f"**`{name}`** {figure['title']}, {figure['unit']}, {figure['rounds']} rounds.", ""]
    rows += [
        f"| | median {figure['unit']} | IQR | otelbridge / this (lowest to highest) |",
        "| --- | ---: | ---: | ---: |",
    ]
    for contender, found in figure["contenders"].items():
        ratio = figure["ratios"].get(contender)
        shown = f"{ratio['median']:.3g} ({ratio['low']:.3g} to {ratio['high']:.3g})" if ratio else ""
        rows.append(f"| {contender} | {found['median']:.4g} | {_percent(found)} | {shown} |")
    for reasons in (figure["unmeasured"], figure["failed"]):
        rows += [f"| {contender} | | | {_last_line(reason)} |" for contender, reason in reasons.items()]
    return [*rows, ""]


def _percent(found: dict[str, Any]) -> str:
    return f"{found['iqr'] / abs(found['median']) * 100:.0f} %" if found["median"] else "-"


def _last_line(reason: str) -> str:
    return reason.splitlines()[-1].replace("|", "\\|")
