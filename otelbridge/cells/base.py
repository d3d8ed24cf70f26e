"""The base: one file with what dead processes had counted.

It is written whole under another name and renamed, so there is either the old one or the new one. It names the books
that went into it, whose files may still be there for a moment: a reader that skips those and sees the same base before
and after it opened the others has counted each book once.

Only something outside this package can damage or remove it. A reader then goes on with what it last read, and who folds
next writes that, as far as it is known, into a new base. A base that cannot be read now is not replaced.
"""

from __future__ import annotations

import errno
import os
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from otelbridge.cells.locks import GUARDED, owned
from otelbridge.cells.names import BASE
from otelbridge.cells.records import bodies
from otelbridge.cells.segments import cast_slots
from otelbridge.cells.shape import SLOT
from otelbridge.cells.volume import DamagedError, read_at, report

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_MAGIC = b"otelbase"
_HEAD = struct.Struct("<8sIIQ")
_SEALED_FROM = 12  # magic and crc come before what the crc covers
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR})


class Content(NamedTuple):
    """What a base says."""

    folded: frozenset[str]
    """The books that are part of it and may still have files."""

    bodies: list[bytes]
    """Records as in a key log; positions count from the first slot of the base."""

    slots: memoryview
    """The slots, as bytes."""


EMPTY: Final = Content(frozenset(), [], memoryview(b""))


class Base:
    """A base as a reader sees it. Use `load` to get one; made otherwise, it stands for no file.

    Args:
        path: The file.
        content: What it says.

    Attributes:
        uid: Stands in for the name of a book.
        live: Never; it holds what the dead left.
        content: What it says, or said when it could last be read.
        trouble: Why the content is not that of the file: a `DamagedError` when the file is to be replaced, an
            ``OSError`` when it cannot be read, though it may be sound; None when all is well.
    """

    uid = BASE
    live = False

    def __init__(self, path: Path, content: Content = EMPTY) -> None:
        self.content = content
        self.trouble: DamagedError | OSError | None = DamagedError("it is gone") if content.bodies else None
        self._path = path
        self._status: os.stat_result | None = None
        # Held open, it keeps the system from giving the inode number of the file to a successor.
        self._descriptor = -1

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    @property
    def integers(self) -> memoryview[Any]:
        """Its slots as int64."""
        return cast_slots(self.content.slots, "q")

    @property
    def floats(self) -> memoryview[Any]:
        """Its slots as float64."""
        return cast_slots(self.content.slots, "d")

    @property
    def slots(self) -> int:
        """How many slots it has."""
        return len(self.content.slots) // SLOT

    def is_current(self) -> bool:
        """Tell whether the file is still the one that was loaded.

        Returns:
            False when there is another one now; also when the system does not say.
        """
        try:
            status = self._path.lstat()
        except FileNotFoundError:
            return self._status is None
        except OSError:
            return False
        return self._status is not None and _signature(status) == _signature(self._status)

    def read(self) -> None:
        """Read the file. It must be there, or an ``OSError`` says why not; see also `load`."""
        self._status = self._path.lstat()
        self._descriptor = os.open(self._path, os.O_RDONLY | GUARDED)
        self._status = owned(self._descriptor)
        self.content = decode(read_at(self._descriptor, 0, self._status.st_size))
        self.trouble = None


def load(path: Path, known: Content = EMPTY) -> Base:
    """Read the base of a group.

    Args:
        path: The file.
        known: What an earlier base said, in case this one is damaged or gone.

    Returns:
        The base; one with the known content when there is none.

    Raises:
        OSError: If the system cannot open or read files now, for want of descriptors or memory.
    """
    base = Base(path, known)
    try:
        with suppress(FileNotFoundError):
            base.read()
    except DamagedError as error:
        report("base", f"The totals of ended processes in {path} are damaged: {error}")
        base.trouble = error.with_traceback(None)
    except OSError as error:
        if error.errno in _PASSING:
            raise
        report("base", f"The totals of ended processes in {path} cannot be read: {error}")
        base.trouble = error.with_traceback(None)
    return base


def encode(folded: Iterable[str], log: bytes, slots: bytes) -> bytes:
    """Write a base.

    Args:
        folded: The books that went into it and may still have files.
        log: Framed records.
        slots: The slots.

    Returns:
        The content of the file.
    """
    names = "\n".join(sorted(folded)).encode()
    head = _HEAD.pack(_MAGIC, 0, len(names), len(log))
    text = head[_SEALED_FROM:] + names + log
    padding = bytes(-(_SEALED_FROM + len(text)) % SLOT)
    sealed = text + padding + slots
    return _MAGIC + struct.pack("<I", crc32(sealed)) + sealed


def decode(data: bytes) -> Content:
    """Read what `encode` wrote.

    Args:
        data: The content of the file.

    Returns:
        What it says.

    Raises:
        DamagedError: If it is not a base, or not what was written.
    """
    if len(data) < _HEAD.size:
        raise DamagedError(f"it has only {len(data)} bytes")
    magic, crc, names_size, log_size = _HEAD.unpack_from(data)
    if magic != _MAGIC or crc32(memoryview(data)[_SEALED_FROM:]) != crc:
        raise DamagedError("its checksum is wrong")
    names_end = _HEAD.size + names_size
    log_end = names_end + log_size
    log = bodies(data[names_end:log_end])
    if log.damaged or log.consumed != log_size:
        raise DamagedError("its records are damaged")
    slots = memoryview(data)[log_end + -log_end % SLOT :]
    if len(slots) % SLOT:
        raise DamagedError(f"its slots take {len(slots)} bytes")
    return Content(frozenset(data[_HEAD.size : names_end].decode().split()), log.bodies, slots)


def _signature(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
