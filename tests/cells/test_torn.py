"""What one process stores while another reads: only values that were stored, only rows of one version."""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

import pytest

from otelbridge.cells.arithmetic import RAW_MERGERS
from otelbridge.cells.shape import COUNTS, RAW, TOTALS
from otelbridge.cells.shelf import Shelf
from otelbridge.cells.volume import Volume
from tests.cells.books import Worker, memory_directory, series

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.endtoend

group = pytest.fixture(memory_directory)

WRITER = """
import struct, sys
from pathlib import Path
from otelbridge.cells.book import Book
from otelbridge.cells.shape import Rule, Shape
book = Book.open(Path(sys.argv[1]))
cell = book.place(b"torn", Shape(Rule.SUM, counts=3, totals=3), b"")
row = book.place(b"row", Shape(Rule.SUM, raw=81, raw_merge="torn"), b"")
ints = [int.from_bytes(bytes([byte]) * 8, "little", signed=True) for byte in (0x11, 0x66)]
floats = [struct.unpack("<d", bytes([byte]) * 8)[0] for byte in (0x11, 0x66)]
counts, counts_at, totals, totals_at = cell.counts, cell.counts_at, cell.totals, cell.totals_at
raw, at = row.raw, row.raw_at
counts[counts_at + 1], totals[totals_at + 1] = ints[0], floats[0]
version = 0
print(book.uid, flush=True)
while True:
    for _ in range(40):
        counts[counts_at + 1] = ints[0]
        totals[totals_at + 1] = floats[0]
        counts[counts_at + 1] = ints[1]
        totals[totals_at + 1] = floats[1]
    version += 1
    first = at + 1 + 40 * (version & 1)
    for slot in range(first, first + 40):
        raw[slot] = version
    raw[at] = version
"""

INTS = {int.from_bytes(bytes([byte]) * 8, "little", signed=True) for byte in (0x11, 0x66)}
FLOATS = {struct.unpack("<d", bytes([byte]) * 8)[0] for byte in (0x11, 0x66)}


@pytest.fixture
def writer(group: Path) -> Iterator[Worker]:
    worker = Worker(WRITER, group)
    yield worker
    worker.kill()


def test_no_value_is_ever_seen_in_halves(group: Path, writer: Worker) -> None:
    volume = Volume.open(group, writer.said)
    volume.update()
    seen_ints, seen_floats = set(), set()
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        for _ in range(500):
            seen_ints.add(volume.values(COUNTS)[1])
            seen_floats.add(volume.values(TOTALS)[1])
    assert seen_ints == INTS
    assert seen_floats == FLOATS


def test_a_raw_row_is_of_one_version(group: Path, writer: Worker) -> None:
    volume = Volume.open(group, writer.said)
    volume.update()
    versions = set()
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        (row,) = volume.values(RAW)
        area = 1 + 40 * (row[0] & 1)
        assert set(row[area : area + 40]) == {row[0]}
        versions.add(row[0])
    assert len(versions) > 10


def test_a_shelf_shows_such_rows(group: Path, writer: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RAW_MERGERS, "torn", lambda rows: rows[0])
    shelf = Shelf(group)
    for _ in range(300):
        row = series(shelf.read(None))[b"row", b""].raw
        area = 1 + 40 * (row[0] & 1)
        assert set(row[area : area + 40]) == {row[0]}
