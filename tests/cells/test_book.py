"""The book of one process: what it writes, and what stands in its way."""

from __future__ import annotations

import gc
import itertools
import json
import os
import stat
import tempfile
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.cells import locks
from otelbridge.cells.book import Book
from otelbridge.cells.private import Descriptor, Directory
from otelbridge.cells.segments import GRAIN, ValuesFile
from otelbridge.cells.shape import Rule, Shape
from otelbridge.cells.shelf import Shelf
from tests.cells.books import COUNTER, GAUGE, HISTOGRAM, add, count, memory_directory, run, series, visible
from tests.interrupting import interrupting

if TYPE_CHECKING:
    from pathlib import Path

group = pytest.fixture(memory_directory)


def test_a_new_cell_holds_nothing(group: Path) -> None:
    with closing(Book.open(group)) as book:
        cell = book.place(b"all", Shape(Rule.SUM, 2, 2, 2, 0, 0), b"")
        gauge = book.place(b"gauge", GAUGE, b"")
        raw = book.place(b"raw", Shape(Rule.SUM, raw=3, raw_merge="x"), b"")
        assert cell.counts[cell.counts_at : cell.counts_at + 2].tolist() == [0, 0]
        assert [str(cell.totals[cell.totals_at + at]) for at in (0, 1)] == ["-0.0", "-0.0"]
        assert cell.lows[cell.lows_at : cell.lows_at + 2].tolist() == [float("inf")] * 2
        assert gauge.marks[gauge.marks_at : gauge.marks_at + 2].tolist() == [0.0, 0.0]
        assert raw.raw[raw.raw_at : raw.raw_at + 3].tolist() == [0, 0, 0]
        assert [cell.number, gauge.number, raw.number] == [0, 1, 2]


def test_the_views_have_the_formats_of_their_slots(group: Path) -> None:
    with closing(Book.open(group)) as book:
        cell = book.place(b"h", HISTOGRAM, b"")
        assert (cell.counts.format, cell.totals.format, cell.lows.format) == ("q", "d", "d")
        assert len(cell.marks) == len(cell.raw) == 0
        with pytest.raises(TypeError):
            cell.counts[cell.counts_at] = 0.5


def test_a_series_placed_twice_has_one_cell(group: Path) -> None:
    with closing(Book.open(group)) as book:
        cell = book.place(b"requests", COUNTER, b"a")
        assert book.place(b"requests", COUNTER, b"a") is cell
        assert book.place(b"requests", COUNTER, b"b") is not cell
        assert book.place(b"errors", COUNTER, b"a") is not cell
        add(cell, 3)
        assert count(Shelf(group).read(None), b"requests", b"a") == 3


def test_another_shape_for_the_same_stream_is_refused(group: Path) -> None:
    with closing(Book.open(group)) as book:
        book.place(b"requests", COUNTER, b"a")
        with pytest.raises(ValueError, match="has the shape"):
            book.place(b"requests", GAUGE, b"b")


@pytest.mark.parametrize(
    "slots",
    [
        {},
        {"counts": -1},
        {"counts": 1 << 40},
        {"marks": 1},
        {"raw": 3},
        {"counts": 1, "raw_merge": "exponential"},
    ],
)
def test_impossible_shapes_are_refused(slots: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"slots"):
        Shape(Rule.SUM, **slots)


def test_files_are_for_their_user_alone(group: Path) -> None:
    with closing(Book.open(group)) as book:
        book.place(b"requests", COUNTER, b"")
        files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in group.iterdir()}
    assert files == {f"{book.uid}.keys": 0o600, f"{book.uid}.vals": 0o600, "members.lock": 0o600}


def test_books_are_named_by_age_and_never_alike(group: Path) -> None:
    books = [Book.open(group) for _ in range(20)]
    uids = [book.uid for book in books]
    for book in books:
        book.close()
    assert len(set(uids)) == 20
    assert uids == sorted(uids)


def test_a_missing_directory_is_told(group: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Book.open(group / "gone")


def test_growing_over_many_segments_moves_nothing(group: Path) -> None:
    with closing(Book.open(group)) as book:
        shelf = Shelf(group)
        cells = []
        for number in range(12_000):
            cell = book.place(b"histogram", HISTOGRAM, b"%d" % number)
            cell.counts[cell.counts_at + 15] = number
            cell.totals[cell.totals_at] = number / 4
            cell.lows[cell.lows_at + 3] = -number
            cells.append(cell)
            if number % 3000 == 0:
                assert len(shelf.read(None).places[b"histogram"]) == number + 1
        shown = series(shelf.read(None))
        assert len(shown) == 12_000
        for number, cell in enumerate(cells):
            seen = shown[b"histogram", b"%d" % number]
            assert seen.counts == [*[0] * 15, number]
            assert seen.totals == [number / 4]
            assert seen.lows == [*[float("inf")] * 3, -number]
            assert cell.counts[cell.counts_at + 15] == number
        # Segments double, so that their number, and with it that of the descriptors, stays small.
        assert len({id(cell.counts) for cell in cells}) < 10


def test_a_series_wider_than_a_segment_gets_one_of_its_own(group: Path) -> None:
    wide = Shape(Rule.SUM, counts=GRAIN // 8 * 3 + 1)
    with closing(Book.open(group)) as book:
        small = book.place(b"small", COUNTER, b"")
        cell = book.place(b"wide", wide, b"")
        cell.counts[cell.counts_at + wide.counts - 1] = 7
        add(small, 1)
        shown = visible(Shelf(group).read(None))
        assert shown[b"wide", b""].counts == [*[0] * (wide.counts - 1), 7]
        assert shown[b"small", b""].counts == [1]


def test_a_closed_book_is_a_dead_process_book(group: Path) -> None:
    book = Book.open(group)
    cell = book.place(b"requests", COUNTER, b"")
    add(cell, 5)
    shelf = Shelf(group)
    assert shelf.live() == [book.uid]
    assert book.linked
    book.close()
    book.close()
    assert shelf.live() == []
    assert count(shelf.read(None), b"requests") == 5
    assert not book.linked
    add(cell, 1)  # late, but harmless
    with pytest.raises(OSError, match="Bad file descriptor"):
        book.place(b"requests", COUNTER, b"new")
    with pytest.raises(OSError, match="Bad file descriptor"):
        book.retire(cell)
    assert book.place(b"requests", COUNTER, b"") is cell


def test_a_removed_book_says_so_and_goes_on(group: Path) -> None:
    with closing(Book.open(group)) as book:
        for path in group.iterdir():
            path.unlink()
        assert not book.linked
        add(book.place(b"requests", COUNTER, b""), 1)


def test_others_see_what_is_observed_and_when(group: Path) -> None:
    with closing(Book.open(group)) as book, closing(Book.open(group)) as other:
        shelf = Shelf(group)
        assert (book.observing, book.refreshed) == (False, 0)
        assert shelf.observing() == {}
        book.observing = True
        book.refreshed = 41
        assert shelf.observing() == {book.uid: 41}
        other.observing = True
        book.refreshed += 1
        assert shelf.observing() == {book.uid: 42, other.uid: 0}
        before = shelf.observing()
        assert shelf.waiting(before) == before
        book.refreshed += 1
        assert shelf.waiting(before) == {other.uid: 0}
        book.observing = False
        assert shelf.observing() == {other.uid: 0}
        other.close()
        assert shelf.waiting(before) == {}


FORK = """
import json, os, sys
from pathlib import Path
from otelbridge.cells.book import Book
from otelbridge.cells.shape import Rule, Shape
from otelbridge.cells.shelf import Shelf
from otelbridge.cells.folding import fold
directory = Path(sys.argv[1])
counter = Shape(Rule.SUM, counts=1)
book = Book.open(directory)
cell = book.place(b"requests", counter, b"")
cell.counts[cell.counts_at] = 100
before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
come, go = os.pipe()
child = os.fork()
if child == 0:
    book.abandon()
    own = Book.open(directory)
    mine = own.place(b"requests", counter, b"")
    mine.counts[mine.counts_at] = 1
    old = book.place(b"requests", counter, b"")        # code that has not heard of the fork
    refused = False
    try:
        book.place(b"requests", counter, b"new")
    except OSError:
        refused = True
    shelf = Shelf(directory)
    live = shelf.live()
    seen = shelf.read(own).counts
    os.write(go, json.dumps([live == sorted([book.uid, own.uid]), seen, refused, old is cell]).encode())
    os._exit(0)
os.waitpid(child, 0)
shelf = Shelf(directory)
result = json.loads(os.read(come, 1000))
lives, both, folded = shelf.live() == [book.uid], shelf.read(None).counts, fold(directory, shelf)
print(json.dumps([result, lives, both, folded, shelf.read(None).counts]))
"""


def test_a_forked_child_has_a_book_of_its_own(group: Path) -> None:
    in_child, parent_lives, both, folded, after = json.loads(run(FORK, group))
    assert in_child == [True, [100], True, True]
    assert parent_lives
    assert (both, folded, after) == ([101], 1, [101])


def test_threads_place_each_series_once(group: Path) -> None:
    with closing(Book.open(group)) as book:
        found: list[list[int]] = []

        def place() -> None:
            found.append([book.place(b"requests", COUNTER, b"%d" % number).number for number in range(500)])

        threads = [threading.Thread(target=place) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert all(numbers == found[0] for numbers in found)
        assert len(set(found[0])) == 500
        assert len(visible(Shelf(group).read(None))) == 500


def test_a_signal_handler_may_place_while_its_thread_does(group: Path) -> None:
    with closing(Book.open(group)) as book:
        handlers = itertools.count()  # a handler may be interrupted by the next one
        finished: list[int] = []

        def handle() -> None:
            number = next(handlers)
            for turn in range(3):
                add(book.place(b"handled", COUNTER, b"%d %d" % (number, turn)), 1)
                add(book.place(b"requests", COUNTER, b"%d" % (done + turn)), 1)
            finished.append(number)

        done = 0
        with interrupting(handle, 0.0003, nested=True):
            while done < 4000 or len(finished) < 200:
                add(book.place(b"requests", COUNTER, b"%d" % done), 1)
                done += 1
        shown = visible(Shelf(group).read(None))
        assert sorted(finished) == list(range(len(finished)))
        assert {key: seen.counts for key, seen in shown.items() if key[0] == b"handled"} == {
            (b"handled", b"%d %d" % (number, turn)): [1] for number in finished for turn in range(3)
        }
        assert sum(seen.counts[0] for seen in shown.values()) == done + 6 * len(finished)
        assert {seen.contributors for seen in shown.values()} == {1}


def test_a_finalizer_may_place_while_its_thread_does(group: Path) -> None:
    with closing(Book.open(group)) as book:
        calls = 0

        def collected(phase: str, _info: object) -> None:
            nonlocal calls
            if phase == "stop":
                add(book.place(b"collections", COUNTER, b"%d" % calls), 1)
                calls += 1

        thresholds = gc.get_threshold()
        gc.set_threshold(5)
        gc.callbacks.append(collected)
        try:
            for number in range(2000):
                add(book.place(b"requests", HISTOGRAM, b"%d" % number), 1)
        finally:
            gc.callbacks.remove(collected)
            gc.set_threshold(*thresholds)
        placed = calls
        shown = visible(Shelf(group).read(None))
        assert placed > 100
        assert sum(seen.counts[0] for (identity, _), seen in shown.items() if identity == b"collections") == placed
        assert sum(seen.counts[0] for (identity, _), seen in shown.items() if identity == b"requests") == 2000


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9)), max_size=20))
def test_interrupted_claims_never_overlap(claims: list[tuple[int, int]]) -> None:
    """Where the next segment begins may be stale after an interruption; what is claimed still is claimed once."""
    with tempfile.TemporaryFile() as file:
        values = ValuesFile(Descriptor(os.dup(file.fileno())))
        taken: list[int] = []
        for grains, stale in claims:
            values._next = min(stale, values._next)
            first = values._claim(grains)
            taken.extend(range(first, first + grains))
        values.close()
    assert len(set(taken)) == len(taken)


def test_a_lock_file_replaced_meanwhile_is_locked_anew(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = group / "some.lock"
    lock_now = locks.lock_now
    calls: list[int] = []

    def replace_then_lock(descriptor: int, *, shared: bool = False) -> bool:
        calls.append(descriptor)
        if len(calls) == 1:
            path.unlink()
        return lock_now(descriptor, shared=shared)

    monkeypatch.setattr(locks, "lock_now", replace_then_lock)
    with locks.held(Directory(group) / path.name, wait=5.0) as ours:
        assert ours
        assert path.exists()
        with locks.held(Directory(group) / path.name, shared=True) as another:
            assert not another
    assert len(calls) == 3


def test_opening_waits_for_whoever_clears_and_says_so_at_last(group: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from otelbridge.cells import book as module
    from otelbridge.cells.errors import UnusableError
    from otelbridge.cells.locks import held
    from otelbridge.cells.names import MEMBERS

    monkeypatch.setattr(module, "_MEMBERS_WAIT", 0.05)
    with held(Directory(group) / MEMBERS) as alone:
        assert alone
        with pytest.raises(UnusableError, match="cleared"):
            Book.open(group)
        begin = time.monotonic()
        monkeypatch.setattr(module, "_MEMBERS_WAIT", 30.0)
        books: list[Book] = []
        thread = threading.Thread(target=lambda: books.append(Book.open(group)))
        thread.start()
    thread.join()
    assert time.monotonic() - begin < 30
    books[0].close()
