"""Dead books move into the base, and nothing changes for a reader."""

from __future__ import annotations

import math
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from otelbridge.cells import shelf as module
from otelbridge.cells.arithmetic import RAW_MERGERS, expansion
from otelbridge.cells.base import decode
from otelbridge.cells.book import Book
from otelbridge.cells.folding import fold
from otelbridge.cells.locks import held
from otelbridge.cells.names import BASE, DRAFT, FOLDER, KEYS, MEMBERS, STARTING, VALUES
from otelbridge.cells.private import Directory, Entry
from otelbridge.cells.shape import Rule, Shape
from otelbridge.cells.shelf import Shelf
from otelbridge.diagnostics import forget_warnings
from tests.cells.books import COUNTER, GAUGE, HISTOGRAM, UPDOWN, add, count, mark, memory_directory, series, visible

if TYPE_CHECKING:
    from pathlib import Path

group = pytest.fixture(memory_directory)


@pytest.fixture(autouse=True)
def _fresh_warnings() -> None:
    forget_warnings()


def left(group: Path) -> set[str]:
    """The files of a group besides its locks."""
    return {path.name for path in group.iterdir() if not path.name.endswith(".lock")}


def dead(group: Path, requests: int, total: float = 0.5) -> None:
    """A process that counted and died."""
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b""), requests, total)
        add(book.place(b"active", UPDOWN, b""), 1)
        mark(book.place(b"size", GAUGE, b""), 1.0, 1.0)
        cell = book.place(b"duration", HISTOGRAM, b"a")
        cell.counts[cell.counts_at + 3] = requests
        cell.lows[cell.lows_at] = -requests


def test_the_dead_become_one_base(group: Path) -> None:
    with closing(Book.open(group)) as alive:
        add(alive.place(b"requests", COUNTER, b""), 1)
        for number in range(1, 8):
            dead(group, number)
        shelf = Shelf(group)
        before = visible(shelf.read(None))
        assert fold(group, shelf) == 7
        assert left(group) == {BASE, f"{alive.uid}.keys", f"{alive.uid}.vals"}
        for reader in (shelf, Shelf(group)):
            assert visible(reader.read(None)) == before | {
                key: shown._replace(contributors=2 if key[0] == b"requests" else 1)
                for key, shown in before.items()
                if key[0] in {b"requests", b"duration"}
            }
        assert before[b"requests", b""].counts == [29]
        assert before[b"duration", b"a"].lows[0] == -7


def test_folding_again_changes_nothing(group: Path) -> None:
    shelf = Shelf(group)
    dead(group, 3)
    assert fold(group, shelf) == 1
    first = series(shelf.read(None))
    content = (group / BASE).read_bytes()
    assert fold(group, shelf) == 0
    assert (group / BASE).read_bytes() == content
    dead(group, 4)
    assert fold(group, shelf) == 1
    assert count(shelf.read(None), b"requests") == 7
    assert series(Shelf(group).read(None)).keys() == first.keys() - {(b"active", b""), (b"size", b"")}


def test_an_empty_group_has_nothing_to_fold(group: Path) -> None:
    assert fold(group, Shelf(group)) == 0
    assert list(group.iterdir()) == []
    assert fold(group / "gone", Shelf(group / "gone")) == 0


def test_what_only_the_living_say_goes(group: Path) -> None:
    dead(group, 1)
    shelf = Shelf(group)
    fold(group, shelf)
    assert {identity for identity, _ in series(Shelf(group).read(None))} == {b"requests", b"duration"}


def test_marks_that_are_added_stay(group: Path) -> None:
    shape = Shape(Rule.SUM, marks=2)
    for value, stamp in ((2.0, -5.0), (3.0, -4.0)):
        with closing(Book.open(group)) as book:
            mark(book.place(b"size", shape, b""), value, stamp)
            book.place(b"never", shape, b"")
    shelf = Shelf(group)
    before = series(shelf.read(None))
    assert before[b"size", b""].marks == [5.0, -5.0]
    assert fold(group, shelf) == 2
    after = series(shelf.read(None))
    assert after[b"size", b""].marks == [5.0, -5.0]
    assert after[b"never", b""].marks[1] == 0.0


def test_a_base_series_is_retired_while_all_that_went_into_it_were(group: Path) -> None:
    def ended(*retired: bytes) -> None:
        with closing(Book.open(group)) as book:
            for name in (b"a", b"b"):
                cell = book.place(b"requests", COUNTER, name)
                add(cell, 1)
                if name in retired:
                    book.retire(cell)

    shelf = Shelf(group)
    for retired, expected in (((b"a", b"b"), [0, 0]), ((b"a",), [0, 1]), ((), [1, 1])):
        ended(*retired)
        fold(group, shelf)
        shown = series(shelf.read(None))
        assert [shown[b"requests", name].contributors for name in (b"a", b"b")] == expected
    assert [shown[b"requests", name].counts for name in (b"a", b"b")] == [[3], [3]]


def test_sums_stay_exact_to_the_last_bit(group: Path) -> None:
    values = [0.1, 1e16, -1e16, 1e-300, 3.0000000000000004, 1e300, -1e300, 0.2, 7e-320]
    shelf = Shelf(group)
    for number in range(len(values)):
        with closing(Book.open(group)) as book:
            cell = book.place(b"requests", COUNTER, b"")
            cell.totals[cell.totals_at] = values[number]
            cell.counts[cell.counts_at] = (1 << 63) - 1
        assert fold(group, shelf) == 1
        totals = shelf.read(None)
        place = totals.places[b"requests"][b""]
        assert totals.totals[place.totals] == math.fsum(values[: number + 1])
        assert totals.counts[place.counts] == (number + 1) * ((1 << 63) - 1)
        assert totals.contributors[place.number] == 1


def test_odd_sums_survive(group: Path) -> None:
    shelf = Shelf(group)
    for value in (-0.0, -0.0, math.inf, math.inf, -math.inf):
        with closing(Book.open(group)) as book:
            for name, stored in ((b"nothing", -0.0), (b"odd", value), (b"low", math.nan)):
                cell = book.place(b"requests", COUNTER, name)
                cell.totals[cell.totals_at] = stored
        assert fold(group, shelf) == 1
    shown = series(shelf.read(None))
    assert str(shown[b"requests", b"nothing"].totals[0]) == "-0.0"
    assert math.isnan(shown[b"requests", b"odd"].totals[0])
    assert math.isnan(shown[b"requests", b"low"].totals[0])


@example([6.111606861184637e300, 1.7976930737462472e308, -7.976931348623159e307])
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=12))
def test_an_expansion_is_the_exact_sum(parts: list[float]) -> None:
    from fractions import Fraction

    terms = expansion(parts)
    exact = sum(map(Fraction, parts), Fraction())
    if all(map(math.isfinite, terms)):
        assert sum(map(Fraction, terms), Fraction()) == exact
        assert len(terms) < 45
    else:  # a sum on the way may be more than a float holds
        assert sum(abs(Fraction(part)) for part in parts) > sys.float_info.max


def test_raw_rows_are_folded_by_their_function(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RAW_MERGERS, "add", lambda rows: list(map(sum, zip(*rows, strict=True))))
    shape = Shape(Rule.SUM, raw=4, raw_merge="add")
    shelf = Shelf(group)
    for number in range(4):
        with closing(Book.open(group)) as book:
            cell = book.place(b"raw", shape, b"")
            for at in range(1, 4):
                cell.raw[cell.raw_at + at] = number * at
        if number % 2:
            assert fold(group, shelf) == 2
    assert series(shelf.read(None))[b"raw", b""].raw == [0, 6, 12, 18]


def test_what_nothing_can_merge_is_kept_as_it_is(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(Book.open(group)) as book:
        book.place(b"raw", Shape(Rule.SUM, raw=1, raw_merge="of a later version"), b"")
        add(book.place(b"requests", COUNTER, b""), 5)
    dead(group, 6)
    shelf = Shelf(group)
    assert fold(group, shelf) == 1
    assert fold(group, shelf) == 0
    assert count(shelf.read(None), b"requests") == 11
    assert f"{book.uid}.keys" in left(group)
    assert sum("of a later version" in record.getMessage() for record in caplog.records) <= 2


def test_one_process_folds_at_a_time(group: Path) -> None:
    dead(group, 1)
    shelf = Shelf(group)
    with held(Directory(group) / FOLDER) as other:
        assert other
        assert fold(group, shelf) == 0
    assert fold(group, shelf) == 1


def test_files_beside_a_book_go_with_it(group: Path) -> None:
    with closing(Book.open(group)) as book:
        (group / f"{book.uid}.bell").touch()
    with closing(Book.open(group)) as alive:
        (group / f"{alive.uid}.bell").touch()
        fold(group, Shelf(group))
        assert left(group) == {BASE, *(f"{alive.uid}{ending}" for ending in (".keys", ".vals", ".bell"))}


def test_what_a_start_left_behind_is_removed(group: Path) -> None:
    dead(group, 1)
    uid = "0123456789abcdef-77-0badcafe"
    strays = {f"{uid}.new", f"{uid}.vals", f"{STARTING}4-abc"}
    for name in strays:
        (group / name).touch()
    (group / "other").touch()
    shelf = Shelf(group)
    with held(Directory(group) / MEMBERS, shared=True) as starting:
        assert starting
        fold(group, shelf)
        assert strays < left(group)
    fold(group, shelf)
    assert left(group) == {BASE, "other"}


def test_files_that_cannot_be_removed_count_once(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    dead(group, 5)
    uid = next(path.stem for path in group.glob(f"*{KEYS}"))
    (group / f"{uid}.values").mkdir()  # cannot be unlinked
    shelf = Shelf(group)
    assert fold(group, shelf) == 1
    # The key file was removed; were it not, the base would still name the book:
    assert decode((group / BASE).read_bytes()).folded == {uid}
    assert count(shelf.read(None), b"requests") == 5
    assert any("cannot be removed" in record.getMessage() for record in caplog.records)
    dead(group, 6)
    assert fold(group, shelf) == 1
    assert decode((group / BASE).read_bytes()).folded > {uid}
    assert count(shelf.read(None), b"requests") == 11


def test_a_reader_that_saw_the_old_files_reads_on(group: Path) -> None:
    dead(group, 5)
    early, late = Shelf(group), Shelf(group)
    assert count(early.read(None), b"requests") == 5
    seen: list[int] = []
    fold(group, late, lambda step: seen.append(count(early.read(None), b"requests")))
    assert len(seen) >= 5
    assert set(seen) == {5}
    assert count(early.read(None), b"requests") == 5


def test_a_book_that_grew_and_was_folded_while_somebody_looked(
    group: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Shelf(group)
    book = Book.open(group)
    add(book.place(b"requests", COUNTER, b""), 1)
    assert count(reader.read(None), b"requests") == 1
    scan = reader._scan

    def scan_then_fold() -> None:
        scan()
        if book.linked:
            wide = book.place(b"wide", Shape(Rule.SUM, counts=10_000), b"")
            wide.counts[wide.counts_at] = 5
            book.close()
            assert fold(group, Shelf(group)) == 1

    monkeypatch.setattr(reader, "_scan", scan_then_fold)
    totals = reader.read(None)
    assert count(totals, b"requests") == 1
    assert count(totals, b"wide") == 5
    assert caplog.records == []


def test_a_book_folded_between_two_looks_at_the_directory(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead(group, 5)
    listed = module.uids_in
    folded: list[int] = []

    def fold_then_list(directory: Directory) -> set[str]:
        if not folded:
            folded.append(0)
            folded.append(fold(group, Shelf(group)))
        return listed(directory)

    monkeypatch.setattr(module, "uids_in", fold_then_list)
    assert count(Shelf(group).read(None), b"requests") == 5
    assert folded == [0, 1]


@pytest.mark.parametrize("endings", [(KEYS,), (KEYS, VALUES)])
def test_books_that_cannot_be_removed_count_once(
    group: Path, monkeypatch: pytest.MonkeyPatch, endings: tuple[str, ...]
) -> None:
    dead(group, 5)
    unlink = Entry.unlink

    def refuse(file: Entry, *, missing_ok: bool = False) -> None:
        if file.name.endswith(endings):
            raise PermissionError(1, "not this one", str(file))
        unlink(file, missing_ok=missing_ok)

    shelf = Shelf(group)
    with monkeypatch.context() as patch:
        patch.setattr(Entry, "unlink", refuse)
        assert fold(group, shelf) == 1
        assert fold(group, shelf) == 0
        dead(group, 6)
        assert fold(group, shelf) == 1
        assert count(Shelf(group).read(None), b"requests") == 11
    assert len(list(group.glob(f"*{KEYS}"))) == 2
    assert fold(group, shelf) == 0
    assert list(group.glob(f"*{KEYS}")) == []
    assert count(Shelf(group).read(None), b"requests") == 11


def test_the_steps_of_the_protocol(group: Path) -> None:
    dead(group, 5)
    steps: list[str] = []
    fold(group, Shelf(group), steps.append)
    assert steps == ["read", "write", "rename", "remove", "remove"]
    assert not (group / DRAFT).exists()
