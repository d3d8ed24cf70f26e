"""Files that are cut, flipped, replaced or gone: the reader never raises, never shows a wrong series, and says so."""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.cells.base import EMPTY, decode, encode, load
from otelbridge.cells.book import Book
from otelbridge.cells.folding import fold
from otelbridge.cells.locks import lock_now
from otelbridge.cells.names import BASE, KEYS, VALUES
from otelbridge.cells.private import Directory
from otelbridge.cells.records import bodies, read_number, read_stream, series_record, stream_record
from otelbridge.cells.shape import Rule, Shape
from otelbridge.cells.shelf import Shelf
from otelbridge.cells.volume import DamagedError
from otelbridge.diagnostics import forget_warnings
from tests.cells.books import COUNTER, GAUGE, HISTOGRAM, add, count, memory_directory, series, visible

if TYPE_CHECKING:
    from tests.cells.books import Shown

group = pytest.fixture(memory_directory)


@pytest.fixture(autouse=True)
def _fresh_warnings() -> None:
    forget_warnings()


def written(group: Path) -> tuple[Path, dict[tuple[bytes, bytes], Shown]]:
    """A dead process' key log with some of everything, and what it says."""
    with closing(Book.open(group)) as book:
        for number in range(3):
            add(book.place(b"requests", COUNTER, b"attributes %d" % number), number + 1, 0.5)
        add(book.place(b"duration", HISTOGRAM, b"x"), 7)
        cell = book.place(b"size", GAUGE, b"")
        book.retire(cell)
        book.revive(cell)
        book.retire(book.place(b"requests", COUNTER, b"attributes 1"))
    return group / f"{book.uid}{KEYS}", series(Shelf(group).read(None))


def framed(body: bytes) -> bytes:
    """A record that is whole, whatever it says."""
    head = struct.pack("<II", len(body), zlib.crc32(body))
    return head + struct.pack("<I", zlib.crc32(head)) + body


def is_part(found: dict[tuple[bytes, bytes], Shown], whole: dict[tuple[bytes, bytes], Shown]) -> bool:
    """Whether every series found is a true one with its true values; only whether it is retired may be unknown yet."""
    return all(key in whole and shown[1:] == whole[key][1:] for key, shown in found.items())


def test_a_key_log_cut_at_every_byte(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, whole = written(group)
    log = path.read_bytes()
    sizes = []
    for end in range(len(log)):
        path.write_bytes(log[:end])
        found = series(Shelf(group).read(None))
        assert is_part(found, whole)
        sizes.append(len(found))
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(whole) == 5
    assert caplog.records == []  # a cut log cannot be told from one that is being written


def test_a_growing_key_log_is_read_as_its_records_complete(group: Path) -> None:
    path, whole = written(group)
    log = path.read_bytes()
    path.write_bytes(b"")
    shelf = Shelf(group)
    sizes = []
    with path.open("ab", buffering=0) as file:
        assert lock_now(file.fileno())  # its process lives again
        for at in range(0, len(log), 7):
            file.write(log[at : at + 7])
            found = series(shelf.read(None))
            assert is_part(found, whole)
            sizes.append(len(found))
    assert sizes == sorted(sizes)
    assert series(shelf.read(None)) == whole


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_key_log_with_one_byte_flipped_at_every_position(
    group: Path, flip: int, caplog: pytest.LogCaptureFixture
) -> None:
    path, whole = written(group)
    log = path.read_bytes()
    for at in range(len(log)):
        path.write_bytes(log[:at] + bytes([log[at] ^ flip]) + log[at + 1 :])
        forget_warnings()
        caplog.clear()
        shelf = Shelf(group)
        for _ in range(2):
            assert is_part(series(shelf.read(None)), whole)
        assert [record for record in caplog.records if "damaged record" in record.getMessage()] == caplog.records[:1]
        assert len(caplog.records) == 1, at


def test_damage_in_one_book_leaves_the_others(group: Path) -> None:
    path, _ = written(group)
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b"attributes 0"), 100)
        path.write_bytes(b"\xff" * 50)
        shelf = Shelf(group)
        assert count(shelf.read(None), b"requests", b"attributes 0") == 100
        assert fold(group, shelf) == 1
        assert count(shelf.read(None), b"requests", b"attributes 0") == 100


def test_what_was_read_before_the_damage_stays(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b""), 1)
        shelf = Shelf(group)
        assert count(shelf.read(None), b"requests") == 1
        path = group / f"{book.uid}{KEYS}"
        with path.open("ab") as file:
            file.write(bytes(40))
        add(book.place(b"requests", COUNTER, b""), 1)
        book.place(b"requests", COUNTER, b"after the damage")
        for _ in range(3):
            totals = shelf.read(None)
            assert count(totals, b"requests") == 2
            assert len(visible(totals)) == 1
        assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "record",
    [
        series_record(9, 0, (8, -1, -1, -1, -1), b"of an unknown stream"),
        series_record(0, 7, (1 << 30, 0, -1, -1, -1), b"beyond the file"),
        framed(b"\x09of an unknown type"),
        framed(b"\x03"),
        framed(b"\x01cut"),
        framed(b"\x02cut"),
    ],
)
def test_records_that_make_no_sense_end_the_reading(
    group: Path, record: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path, whole = written(group)
    with path.open("ab") as file:
        file.write(record)
    assert series(Shelf(group).read(None)) == whole
    assert len(caplog.records) == 1
    assert fold(group, Shelf(group)) == 1
    assert count(Shelf(group).read(None), b"requests", b"attributes 2") == 3


@given(st.binary(max_size=200))
def test_any_bytes_are_no_reason_to_fail(log: bytes) -> None:
    found = bodies(log)
    assert 0 <= found.consumed <= len(log)
    assert sum(len(body) + 12 for body in found.bodies) == found.consumed
    for reader in (read_stream, read_number):
        try:
            reader(log)
        except ValueError:
            continue


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Rule)),
            st.integers(0, 9),
            st.integers(1, 9),
            st.integers(0, 5),
            st.binary(max_size=30),
            st.binary(max_size=30),
        ),
        max_size=6,
    )
)
def test_records_read_as_written(rows: list[tuple[Rule, int, int, int, bytes, bytes]]) -> None:
    log = b""
    for number, (rule, counts, totals, raw, identity, attributes) in enumerate(rows):
        shape = Shape(rule, counts, totals, raw=raw, raw_merge="merge" if raw else "")
        log += stream_record(number, shape, identity) + series_record(number, number, (1, 2, -1, -1, 3), attributes)
    found = bodies(log)
    assert (found.consumed, found.damaged) == (len(log), False)
    for number, (rule, counts, totals, raw, identity, attributes) in enumerate(rows):
        stream = read_stream(found.bodies[2 * number])
        assert (stream.number, stream.identity) == (number, identity)
        assert (stream.shape.rule, stream.shape.counts, stream.shape.totals, stream.shape.raw) == (
            rule,
            counts,
            totals,
            raw,
        )
        assert found.bodies[2 * number + 1].endswith(attributes)


def test_a_values_file_that_is_cut_is_left_out(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    with ExitStack() as stack:
        books = [stack.enter_context(closing(Book.open(group))) for _ in range(2)]
        for book in books:
            add(book.place(b"requests", COUNTER, b""), 1)
        path = group / f"{books[0].uid}{VALUES}"
        shelf = Shelf(group)
        assert count(shelf.read(None), b"requests") == 2
        for size in (32768 - 8, 16384, 63, 0):
            os.truncate(path, size)
            for _ in range(2):
                assert count(shelf.read(None), b"requests") in {1, 2}
                assert count(Shelf(group).read(None), b"requests") in {1, 2}
        assert count(shelf.read(None), b"requests") == 1
        assert caplog.records != []
        os.truncate(path, 65536)  # so that this process' own mapping has its pages again
        assert count(shelf.read(None), b"requests") == 1


def test_a_values_file_with_a_hole_of_a_terabyte(group: Path) -> None:
    path, whole = written(group)
    os.truncate(path.with_suffix(VALUES), 1 << 40)
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b"living"), 1)
        os.truncate(group / f"{book.uid}{VALUES}", 1 << 40)
        shelf = Shelf(group)
        assert series(shelf.read(book)) == whole
        assert count(shelf.read(None), b"requests", b"living") == 1
        assert fold(group, shelf) == 1
        assert count(shelf.read(None), b"requests", b"attributes 2") == 3


def test_a_book_without_its_values_file(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, _ = written(group)
    path.with_suffix(VALUES).unlink()
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b""), 1)
        for _ in range(2):
            assert set(visible(Shelf(group).read(None))) == {(b"requests", b"")}
        assert any("no values file" in record.getMessage() for record in caplog.records)
        assert fold(group, Shelf(group)) == 0


def test_a_values_file_of_another_kind(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, _ = written(group)
    path.with_suffix(VALUES).write_bytes(bytes(65536))
    assert series(Shelf(group).read(None)) == {}
    assert any("not a values file" in record.getMessage() for record in caplog.records)


def test_symbolic_links_are_not_followed(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, _ = written(group)
    away = group / "away"
    path.rename(away)
    path.symlink_to(away)
    assert series(Shelf(group).read(None)) == {}
    assert any("cannot be read" in record.getMessage() for record in caplog.records)
    path.unlink()
    away.rename(path)
    base = group / BASE
    base.symlink_to(path)
    forget_warnings()
    caplog.clear()
    assert len(series(Shelf(group).read(None))) == 5
    assert fold(group, Shelf(group)) == 0
    assert base.is_symlink()
    assert any("cannot be read" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("ending", [KEYS, VALUES])
def test_files_of_somebody_else_are_not_read(group: Path, ending: str, caplog: pytest.LogCaptureFixture) -> None:
    path, whole = written(group)
    disown(path.with_suffix(ending))
    shelf = Shelf(group)
    for _ in range(2):
        assert len(series(shelf.read(None))) == (0 if os.geteuid() == 0 else len(whole))
    assert ["belongs to user" in record.getMessage() for record in caplog.records] == [True] * (os.geteuid() == 0)
    if os.geteuid() == 0:
        assert fold(group, shelf) == 0
        assert path.exists()


def disown(path: Path) -> None:
    """Give a file away. Only root can; others make sure that a file of root's is refused."""
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
        return
    with pytest.raises(PermissionError, match="belongs to user 0"):
        (Directory(Path("/etc")) / "passwd").open()


def test_a_live_book_whose_files_were_removed_is_still_read(group: Path) -> None:
    with closing(Book.open(group)) as book:
        cell = book.place(b"requests", COUNTER, b"")
        add(cell, 1)
        shelf = Shelf(group)
        assert count(shelf.read(None), b"requests") == 1
        for path in group.iterdir():
            path.unlink()
        add(cell, 1)
        assert count(shelf.read(None), b"requests") == 2
    assert count(shelf.read(None), b"requests") == 0


def test_a_directory_removed_meanwhile(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = group / "inner"
    directory.mkdir()
    with closing(Book.open(directory)) as book:
        cell = book.place(b"requests", COUNTER, b"")
        add(cell, 1)
        shelf = Shelf(directory)
        shelf.read(None)
        shutil.rmtree(directory)
        add(cell, 1)
        add(book.place(b"requests", COUNTER, b"new"), 1)
        assert count(shelf.read(None), b"requests") == 2
        assert shelf.live() == [book.uid]
        assert not shelf.empty(None)
        assert fold(directory, shelf) == 0
        with pytest.raises(FileNotFoundError):
            Book.open(directory)
    assert sum("was removed" in record.getMessage() for record in caplog.records) == 1


# The base.


def folded(group: Path, requests: int) -> None:
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b""), requests)
    assert fold(group, Shelf(group)) == 1


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_a_base_with_any_byte_flipped_is_seen_to_be_damaged(group: Path, flip: int) -> None:
    folded(group, 5)
    content = (group / BASE).read_bytes()
    for at in range(len(content)):
        with pytest.raises(DamagedError):
            decode(content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :])
    for end in range(len(content)):
        with pytest.raises(DamagedError):
            decode(content[:end])
    assert decode(content).bodies != []


@given(st.sets(st.text("0123456789abcdef-", min_size=1)), st.binary(max_size=100), st.integers(0, 5))
def test_a_base_reads_as_written(names: set[str], identity: bytes, slots: int) -> None:
    log = stream_record(0, COUNTER, identity) + series_record(0, 0, (0, -1, -1, -1, -1), identity)
    content = decode(encode(names, log, bytes(range(8)) * slots))
    assert content.folded == names
    assert len(content.bodies) == 2
    assert bytes(content.slots) == bytes(range(8)) * slots


def test_a_base_of_another_version_is_left_alone(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = encode((), framed(b"\x09of an unknown type"), b"")
    (group / BASE).write_bytes(content)
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b""), 1)
    shelf = Shelf(group)
    assert count(shelf.read(None), b"requests") == 1
    assert fold(group, shelf) == 0
    assert (group / BASE).read_bytes() == content
    assert any("cannot be folded now" in record.getMessage() for record in caplog.records)


def damage(path: Path) -> None:
    """Flip the last byte of a base without anybody being able to notice by its name."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_damaged_base_is_reported_and_the_living_go_on(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    folded(group, 5)
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b""), 1)
        damage(group / BASE)
        shelf = Shelf(group)
        for _ in range(3):
            assert count(shelf.read(None), b"requests") == 1
        assert fold(group, shelf) == 0
        assert shelf.damaged
    assert sum("damaged" in record.getMessage() for record in caplog.records) == 1
    assert fold(group, shelf) == 1
    assert count(Shelf(group).read(None), b"requests") == 1


def test_who_knows_an_earlier_base_repairs_a_damaged_one(group: Path) -> None:
    folded(group, 5)
    shelf = Shelf(group)
    assert count(shelf.read(None), b"requests") == 5
    damage(group / BASE)
    assert count(shelf.read(None), b"requests") == 5
    assert fold(group, shelf) == 0
    assert count(Shelf(group).read(None), b"requests") == 5


def test_who_knows_an_earlier_base_misses_a_removed_one_not(group: Path) -> None:
    folded(group, 5)
    shelf = Shelf(group)
    shelf.read(None)
    (group / BASE).unlink()
    assert count(shelf.read(None), b"requests") == 5
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b""), 2)
    assert fold(group, shelf) == 1
    assert count(Shelf(group).read(None), b"requests") == 7


def test_a_base_that_cannot_be_read_is_not_replaced(group: Path, caplog: pytest.LogCaptureFixture) -> None:
    folded(group, 5)
    content = (group / BASE).read_bytes()
    (group / BASE).rename(group / "kept")
    (group / BASE).mkdir()
    with closing(Book.open(group)) as book:
        add(book.place(b"requests", COUNTER, b""), 1)
    assert count(Shelf(group).read(None), b"requests") == 1
    assert fold(group, Shelf(group)) == 0
    (group / BASE).rmdir()
    (group / "kept").rename(group / BASE)
    assert (group / BASE).read_bytes() == content
    assert count(Shelf(group).read(None), b"requests") == 6
    assert any("cannot be read" in record.getMessage() for record in caplog.records)


def test_a_missing_base_is_empty(group: Path) -> None:
    base = load(Directory(group) / BASE)
    assert (base.content, len(base.integers), base.is_current()) == (EMPTY, 0, True)
    folded(group, 1)
    assert not base.is_current()
    assert load(Directory(group) / BASE).is_current()
