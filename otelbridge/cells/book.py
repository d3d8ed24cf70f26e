"""The book of one process: its series and their values, where the other processes can read them."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from otelbridge.cells.errors import UnusableError
from otelbridge.cells.locks import held, lock_now, unlock
from otelbridge.cells.names import DESERTED, KEYS, MEMBERS, NEW, VALUES, lineage
from otelbridge.cells.private import create, opened
from otelbridge.cells.records import ABSENT, retired_record, revived_record, series_record, stream_record
from otelbridge.cells.segments import Lane, Segment, ValuesFile
from otelbridge.cells.shape import COUNTS, LOWS, MARKS, RAW, TOTALS
from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from otelbridge.cells.private import Descriptor, Directory
    from otelbridge.cells.shape import Shape

MAGIC: Final = 0x31303065_67646972
"""First slot of a values file: its format."""

MAGIC_AT, REFRESHED_AT, OBSERVING_AT, HEADER_SLOTS = 0, 1, 2, 8
"""The header: int64 slots at the begin of the values file."""

_MEMBERS_WAIT = 2.0


@dataclass(slots=True, init=False, eq=False, repr=False)
class Cell:
    """The slots of one series: for each kind a segment and the place of the first slot in it.

    A value is stored by one statement, ``cell.counts[cell.counts_at] = value``. The views of kinds the series has no
    slots of are empty.
    """

    counts: memoryview[int]
    counts_at: int
    totals: memoryview[float]
    totals_at: int
    lows: memoryview[float]
    lows_at: int
    marks: memoryview[float]
    marks_at: int
    raw: memoryview[int]
    raw_at: int
    number: int
    """Ordinal of the series in its book."""

    def __init__(self, number: int, lane: Lane, shape: Shape) -> None:
        self.number = number
        slots: list[tuple[memoryview[Any], int]] = [
            (segment.slots, segment.used) if width and segment is not None else (_NOTHING, 0)
            for segment, width in zip(lane.segments, shape.widths, strict=True)
        ]
        self.counts, self.counts_at = slots[COUNTS]
        self.totals, self.totals_at = slots[TOTALS]
        self.lows, self.lows_at = slots[LOWS]
        self.marks, self.marks_at = slots[MARKS]
        self.raw, self.raw_at = slots[RAW]


_NOTHING = memoryview(b"")


@dataclass(eq=False)
class _Stream:
    number: int
    shape: Shape
    cells: dict[bytes, Cell] = field(default_factory=dict[bytes, Cell])


class Book:
    """The file pair of this process. Use `open` to make one.

    The book belongs to the process that opened it. A forked child must `abandon` it and open its own.

    Attributes:
        uid: The book's name in its directory, unique for ever; books sort by age.
    """

    def __init__(self, uid: str, keys: Descriptor, values: Descriptor) -> None:
        self.uid = uid
        self._keys = keys
        self._values = ValuesFile(values)
        self._streams: dict[bytes, _Stream] = {}
        self._stream_numbers = itertools.count()
        self._series_numbers = itertools.count()
        # Reentrant, because a signal handler may place a series while this thread places one.
        self._lock = forks.lock()
        lane = Lane()
        self._values.ensure(lane, (HEADER_SLOTS, 0, 0, 0, 0))
        header = lane.segments[COUNTS]
        assert header is not None  # noqa: S101  # ensure() makes it or raises
        header.used = HEADER_SLOTS
        self._header = header.slots
        self._header[MAGIC_AT] = MAGIC
        self._lanes = [lane]

    @classmethod
    def open(cls, directory: Directory | Path) -> Book:
        """Make the book of this process.

        Returns:
            The book, visible to others and locked by this process.

        Raises:
            UnusableError: On a system without the locks this needs.
            OSError: If the files cannot be made: no directory, no right, no room.
        """
        with cls._created(opened(directory), f"{os.getpid()}-{os.urandom(4).hex()}") as book:
            return book

    @classmethod
    @contextlib.contextmanager
    def replacing(cls, directory: Directory | Path, old: Book) -> Generator[Book]:
        """Make a book that takes the place of one whose files were removed.

        Readers go from the old one to the new one in one step, at the end of the block. So the block publishes in the
        new one all that is in the old one, whose owner keeps it locked: some readers may still have its files.

        Args:
            directory: The directory of the group.
            old: The book of this process.

        Yields:
            The book, which no other process sees yet.

        Raises:
            OSError: As `open` does.
        """
        with cls._created(opened(directory), lineage(old.uid)) as book:
            yield book

    @classmethod
    @contextlib.contextmanager
    def _created(cls, directory: Directory, line: str) -> Generator[Book]:
        uid = f"{time.time_ns():016x}-{line}"
        new, values = directory / (uid + NEW), directory / (uid + VALUES)
        with held(directory / MEMBERS, shared=True, wait=_MEMBERS_WAIT) as joined:
            if not joined:
                raise UnusableError(f"{directory} is being cleared by another process; open the book again")
            (directory / DESERTED).unlink(missing_ok=True)
            try:
                keys = create(new, os.O_APPEND)
                if not lock_now(keys.number):
                    raise UnusableError(f"another process locked the key log of {uid} before its owner")  # noqa: TRY301  # undone below
                yield cls(uid, keys, create(values))
                new.rename(directory / (uid + KEYS))
            except BaseException:
                for file in (new, values):
                    with contextlib.suppress(OSError):
                        file.unlink()
                raise

    @property
    def refreshed(self) -> int:
        """The generation of the last refresh of this process' observables; others read it."""
        return self._header[REFRESHED_AT]

    @refreshed.setter
    def refreshed(self, generation: int) -> None:
        self._header[REFRESHED_AT] = generation

    @property
    def observing(self) -> bool:
        """Whether this process has observables that are worth a nudge; others read it."""
        return bool(self._header[OBSERVING_AT])

    @observing.setter
    def observing(self, observing: bool) -> None:
        self._header[OBSERVING_AT] = int(observing)

    @property
    def linked(self) -> bool:
        """Whether others can still find the book: false once its key file was removed, or after `close`."""
        try:
            return self._keys.stat().st_nlink > 0
        except OSError:
            return False

    def place(self, identity: bytes, shape: Shape, attributes: bytes) -> Cell:
        """Give a series its slots, and tell the others.

        Safe to call from threads, signal handlers and finalizers.

        Args:
            identity: The stream of the series, opaque.
            shape: The slots of the series; the same for all series of the stream.
            attributes: What tells the series from others of its stream, opaque.

        Returns:
            The cell, initialised; the same one when the series has been placed before.

        Raises:
            OSError: If there is no room, or the book is closed. Nothing is placed then.
            ValueError: If the stream was placed with another shape.
        """
        stream = self._streams.get(identity)
        if stream is not None and stream.shape != shape:
            raise ValueError(f"stream {identity!r} has the shape {stream.shape} in this book, not {shape}")
        if stream is not None and (cell := stream.cells.get(attributes)) is not None:
            return cell
        with self._lock:
            try:
                lane = self._lanes.pop()
            except IndexError:
                lane = Lane()
            try:
                return self._place(lane, identity, shape, attributes)
            finally:
                self._lanes.append(lane)

    def retire(self, cell: Cell) -> None:
        """Tell the others that this process no longer has a series; its values stay part of sums.

        Raises:
            OSError: If the record cannot be written.
        """
        with self._lock:
            self._append(retired_record(cell.number))

    def revive(self, cell: Cell) -> None:
        """Tell the others that this process has a retired series again.

        Raises:
            OSError: If the record cannot be written.
        """
        with self._lock:
            self._append(revived_record(cell.number))

    def close(self) -> None:
        """Give up the lock: from now on the book is a dead process'. Later stores into its cells may be lost."""
        with self._lock:
            if self._keys.look():
                unlock(self._keys.number)
            self._keys.close()
            self._values.close()

    def abandon(self) -> None:
        """In a forked child: close what was inherited, without any effect on the parent's lock.

        The cells stay mapped, so that a store by code that has not heard of the fork does no harm to the child.
        """
        # The lock is not taken: a thread that is no longer there may hold it.
        self._keys.close()
        self._values.close()

    def _place(self, lane: Lane, identity: bytes, shape: Shape, attributes: bytes) -> Cell:
        stream = self._stream(identity, shape)
        known = stream.cells.get(attributes)
        if known is not None:
            return known
        self._values.ensure(lane, shape.widths)
        cell = Cell(next(self._series_numbers), lane, shape)
        positions = [_take(segment, width) for segment, width in zip(lane.segments, shape.widths, strict=True)]
        # When this fails the slots are lost, not given back: a signal handler may have raised after the write.
        self._append(series_record(stream.number, cell.number, positions, attributes))
        winner = stream.cells.setdefault(attributes, cell)
        if winner is not cell:
            # Placed by a signal handler in between; this one will never hold a value.
            self._append(retired_record(cell.number))
        return winner

    def _stream(self, identity: bytes, shape: Shape) -> _Stream:
        stream = self._streams.get(identity)
        if stream is None:
            stream = _Stream(next(self._stream_numbers), shape)
            self._append(stream_record(stream.number, shape, identity))
            stream = self._streams.setdefault(identity, stream)
        return stream

    def _append(self, record: bytes) -> None:
        """Write one record whole or not at all."""
        keys = self._keys.number
        written = os.write(keys, record)
        if written < len(record):
            os.ftruncate(keys, os.fstat(keys).st_size - written)
            raise OSError(f"no room for a record of {len(record)} bytes in the key log of {self.uid}")


def _take(segment: Segment | None, width: int) -> int:
    if segment is None or not width:
        return ABSENT
    at = segment.first + segment.used
    segment.used += width
    return at
