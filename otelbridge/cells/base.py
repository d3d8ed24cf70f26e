"""The base: one file with what dead processes had counted.

It is written whole under another name and renamed, so there is either the old one or the new one. It names the books
that went into it, whose files may still be there for a moment: a reader that skips those and sees the same base before
and after it opened the others has counted each book once.

A base that is damaged nonetheless (by something outside this package) is reported and replaced, in this order, by an
unfinished base beside it whose crc is right (it is the successor of the damaged one, and no book it names has been
removed yet), by what the reader remembers of an earlier base (a part of the damaged one), by nothing. None of these
counts a book twice; the last two lose what only the damaged file knew.
"""

from __future__ import annotations

import errno
import struct
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from otelbridge.cells.names import BASE, DRAFT
from otelbridge.cells.records import bodies
from otelbridge.cells.segments import cast_slots
from otelbridge.cells.shape import SLOT
from otelbridge.cells.volume import DamagedError, report

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from otelbridge.cells.private import Descriptor, Entry

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


class State(Enum):
    """What became of the file when it was read."""

    SOUND = "sound"
    """It said what the content says; so it is called when there is no file, too."""

    DAMAGED = "damaged"
    """It is not what was written; the content comes from elsewhere."""

    UNREADABLE = "unreadable"
    """It could not be read, though it may be sound: it must not be replaced."""


class Base:
    """A base as a reader sees it. Use `load` to get one.

    Args:
        path: The file.
        content: What it says.
        status: What the system says of it; None when there is none.
        state: What became of it.
        file: It, held open to keep the system from giving its inode number to a successor.

    Attributes:
        uid: Stands in for the name of a book.
        live: Never; it holds what the dead left.
        integers: Its slots as int64.
        floats: Its slots as float64.
    """

    uid = BASE
    live = False

    def __init__(
        self,
        path: Entry,
        content: Content,
        status: os.stat_result | None = None,
        state: State = State.SOUND,
        file: Descriptor | None = None,
    ) -> None:
        self.content = content
        self.state = state
        self.integers: memoryview[Any] = cast_slots(content.slots, "q")
        self.floats: memoryview[Any] = cast_slots(content.slots, "d")
        self._path = path
        self._status = status
        self._file = file

    @property
    def slots(self) -> int:
        """How many slots it has."""
        return len(self.integers)

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
    try:
        status = path.lstat()
    except FileNotFoundError:
        return Base(path, known)
    file = None
    try:
        file = path.open()
        status = file.status
        return Base(path, decode(file.read()), status, State.SOUND, file)
    except OSError as error:
        if error.errno in _PASSING:
            raise
        report("base", f"The totals of ended processes in {path} cannot be read: {error}")
        return Base(path, known, status, State.UNREADABLE, file)
    except DamagedError as error:
        report("base", f"The totals of ended processes in {path} are damaged: {error}")
        return Base(path, _draft(path) or known, status, State.DAMAGED, file)


def has_draft(path: Entry) -> bool:
    """Tell whether there is a sound draft of the next base.

    Args:
        path: The file of the base.

    Returns:
        Whether there is one that could be renamed to it.
    """
    return _draft(path) is not None


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


def _draft(path: Entry) -> Content | None:
    try:
        return decode((path.directory / DRAFT).open().read())
    except (OSError, DamagedError):
        return None


def _signature(status: os.stat_result) -> tuple[int, int, int, int]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
