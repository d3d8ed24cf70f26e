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
from otelbridge.cells.records import bodies
from otelbridge.cells.segments import cast_slots
from otelbridge.cells.shape import SLOT
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from pathlib import Path


class DamagedError(Exception):
    """A file of the room is not what it must be. The message names the file and what is wrong."""


class Volume:
    """The file pair of a process, open for reading. Use `open` to make one.

    Attributes:
        uid: The name of the book.
        live: Whether its process held the lock at the last `look`.
        integers: The values file as int64 slots.
        floats: The values file as float64 slots.
    """

    def __init__(self, directory: Path, uid: str, keys: int) -> None:
        self.uid = uid
        self.live = True
        self.integers: memoryview[Any] = memoryview(b"").cast("q")
        self.floats: memoryview[Any] = memoryview(b"").cast("d")
        self._values_path = directory / (uid + VALUES)
        self._keys = keys
        self._read = 0
        self._stopped = False
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
        keys = os.open(directory / (uid + KEYS), os.O_RDONLY | GUARDED)
        volume = cls(directory, uid, keys)
        try:
            owned(keys)
            volume._map()
        except BaseException:
            volume.close()
            raise
        return volume

    def __del__(self) -> None:
        self.close()

    @property
    def slots(self) -> int:
        """How many slots the mapped values file has."""
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

    def news(self) -> list[bytes]:
        """Read the records that came since the last call.

        A damaged record ends the reading of this book for good, and is reported; what came before it stays valid.

        Returns:
            The bodies of the records. The values file is mapped as far as they need it.

        Raises:
            DamagedError: If the values file was cut.
            OSError: If the system cannot read or map now; the same records come with the next call.
        """
        mapping = self._mapping
        if mapping is not None and mapping.size() < len(mapping):
            raise DamagedError(f"{self._values_path} was cut to {mapping.size()} bytes")
        size = os.fstat(self._keys).st_size
        if self._stopped or size <= self._read:
            return []
        found = bodies(read_at(self._keys, self._read, size - self._read))
        if found.bodies and mapping is not None and mapping.size() > len(mapping):
            self._map()
        self._read += found.consumed
        if found.damaged:
            self.stop(f"a damaged record at byte {self._read}")
        return found.bodies

    def stop(self, reason: str) -> None:
        """Read no further records of this book, and report it.

        Args:
            reason: What is wrong with the key log.
        """
        self._stopped = True
        report("key log", f"The key log of {self._values_path.with_suffix('')} has {reason}")

    def close(self) -> None:
        """Close the key file. The values stay mapped as long as somebody uses them."""
        keys, self._keys = self._keys, -1
        if keys >= 0:
            os.close(keys)

    def _map(self) -> None:
        values = os.open(self._values_path, os.O_RDONLY | GUARDED)
        try:
            size = owned(values).st_size // SLOT * SLOT
            if size < HEADER_SLOTS * SLOT:
                raise DamagedError(f"{self._values_path} has only {size} bytes")
            mapping = mmap.mmap(values, size, access=mmap.ACCESS_READ)
        finally:
            os.close(values)
        integers = cast_slots(memoryview(mapping), "q")
        if integers[MAGIC_AT] != MAGIC:
            raise DamagedError(f"{self._values_path} is not a values file of this version")
        self._mapping, self.integers = mapping, integers
        self.floats = cast_slots(memoryview(mapping), "d")


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
