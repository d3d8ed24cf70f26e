"""Books, shelves and processes for the tests of the cells."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from otelbridge.cells.shape import Rule, Shape
from tests import leftovers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otelbridge.cells.book import Cell
    from otelbridge.cells.shelf import Place, Totals

ROOT = Path(__file__).parents[2]

COUNTER = Shape(Rule.SUM, counts=1, totals=1)
UPDOWN = Shape(Rule.LIVE_SUM, counts=1, totals=1)
GAUGE = Shape(Rule.LAST, marks=2)
HISTOGRAM = Shape(Rule.SUM, counts=16, totals=1, lows=4)


class Shown(NamedTuple):
    """What a reader sees of one series."""

    contributors: int
    counts: list[int]
    totals: list[float]
    lows: list[float]
    marks: list[float]
    raw: list[int]


def memory_directory() -> Iterator[Path]:
    """A private directory in memory, where there is one."""
    with leftovers.memory_directory("cells-") as base:
        yield base


def add(cell: Cell, count: int, total: float | None = None) -> None:
    """Add to a counter's cell."""
    cell.counts[cell.counts_at] += count
    if total is not None:
        cell.totals[cell.totals_at] += total


def mark(cell: Cell, value: float, stamp: float) -> None:
    """Set a gauge's cell."""
    cell.marks[cell.marks_at] = value
    cell.marks[cell.marks_at + 1] = stamp


def series(totals: Totals) -> dict[tuple[bytes, bytes], Shown]:
    """Everything a reader sees, by identity and attributes."""
    return {
        (identity, attributes): _shown(totals, place)
        for identity, places in totals.places.items()
        for attributes, place in places.items()
    }


def visible(totals: Totals) -> dict[tuple[bytes, bytes], Shown]:
    """What a reader is to show."""
    return {key: shown for key, shown in series(totals).items() if shown.contributors}


def count(totals: Totals, identity: bytes, attributes: bytes = b"") -> int:
    """The merged count of a counter; 0 when it is not known."""
    place = totals.places.get(identity, {}).get(attributes)
    return 0 if place is None else totals.counts[place.counts]


def _shown(totals: Totals, place: Place) -> Shown:
    shape = place.shape

    def cut(values: list[Any], first: int, width: int) -> list[Any]:
        return values[first : first + width] if width else []

    return Shown(
        totals.contributors[place.number],
        cut(totals.counts, place.counts, shape.counts),
        cut(totals.totals, place.totals, shape.totals),
        cut(totals.lows, place.lows, shape.lows),
        cut(totals.marks, place.marks, shape.marks),
        totals.raw[place.raw] if shape.raw else [],
    )


def run(script: str, *arguments: object, timeout: float = 120) -> str:
    """Run a script in an interpreter of its own; what it printed. Fails with what it wrote to stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Worker:
    """A script in an interpreter of its own that says when it is ready and then waits to be ended."""

    def __init__(self, script: str, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self._output = self._process.stdout
        self.said = self._output.readline().strip()
        assert self.said, "the worker ended before it was ready"

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it; its exit status."""
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        status = self._process.wait(60)
        self._output.close()
        return status


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.005)
