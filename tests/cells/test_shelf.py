"""All books of a group seen as one."""

from __future__ import annotations

import gc
import itertools
import math
import os
import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelbridge.cells.arithmetic import RAW_MERGERS
from otelbridge.cells.book import Book
from otelbridge.cells.folding import fold
from otelbridge.cells.shape import Rule, Shape
from otelbridge.cells.shelf import Shelf
from otelbridge.diagnostics import forget_warnings
from tests.cells.books import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    UPDOWN,
    Worker,
    add,
    count,
    mark,
    memory_directory,
    run,
    series,
    visible,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

group = pytest.fixture(memory_directory)


@pytest.fixture
def books(group: Path) -> Iterator[list[Book]]:
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Book.open(group))) for _ in range(3)]


@pytest.fixture(autouse=True)
def _fresh_warnings() -> None:
    forget_warnings()


def test_sums_are_added_and_the_own_book_left_out(group: Path, books: list[Book]) -> None:
    for number, book in enumerate(books):
        add(book.place(b"requests", COUNTER, b"a"), 10**number, 0.5)
    shelf = Shelf(group)
    everything = series(shelf.read(None))[b"requests", b"a"]
    assert (everything.contributors, everything.counts, everything.totals) == (3, [111], [1.5])
    others = series(shelf.read(books[1]))[b"requests", b"a"]
    assert (others.contributors, others.counts, others.totals) == (2, [101], [1.0])
    assert (shelf.read(None).live, shelf.read(books[0]).live) == (3, 2)


def test_histograms_take_sums_and_extremes(group: Path, books: list[Book]) -> None:
    for number, book in enumerate(books):
        cell = book.place(b"duration", HISTOGRAM, b"")
        for bucket in range(16):
            cell.counts[cell.counts_at + bucket] = bucket * (number + 1)
        cell.totals[cell.totals_at] = 0.1
        cell.lows[cell.lows_at] = 5.0 - number
        cell.lows[cell.lows_at + 1] = -7.0 - number
    shown = series(Shelf(group).read(None))[b"duration", b""]
    assert shown.counts == [6 * bucket for bucket in range(16)]
    assert shown.totals == [math.fsum([0.1, 0.1, 0.1])]
    assert shown.lows == [3.0, -9.0, math.inf, math.inf]


def test_nothing_stored_is_told_from_a_sum_of_zero(group: Path, books: list[Book]) -> None:
    nothing = [book.place(b"nothing", COUNTER, b"") for book in books]
    zero = [book.place(b"zero", COUNTER, b"") for book in books]
    gone = [book.place(b"cancelled", COUNTER, b"") for book in books]
    zero[1].totals[zero[1].totals_at] = 0.0
    for cell, part in zip(gone, (0.3, -0.1, -0.2), strict=True):
        cell.totals[cell.totals_at] = part
    shown = series(Shelf(group).read(None))
    assert len(nothing) == 3
    assert str(shown[b"nothing", b""].totals[0]) == "-0.0"
    assert str(shown[b"zero", b""].totals[0]) == "0.0"
    assert shown[b"cancelled", b""].totals == [math.fsum((0.3, -0.1, -0.2))]


@pytest.mark.parametrize("parts", [[2.5, -2.5, -0.0], [1.0, 1e100, -1e100], [1e100, 1.0, -1e100]])
def test_parts_that_cancel_leave_what_is_left(group: Path, books: list[Book], parts: list[float]) -> None:
    for book, part in zip(books, parts, strict=True):
        cell = book.place(b"cancelled", COUNTER, b"")
        cell.totals[cell.totals_at] = part
    assert str(series(Shelf(group).read(None))[b"cancelled", b""].totals[0]) == str(math.fsum(parts))


def test_int_sums_are_exact_beyond_64_bits(group: Path, books: list[Book]) -> None:
    for book in books:
        cell = book.place(b"bytes", COUNTER, b"")
        cell.counts[cell.counts_at] = (1 << 63) - 1
    assert count(Shelf(group).read(None), b"bytes") == 3 * ((1 << 63) - 1)


@pytest.mark.parametrize("parts", [[math.inf, -math.inf, 1.0], [math.nan, 1.0, 2.0], [1.7e308, 1.7e308, 1.7e308]])
def test_sums_without_a_number_are_what_adding_gives(group: Path, books: list[Book], parts: list[float]) -> None:
    for book, part in zip(books, parts, strict=True):
        cell = book.place(b"odd", COUNTER, b"")
        cell.totals[cell.totals_at] = part
        other = book.place(b"plain", COUNTER, b"")
        other.totals[other.totals_at] = 0.1
    totals = Shelf(group).read(None)
    shown = series(totals)
    assert shown[b"odd", b""].totals[0] == pytest.approx(sum(parts), nan_ok=True)
    assert shown[b"plain", b""].totals == [math.fsum([0.1] * 3)]
    assert totals.rests[totals.places[b"odd"][b""].totals] == 0.0


def test_the_rest_of_a_sum_makes_it_exact(group: Path, books: list[Book]) -> None:
    parts = [1e16, 1.25, -0.0625]
    for book, part in zip(books, parts, strict=True):
        cell = book.place(b"sum", COUNTER, b"")
        cell.totals[cell.totals_at] = part
    totals = Shelf(group).read(None)
    place = totals.places[b"sum"][b""].totals
    assert totals.totals[place] == math.fsum(parts)
    assert math.fsum([totals.totals[place], totals.rests[place], *(-part for part in parts)]) == 0.0


def test_whoever_adds_its_own_value_gets_the_same_sum(group: Path) -> None:
    from otelbridge.cells.arithmetic import add_floats

    chance = random.Random(4)
    with ExitStack() as stack:
        books = [stack.enter_context(closing(Book.open(group))) for _ in range(5)]
        cells = [[book.place(b"sum", COUNTER, b"%d" % number) for number in range(200)] for book in books]
        for cell in itertools.chain(*cells):
            cell.totals[cell.totals_at] = chance.uniform(0, 10 ** chance.randrange(12))
        sums: set[tuple[float, ...]] = set()
        for book, own in zip(books, cells, strict=True):
            totals = Shelf(group).read(book)
            places = [totals.places[b"sum"][b"%d" % number].totals for number in range(200)]
            sums.add(
                tuple(
                    add_floats((cell.totals[cell.totals_at], totals.totals[at], totals.rests[at]))[0]
                    for cell, at in zip(own, places, strict=True)
                )
            )
        assert len(sums) == 1


def test_the_last_written_gauge_wins(group: Path, books: list[Book]) -> None:
    cells = [book.place(b"size", GAUGE, b"") for book in books]
    shelf = Shelf(group)
    assert series(shelf.read(None))[b"size", b""].marks == [0.0, 0.0]
    mark(cells[0], 5.0, 100.0)
    mark(cells[1], 3.0, -200.0)  # an int
    mark(cells[2], 9.0, 150.0)
    assert series(shelf.read(None))[b"size", b""].marks == [3.0, -200.0]
    assert series(shelf.read(books[1]))[b"size", b""].marks == [9.0, 150.0]
    books[1].close()
    assert series(shelf.read(None))[b"size", b""].marks == [9.0, 150.0]


@pytest.mark.parametrize(
    ("rule", "expected"), [(Rule.MAX, [7.0, -2.0]), (Rule.MIN, [-4.0, 3.0]), (Rule.SUM, [3.0, 3.0])]
)
def test_marks_follow_their_rule(group: Path, books: list[Book], rule: Rule, expected: list[float]) -> None:
    shape = Shape(rule, marks=2)
    books[0].place(b"size", shape, b"")  # never written
    mark(books[1].place(b"size", shape, b""), 7.0, -2.0)
    mark(books[2].place(b"size", shape, b""), -4.0, 3.0)
    assert series(Shelf(group).read(None))[b"size", b""].marks == expected


@pytest.mark.parametrize("order", list(itertools.permutations([math.nan, 1.0, 2.0])))
def test_what_is_no_number_is_no_extreme(group: Path, books: list[Book], order: tuple[float, ...]) -> None:
    for book, value in zip(books, order, strict=True):
        mark(book.place(b"max", Shape(Rule.MAX, marks=2), b""), value, 1.0)
        mark(book.place(b"min", Shape(Rule.MIN, marks=2), b""), value, 1.0)
    shown = series(Shelf(group).read(None))
    assert shown[b"max", b""].marks[0] == 2.0
    assert shown[b"min", b""].marks[0] == 1.0


def test_an_int_sum_of_marks_stays_an_int(group: Path, books: list[Book]) -> None:
    shape = Shape(Rule.LIVE_SUM, marks=2)
    for number, book in enumerate(books):
        mark(book.place(b"size", shape, b""), number + 1, -(number + 1.0))
    shelf = Shelf(group)
    assert series(shelf.read(None))[b"size", b""].marks == [6.0, -3.0]
    books[2].close()
    assert series(shelf.read(None))[b"size", b""].marks == [3.0, -2.0]


def test_the_dead_leave_sums_only(group: Path, books: list[Book]) -> None:
    for book in books:
        add(book.place(b"requests", COUNTER, b""), 1)
        add(book.place(b"active", UPDOWN, b""), 1)
    add(books[0].place(b"active", UPDOWN, b"only here"), 1)
    shelf = Shelf(group)
    books[0].close()
    shown = series(shelf.read(None))
    assert (shown[b"requests", b""].contributors, shown[b"requests", b""].counts) == (3, [3])
    assert (shown[b"active", b""].contributors, shown[b"active", b""].counts) == (2, [2])
    assert (shown[b"active", b"only here"].contributors, shown[b"active", b"only here"].counts) == (0, [0])
    assert shelf.read(None).live == 2


def test_retired_series_are_hidden_and_still_counted(group: Path, books: list[Book]) -> None:
    cells = [book.place(b"requests", COUNTER, b"") for book in books]
    gauges = [book.place(b"size", GAUGE, b"") for book in books]
    for number, (cell, gauge) in enumerate(zip(cells, gauges, strict=True)):
        add(cell, 1)
        mark(gauge, number, 1.0 + number)
    shelf = Shelf(group)
    for book, cell, gauge in zip(books[1:], cells[1:], gauges[1:], strict=True):
        book.retire(cell)
        book.retire(gauge)
    shown = series(shelf.read(None))
    assert (shown[b"requests", b""].contributors, shown[b"requests", b""].counts) == (1, [3])
    assert (shown[b"size", b""].contributors, shown[b"size", b""].marks) == (1, [0.0, 1.0])
    books[0].retire(cells[0])
    hidden = series(shelf.read(None))[b"requests", b""]
    assert (hidden.contributors, hidden.counts) == (0, [3])
    books[2].revive(cells[2])
    books[2].revive(gauges[2])
    shown = series(shelf.read(None))
    assert (shown[b"requests", b""].contributors, shown[b"requests", b""].counts) == (1, [3])
    assert (shown[b"size", b""].contributors, shown[b"size", b""].marks) == (2, [2.0, 3.0])


@pytest.mark.parametrize("shuffled", [False, True])
def test_layouts_make_no_difference(group: Path, shuffled: bool) -> None:
    chance = random.Random(1)
    shapes = {b"requests": COUNTER, b"size": GAUGE, b"duration": HISTOGRAM, b"active": UPDOWN}
    names = [(identity, b"%d" % number) for identity in shapes for number in range(40)]
    expected: dict[tuple[bytes, bytes], int] = {}
    with ExitStack() as stack:
        for turn in range(6):
            book = stack.enter_context(closing(Book.open(group)))
            if shuffled:
                chance.shuffle(names)
            for identity, attributes in names[: 160 if not shuffled else 100]:
                cell = book.place(identity, shapes[identity], attributes)
                if identity == b"size":
                    mark(cell, turn, 1.0 + turn)
                    expected[identity, attributes] = turn
                else:
                    add(cell, turn + 1, 0.25)
                    expected[identity, attributes] = expected.get((identity, attributes), 0) + turn + 1
        shelf = Shelf(group)
        for _ in range(2):
            shown = series(shelf.read(None))
            assert {
                key: seen.marks[0] if key[0] == b"size" else seen.counts[0] for key, seen in shown.items()
            } == expected


def test_what_was_read_stays_as_it_was(group: Path, books: list[Book]) -> None:
    shelf = Shelf(group)
    add(books[0].place(b"requests", COUNTER, b"a"), 1)
    first = shelf.read(None)
    shown = series(first)
    assert shelf.read(None).places is first.places
    add(books[1].place(b"requests", COUNTER, b"b"), 2)
    books[0].place(b"size", GAUGE, b"")
    retired = books[2].place(b"requests", COUNTER, b"a")
    books[2].retire(retired)
    second = shelf.read(None)
    assert set(series(second)) == {(b"requests", b"a"), (b"requests", b"b"), (b"size", b"")}
    books[1].close()
    shelf.read(None)
    assert series(first) == shown
    assert second.contributors == [1, 1, 1]


def test_several_threads_read_while_series_come_and_go(group: Path, books: list[Book]) -> None:
    shelf = Shelf(group)
    done = threading.Event()
    sums: list[list[int]] = [[] for _ in range(3)]

    def look(seen: list[int]) -> None:
        while not done.is_set():
            shown = series(shelf.read(None)).values()
            assert all(len(found.counts) == 1 for found in shown)
            seen.append(sum(found.counts[0] for found in shown))

    with ThreadPoolExecutor(len(sums)) as pool:
        readers = [pool.submit(look, seen) for seen in sums]
        for number in range(1500):
            book = books[number % 3]
            add(book.place(b"requests", COUNTER, b"%d" % number), 1)
            if number % 100 == 99:
                book.close()
                books[number % 3] = Book.open(group)
                fold(group, shelf)
        done.set()
        for reader in readers:
            reader.result()
    for book in books:
        book.close()
    assert all(seen == sorted(seen) for seen in sums)
    assert sum(found.counts[0] for found in series(shelf.read(None)).values()) == 1500


INTERRUPTED = """
import random, signal, sys
from pathlib import Path
from otelbridge.cells.book import Book
from otelbridge.cells.shape import Rule, Shape
from otelbridge.cells.shelf import Shelf

class TimeLimitError(Exception): ...
raised = {"timeout": TimeoutError, "limit": TimeLimitError}[sys.argv[2]]

def interrupt(signum, frame):
    raise raised

directory, chance, interrupted = Path(sys.argv[1]), random.Random(5), 0
counter = Shape(Rule.SUM, counts=1)
books = [Book.open(directory) for _ in range(3)]
shelf = Shelf(directory)
signal.signal(signal.SIGALRM, interrupt)
for turn in range(400):
    for number in range(20):
        cell = books[turn % 3].place(b"requests", counter, b"%d %d" % (turn, number))
        cell.counts[cell.counts_at] = 1
    if turn % 50 == 49:
        books[0].close()
        books[0] = Book.open(directory)
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 1e-3))
        shelf.read(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except raised:
        interrupted += 1
signal.setitimer(signal.ITIMER_REAL, 0)
print(interrupted, *(sum(reader.read(None).counts) for reader in (shelf, Shelf(directory))))
"""


@pytest.mark.parametrize("raised", ["timeout", "limit"])
def test_an_interrupted_read_loses_nothing_for_the_next(group: Path, raised: str) -> None:
    interrupted, *sums = map(int, run(INTERRUPTED, group, raised).split())
    assert interrupted > 10
    assert sums == [8000, 8000]


def test_a_read_within_a_read_gets_an_answer(group: Path, books: list[Book], monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[object] = []

    def interrupted(rows: list[list[int]]) -> list[int]:  # where a signal handler may run
        if not answers:
            answers.append(None)
            answers.extend((count(shelf.read(None), b"requests"), len(shelf.live()), shelf.waiting({books[0].uid: 9})))
        return rows[0]

    monkeypatch.setitem(RAW_MERGERS, "interrupted", interrupted)
    shelf = Shelf(group)
    add(books[0].place(b"requests", COUNTER, b""), 1)
    books[1].place(b"raw", Shape(Rule.SUM, raw=1, raw_merge="interrupted"), b"")
    assert count(shelf.read(None), b"requests") == 1
    assert answers == [None, 1, 3, {}]
    add(books[1].place(b"requests", COUNTER, b""), 2)
    assert count(shelf.read(None), b"requests") == 3


def test_whose_own_book_is_left_out_may_change(group: Path, books: list[Book]) -> None:
    shelf = Shelf(group)
    for number, book in enumerate(books):
        add(book.place(b"requests", COUNTER, b"%d" % number), 1)
    for own in (None, books[0], None, books[1], books[0], None):
        found = {attributes for (_, attributes), shown in series(shelf.read(own)).items() if shown.counts == [1]}
        assert found == {b"%d" % number for number, book in enumerate(books) if book is not own}


def test_a_directory_that_was_removed_and_made_anew(group: Path) -> None:
    directory = group / "inner"
    directory.mkdir()
    for number in (1, 20):
        with closing(Book.open(directory)) as book:
            add(book.place(b"requests", COUNTER, b""), number)
    shelf = Shelf(directory)
    assert fold(directory, shelf) == 2
    with closing(Book.open(directory)) as own:
        assert count(shelf.read(own), b"requests") == 21
        shutil.rmtree(directory)
        assert count(shelf.read(own), b"requests") == 21
        directory.mkdir()
        shelf.reopen(directory)
        with closing(Book.open(directory)) as again:
            assert not shelf.empty(again)
            assert count(shelf.read(again), b"requests") == 21
            assert fold(directory, shelf) == 0
            add(again.place(b"requests", COUNTER, b""), 300)
            assert count(Shelf(directory).read(None), b"requests") == 321
            assert count(shelf.read(again), b"requests") == 21
            content = (directory / "base").read_bytes()
            assert fold(directory, shelf) == 0
            assert (directory / "base").read_bytes() == content


def test_a_stream_of_another_shape_is_left_out_and_told_once(
    group: Path, books: list[Book], caplog: pytest.LogCaptureFixture
) -> None:
    add(books[0].place(b"requests", COUNTER, b""), 1)
    books[1].place(b"requests", GAUGE, b"")
    add(books[1].place(b"other", COUNTER, b""), 1)
    add(books[2].place(b"requests", COUNTER, b""), 1)
    shelf = Shelf(group)
    for _ in range(3):
        totals = shelf.read(None)
        assert count(totals, b"requests") == 2
        assert count(totals, b"other") == 1
    assert sum("unlike the others" in record.getMessage() for record in caplog.records) == 1


def test_raw_rows_are_merged_by_their_function(
    group: Path, books: list[Book], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RAW_MERGERS, "test", lambda rows: [0, *map(max, *(row[1:] for row in rows), [0, 0])])
    monkeypatch.setitem(RAW_MERGERS, "short", lambda rows: rows[0][1:])
    monkeypatch.setitem(RAW_MERGERS, "broken", lambda rows: [1 // 0])
    for number, book in enumerate(books):
        for name in ("test", "short", "broken", "unknown"):
            cell = book.place(name.encode(), Shape(Rule.SUM, raw=3, raw_merge=name), b"")
            cell.raw[cell.raw_at + 1] = number
            cell.raw[cell.raw_at + 2] = 5
    shelf = Shelf(group)
    for _ in range(2):
        shown = series(shelf.read(None))
    assert shown[b"test", b""].raw == [0, 2, 5]
    assert [shown[name, b""].raw for name in (b"short", b"broken", b"unknown")] == [[0, 0, 0]] * 3
    told = sorted(record.getMessage() for record in caplog.records)
    assert len(told) == 3
    assert all(word in line for word, line in zip(["'broken'", "'short'", "'unknown'"], told, strict=True)), told


def test_an_empty_group_is_told_cheaply(group: Path) -> None:
    shelf = Shelf(group)
    assert shelf.empty(None)
    with closing(Book.open(group)) as own:
        assert shelf.empty(own)
        assert not shelf.empty(None)
        settled = time.time_ns() - 10**9
        os.utime(group, ns=(settled, settled))
        assert shelf.empty(own)
        assert shelf.empty(own)
        with closing(Book.open(group)):
            assert not shelf.empty(own)
        assert not shelf.empty(own)  # what it left counts, too
    assert not Shelf(group).empty(None)


def test_a_base_is_not_nothing(group: Path) -> None:
    (group / "base").touch()
    with closing(Book.open(group)) as own:
        assert not Shelf(group).empty(own)


def test_reading_an_empty_or_missing_group_gives_nothing(group: Path) -> None:
    for directory in (group, group / "gone"):
        totals = Shelf(directory).read(None)
        assert (totals.counts, totals.totals, totals.places, totals.live) == ([], [], {}, 0)
    assert Shelf(group / "gone").empty(None)


def test_unused_places_are_forgotten(group: Path) -> None:
    shelf = Shelf(group)
    with closing(Book.open(group)) as stays:
        add(stays.place(b"requests", COUNTER, b""), 1)
        with closing(Book.open(group)) as goes:
            for number in range(1500):
                goes.place(b"active", UPDOWN, b"%d" % number)
            assert len(shelf.read(None).places[b"active"]) == 1500
        totals = shelf.read(None)
        assert not any(totals.contributors[place.number] for place in totals.places[b"active"].values())
        assert shelf.read(None).places is totals.places
        for path in group.glob(f"{goes.uid}.*"):
            path.unlink()
        totals = shelf.read(None)
        assert b"active" not in totals.places
        assert count(totals, b"requests") == 1


def test_a_shelf_that_is_let_go_closes_its_files(group: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    with ExitStack() as stack:
        for number in range(20):
            book = stack.enter_context(closing(Book.open(group)))
            add(book.place(b"requests", COUNTER, b""), number)
        dead = Book.open(group)
        dead.close()
        before = open_files()
        gc.disable()
        try:
            shelf = Shelf(group)
            shelf.read(None)
            assert open_files() > before + 20
            assert fold(group, shelf) == 1
            shelf.read(None)
            assert shelf.live() != []
            del shelf
            assert open_files() == before
        finally:
            gc.enable()


WORKER = """
import os, sys, time
from pathlib import Path
from otelbridge.cells.book import Book
from otelbridge.cells.shape import Rule, Shape
book = Book.open(Path(sys.argv[1]))
cell = book.place(b"requests", Shape(Rule.SUM, counts=1, totals=1), b"")
cell.counts[cell.counts_at] = int(sys.argv[2])
print(book.uid, flush=True)
time.sleep(60)
"""


def test_real_processes_stopped_and_killed(group: Path) -> None:
    import signal

    workers = [Worker(WORKER, group, number) for number in (1, 20, 300)]
    shelf = Shelf(group)
    assert shelf.live() == sorted(worker.said for worker in workers)
    os.kill(workers[1].pid, signal.SIGSTOP)
    assert count(shelf.read(None), b"requests") == 321
    assert workers[0].kill() == -signal.SIGKILL
    totals = shelf.read(None)
    assert (count(totals, b"requests"), totals.live) == (321, 2)
    workers[1].kill()
    workers[2].kill()
    totals = shelf.read(None)
    assert (count(totals, b"requests"), totals.live) == (321, 0)
    assert shelf.live() == []
    assert len(visible(totals)) == 1
