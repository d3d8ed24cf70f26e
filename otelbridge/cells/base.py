"""The base: one file with what dead processes had counted.

It is written whole under another name and renamed, so there is either the old one or the new one. It names the books
that went into it, whose files may still be there for a moment: a reader that skips those and sees the same base before
and after it opened the others has counted each book once.

Only something outside this package can damage or remove it. A reader then goes on with what it last read, and who folds
next writes that, as far as it is known, into a new base. A base that cannot be read now is not replaced.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from otelbridge.cells.names import BASE
from otelbridge.cells.records import bodies
from otelbridge.cells.series_index import SeriesIndex
from otelbridge.cells.shape import SLOT
from otelbridge.cells.volume import DamagedError, report

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from otelbridge.cells.private import Descriptor, Entry

_MAGIC = b"otelbase"
_HEAD = struct.Struct("<8sIIQ")
_SEALED_FROM = 12  # magic and crc come before what the crc covers
_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Content(NamedTuple):
    """What a base says."""

    folded: frozenset[str]
    """The books that are part of it and may still have files."""

    bodies: list[bytes]
    """Records as in a key log; positions count from the first slot of the base."""

    slots: memoryview
    """The slots, as bytes."""


EMPTY: Final = Content(frozenset(), [], memoryview(b""))


class Base(SeriesIndex):
    """A base as a reader sees it. Use `load` to get one; made otherwise, it stands for no file.

    Args:
        path: The file.
        content: What it says.
        status: What the system says of the file; None when there is none.
        file: It, held open to keep the system from giving its inode number to a successor.
        trouble: See below.

    Attributes:
        content: What it says, or said when it could last be read.
        trouble: Why the content is not that of the file: a `DamagedError` when the file is to be replaced, another one
            when it must not be, as it may be sound; None when all is well.
    """

    def __init__(
        self,
        path: Entry,
        content: Content = EMPTY,
        status: os.stat_result | None = None,
        file: Descriptor | None = None,
        trouble: Exception | None = None,
    ) -> None:
        super().__init__(BASE)
        self.content = content
        self.trouble = trouble
        self._path = path
        self._status = status
        self._file = file
        self.show(content.slots)
        try:
            self.take_in(content.bodies)
        except ValueError as error:
            report("base", f"The base {path} has {error}")
            self.trouble = error
        self.settle()

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


def load(path: Entry, known: Content = EMPTY) -> Base:
    """Read the base of a group.

    Args:
        path: The file.
        known: What an earlier base said, in case this one is damaged or gone.

    Returns:
        The base; one with the known content when there is none.

    Raises:
        OSError: If the system cannot open or read files now, for want of descriptors or memory.
    """
    status = file = None
    try:
        status = path.lstat()
        file = path.open()
        status = file.status
        return Base(path, decode(file.read()), status, file)
    except FileNotFoundError:
        return Base(path, known, trouble=DamagedError("it is gone") if known.bodies else None)
    except (OSError, DamagedError) as error:
        if isinstance(error, OSError) and error.errno in _PASSING:
            raise
        report("base", f"The totals of ended processes in {path} cannot be read: {error}")
        return Base(path, known, status, file, error.with_traceback(None))


def encode(folded: Iterable[str], log: bytes, slots: bytes) -> bytes:
    """Write a base.

    Args:
        folded: The books that went into it and may still have files.
        log: Framed records.
        slots: The slots.
    """
    names = "\n".join(sorted(folded)).encode()
    head = _HEAD.pack(_MAGIC, 0, len(names), len(log))
    text = head[_SEALED_FROM:] + names + log
    padding = bytes(-(_SEALED_FROM + len(text)) % SLOT)
    sealed = text + padding + slots
    return _MAGIC + struct.pack("<I", crc32(sealed)) + sealed


def decode(data: bytes) -> Content:
    """Read what `encode` wrote.

    Raises:
        DamagedError: If it is not a base, or not what was written.
    """
    if len(data) < _HEAD.size:
        raise DamagedError(f"it is damaged: it has only {len(data)} bytes")
    magic, crc, names_size, log_size = _HEAD.unpack_from(data)
    if magic != _MAGIC or crc32(memoryview(data)[_SEALED_FROM:]) != crc:
        raise DamagedError("it is damaged: its checksum is wrong")
    names_end = _HEAD.size + names_size
    log_end = names_end + log_size
    log = bodies(data[names_end:log_end])
    if log.damaged or log.consumed != log_size:
        raise DamagedError("it is damaged: its records make no sense")
    slots = memoryview(data)[log_end + -log_end % SLOT :]
    if len(slots) % SLOT:
        raise DamagedError(f"it is damaged: its slots take {len(slots)} bytes")
    return Content(frozenset(data[_HEAD.size : names_end].decode().split()), log.bodies, slots)


def _signature(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
