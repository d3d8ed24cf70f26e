"""A book of another process, as a reader sees it.

Nothing here trusts the files: they may vanish, be cut, be damaged or belong to somebody else at any time.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Any

from otelbridge.cells.book import HEADER_SLOTS, MAGIC, MAGIC_AT, OBSERVING_AT, REFRESHED_AT
from otelbridge.cells.locks import GUARDED, is_held, owned
from otelbridge.cells.names import KEYS, VALUES
from otelbridge.cells.records import Bodies, bodies
from otelbridge.cells.segments import cast_slots
from otelbridge.cells.shape import SLOT
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from pathlib import Path


_NOTHING_MORE = 1 << 62
_NOTHING: memoryview[Any] = memoryview(b"")


class DamagedError(Exception):
    """A file of the room is not what it must be. The message names the file and what is wrong."""


class Volume:
    """The file pair of a process, as far as it was read. Use `open` to make one.

    Both files stay open until `close`. Those of a dead process are final, so who has read the values closes them: then
    any number of dead processes can be read.

    Attributes:
        uid: The name of the book.
        live: Whether its process held the lock at the last `look`.
        integers: The values file as int64 slots.
        floats: The values file as float64 slots.
    """

    def __init__(self, directory: Path, uid: str) -> None:
        self.uid = uid
        self.live = True
        self.integers = self.floats = _NOTHING
        self._values_path = directory / (uid + VALUES)
        self._keys = os.open(directory / (uid + KEYS), os.O_RDONLY | GUARDED)
        self._read = 0
        self._mapping: mmap.mmap | None = None

    @classmethod
    def open(cls, directory: Path, uid: str) -> Volume:
        """Open the book of another process.

        Args:
            directory: The directory of the group.
            uid: The name of the book.

        Returns:
            The volume; nothing of its key log is read yet.

        Raises:
            FileNotFoundError: If a file of the pair is missing.
            PermissionError: If a file belongs to somebody else.
            OSError: If the system cannot open or map them now.
            DamagedError: If the values file is none.
        """
        volume = cls(directory, uid)
        try:
            owned(volume._keys)
            volume.look()
            volume._map()
        except BaseException:
            volume.close()
            raise
        return volume

    def __del__(self) -> None:
        if hasattr(self, "_keys"):
            self.close()

    @property
    def slots(self) -> int:
        """How many slots the values file has, as far as it was read."""
        return len(self.integers)

    @property
    def refreshed(self) -> int:
        """The generation of the last refresh of the process' observables."""
        return self.integers[REFRESHED_AT]

    @property
    def observing(self) -> bool:
        """Whether the process has observables that are worth a nudge."""
        return bool(self.integers[OBSERVING_AT])

    def look(self) -> bool:
        """See whether the process lives; once dead, a book stays so.

        Returns:
            `live`.
        """
        if self.live:
            self.live = is_held(self._keys)
        return self.live

    def news(self) -> Bodies:
        """Read the records that came since `advance`, as far as the process wrote them before the last `look`.

        Returns:
            The records. The values can be read as far as they need it.

        Raises:
            DamagedError: If the values file was cut.
            FileNotFoundError: If the records need more of the values file than was read, and it is gone: folded since.
            OSError: If the system cannot read or map now.
        """
        if self._mapping is None:
            return Bodies([], 0, damaged=False)
        size = self._mapping.size()
        if size < len(self._mapping):
            raise DamagedError(f"{self._values_path} was cut to {size} bytes")
        found = bodies(self._key_log())
        if found.bodies and size > len(self._mapping):
            self._map()
        return found

    def advance(self, news: Bodies) -> None:
        """Read on behind what was taken in. A damaged record ends the reading of this book for good, and is reported.

        Args:
            news: What `news` gave last.
        """
        self._read += news.consumed
        if news.damaged:
            self.stop(f"a damaged record at byte {self._read}")

    def stop(self, reason: str) -> None:
        """Read no further records of this book, and report it.

        Args:
            reason: What is wrong with the key log.
        """
        self._read = _NOTHING_MORE
        report("key log", f"The key log of {self._values_path.with_suffix('')} has {reason}")

    def close(self) -> None:
        """Close both files. There are no values any more, and no news."""
        keys, self._keys = self._keys, -1
        if keys >= 0:
            os.close(keys)
        self.integers = self.floats = _NOTHING
        self._mapping = None

    def _key_log(self) -> bytes:
        size = os.fstat(self._keys).st_size
        return read_at(self._keys, self._read, size - self._read) if size > self._read else b""

    def _map(self) -> None:
        descriptor = os.open(self._values_path, os.O_RDONLY | GUARDED)
        try:
            size = owned(descriptor).st_size // SLOT * SLOT
            if size < HEADER_SLOTS * SLOT:
                raise DamagedError(f"{self._values_path} has only {size} bytes")
            mapping = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
        integers = cast_slots(memoryview(mapping), "q")
        if integers[MAGIC_AT] != MAGIC:
            raise DamagedError(f"{self._values_path} is not a values file of this version")
        self.integers, self.floats = integers, cast_slots(memoryview(mapping), "d")
        self._mapping = mapping


def report(cause: str, message: str) -> None:
    """Warn once about a file that cannot be used.

    Args:
        cause: The kind of trouble; each is reported once, so that many damaged files do not flood the log.
        message: What is wrong with which file.
    """
    warn_once(("cells", cause), "%s; what it holds is left out of the metrics, the rest goes on", message)


def read_at(descriptor: int, start: int, size: int) -> bytes:
    """Read a stretch of a file.

    Args:
        descriptor: The file.
        start: The first byte.
        size: How many bytes.

    Returns:
        The bytes; fewer when the file ends before.

    Raises:
        OSError: If it cannot be read.
    """
    pieces: list[bytes] = []
    while size > 0 and (piece := os.pread(descriptor, size, start)):
        pieces.append(piece)
        start += len(piece)
        size -= len(piece)
    return b"".join(pieces)
