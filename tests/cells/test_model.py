"""Any history of any books reads as a model in plain dictionaries says, before and after folding."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from otelbridge.cells.book import Book
from otelbridge.cells.folding import fold
from otelbridge.cells.shape import Rule, Shape
from otelbridge.cells.shelf import Shelf
from otelbridge.diagnostics import forget_warnings
from tests.cells.books import COUNTER, GAUGE, HISTOGRAM, UPDOWN, memory_directory, visible

if TYPE_CHECKING:
    from pathlib import Path

    from otelbridge.cells.book import Cell
    from otelbridge.cells.shelf import Totals

SHAPES = {
    b"requests": COUNTER,
    b"active": UPDOWN,
    b"size": GAUGE,
    b"duration": HISTOGRAM,
    b"peak": Shape(Rule.MAX, marks=2),
    b"floor": Shape(Rule.MIN, marks=2),
    b"mixed": Shape(Rule.SUM, counts=2, lows=1),
    b"latest": Shape(Rule.LAST, counts=1, marks=2),
}

keys = st.tuples(st.sampled_from(list(SHAPES)), st.sampled_from([b"", b"a", b"b"]))
slots = st.integers(0, 2)


class Seen(NamedTuple):
    """What is compared: merged slots and the chosen mark's value."""

    counts: list[int]
    totals: list[float]
    lows: list[float]
    mark: float | None


class Entry:
    """A series of one book, in the model."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.value = 0
        self.stamp = 0.0
        self.stored = False
        self.retired = False


class Kept:
    """A book, in the model."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.live = True
        self.series: dict[tuple[bytes, bytes], Entry] = {}


def store(entry: Entry, shape: Shape) -> None:
    """Write the model's value through, as the data plane does."""
    cell, value = entry.cell, entry.value
    for at in range(shape.counts):
        cell.counts[cell.counts_at + at] = value + at
    for at in range(shape.totals):
        cell.totals[cell.totals_at + at] = value / 10
    for at in range(shape.lows):
        cell.lows[cell.lows_at + at] = float(value)
    if shape.marks:
        cell.marks[cell.marks_at] = float(value)
        cell.marks[cell.marks_at + 1] = entry.stamp


def merged(shape: Shape, entries: list[Entry]) -> Seen:
    """What these entries are together."""
    stored = [entry for entry in entries if entry.stored]
    choice = {
        Rule.LAST: lambda: max(stored, key=lambda entry: entry.stamp).value,
        Rule.MAX: lambda: max(entry.value for entry in stored),
        Rule.MIN: lambda: min(entry.value for entry in stored),
    }
    return Seen(
        [sum(entry.value + at for entry in stored) for at in range(shape.counts)],
        [math.fsum(entry.value / 10 for entry in stored)] * shape.totals,
        [min((float(entry.value) for entry in stored), default=math.inf)] * shape.lows,
        (float(choice[shape.rule]()) if stored else 0.0) if shape.marks else None,
    )


def read(totals: Totals) -> dict[tuple[bytes, bytes], Seen]:
    """What a reader is to show."""
    return {
        key: Seen(shown.counts, shown.totals, shown.lows, shown.marks[0] if shown.marks else None)
        for key, shown in visible(totals).items()
    }


class Group(RuleBasedStateMachine):
    """Three processes that come, count, forget and die, one reader, and anybody who folds."""

    def __init__(self) -> None:
        super().__init__()
        forget_warnings()
        self.directories = memory_directory()
        self.directory: Path = next(self.directories)
        self.shelf = Shelf(self.directory)
        self.everything: list[Kept] = []
        self.current = [self.opened() for _ in range(3)]
        self.clock = 0.0

    def opened(self) -> Kept:
        kept = Kept(Book.open(self.directory))
        self.everything.append(kept)
        return kept

    def expected(self) -> dict[tuple[bytes, bytes], Seen]:
        result: dict[tuple[bytes, bytes], Seen] = {}
        for key in {key for kept in self.everything for key in kept.series}:
            shape = SHAPES[key[0]]
            entries = [
                kept.series[key] for kept in self.everything if key in kept.series and (kept.live or shape.outlives)
            ]
            if any(not entry.retired for entry in entries):
                result[key] = merged(shape, [entry for entry in entries if shape.adds or not entry.retired])
        return result

    @rule(slot=slots, key=keys)
    def place(self, slot: int, key: tuple[bytes, bytes]) -> None:
        kept = self.current[slot]
        cell = kept.book.place(key[0], SHAPES[key[0]], key[1])
        assert kept.series.setdefault(key, Entry(cell)).cell is cell

    @rule(slot=slots, key=keys, value=st.integers(-100, 100))
    def count(self, slot: int, key: tuple[bytes, bytes], value: int) -> None:
        self.place(slot, key)
        entry = self.current[slot].series[key]
        self.clock += 1.0
        entry.value, entry.stamp, entry.stored = value, self.clock, True
        store(entry, SHAPES[key[0]])

    @rule(slot=slots, key=keys)
    def retire(self, slot: int, key: tuple[bytes, bytes]) -> None:
        entry = self.current[slot].series.get(key)
        if entry is not None:
            entry.retired = True
            self.current[slot].book.retire(entry.cell)

    @rule(slot=slots, key=keys)
    def revive(self, slot: int, key: tuple[bytes, bytes]) -> None:
        entry = self.current[slot].series.get(key)
        if entry is not None:
            entry.retired = False
            self.current[slot].book.revive(entry.cell)

    @rule(slot=slots)
    def die(self, slot: int) -> None:
        self.current[slot].book.close()
        self.current[slot].live = False
        self.current[slot] = self.opened()

    @rule()
    def look(self) -> None:
        assert read(self.shelf.read(None)) == self.expected()

    @rule()
    def look_anew(self) -> None:
        assert read(Shelf(self.directory).read(None)) == self.expected()

    @precondition(lambda self: any(not kept.live for kept in self.everything))
    @rule()
    def fold(self) -> None:
        before = read(self.shelf.read(None))
        fold(self.directory, self.shelf)
        assert read(self.shelf.read(None)) == before == self.expected()
        assert fold(self.directory, Shelf(self.directory)) == 0

    def teardown(self) -> None:
        self.look()
        self.fold()
        self.look_anew()
        for kept in self.everything:
            kept.book.close()
        shutil.rmtree(self.directory)
        self.directories.close()


TestGroup = Group.TestCase
TestGroup.settings = settings(deadline=None, max_examples=150, stateful_step_count=30)
