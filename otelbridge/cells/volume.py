"""A book of another process, as a reader sees it.

Nothing here trusts the files: they may vanish, be cut, be damaged or belong to somebody else at any time.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

from otelbridge.cells.book import HEADER_SLOTS, MAGIC, MAGIC_AT, OBSERVING_AT, REFRESHED_AT
from otelbridge.cells.locks import is_held
from otelbridge.cells.names import KEYS, VALUES
from otelbridge.cells.private import opened
from otelbridge.cells.records import bodies
from otelbridge.cells.segments import cast_slots
from otelbridge.cells.shape import SLOT
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from pathlib import Path

    from otelbridge.cells.private import Descriptor, Directory


_NOTHING_MORE = 1 << 62


class DamagedError(Exception):
    """A file of the room is not what it must be. The message names the file and what is wrong."""


class Volume:
    """The file pair of a process, as far as it was read. Use `open` to make one.

    The files of a living process stay open, two descriptors for each. Those of a dead one are final: they are copied
    and closed, so that any number of dead processes can be read.

    Attributes:
        uid: The name of the book.
        live: Whether its process held the lock at the last `look`.
        integers: The values file as int64 slots.
        floats: The values file as float64 slots.
    """

    def __init__(self, directory: Directory, uid: str) -> None:
        self.uid = uid
        self.live = True
        self.integers: memoryview[Any] = memoryview(b"").cast("q")
        self.floats: memoryview[Any] = memoryview(b"").cast("d")
        self._values_file = directory / (uid + VALUES)
        self._keys = (directory / (uid + KEYS)).open()
        self._read = 0
        self._unread: bytes | None = None
        self._mapping: mmap.mmap | None = None

    @classmethod
    def open(cls, directory: Directory | Path, uid: str) -> Volume:
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
        volume = cls(opened(directory), uid)
        if volume.look():
            volume._map()
        else:
            volume._settle()
        return volume

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
            try:
                self.live = is_held(self._keys.number)
            except OSError:  # closed by another part of the program, so nothing tells
                return True
        return self.live

    def news(self) -> list[bytes]:
        """Read the records that came since the last call, as far as the process wrote them before the last `look`.

        A damaged record ends the reading of this book for good, and is reported; what came before it stays valid.

        Returns:
            The bodies of the records. The values can be read as far as they need it.

        Raises:
            DamagedError: If the values file was cut.
            FileNotFoundError: If the records need more of the values file than was read, and it is gone: folded since.
            OSError: If the system cannot read or map now; the same records come with the next call.
        """
        if self._unread is None:
            self._check_size()
            if not self.live:
                self._settle()
        log = self._unread if self._unread is not None else self._key_log()
        if not log:
            return []
        found = bodies(log)
        if found.bodies and self._mapping is not None and self._mapping.size() > len(self._mapping):
            self._map()
        self._read += found.consumed
        if self._unread is not None:
            self._unread = b""
        if found.damaged:
            self.stop(f"a damaged record at byte {self._read}")
        return found.bodies

    def stop(self, reason: str) -> None:
        """Read no further records of this book, and report it.

        Args:
            reason: What is wrong with the key log.
        """
        self._read = _NOTHING_MORE
        report("key log", f"The key log of {self._values_file.directory / self.uid} has {reason}")

    def close(self) -> None:
        """Close the key file. The values stay mapped as long as somebody uses them."""
        self._keys.close()

    def _check_size(self) -> None:
        if self._mapping is not None and self._mapping.size() < len(self._mapping):
            raise DamagedError(f"{self._values_file} was cut to {self._mapping.size()} bytes")

    def _key_log(self) -> bytes:
        size = self._keys.stat().st_size
        return self._keys.read(self._read, size - self._read)

    def _map(self) -> None:
        file, size = self._values()
        mapping = mmap.mmap(file.number, size, access=mmap.ACCESS_READ)
        self._show(memoryview(mapping))
        self._mapping = mapping

    def _settle(self) -> None:
        """Copy what a dead process left, and close it."""
        unread = self._key_log()
        if self._mapping is not None and not unread:
            # Its file may be gone by now, but nothing in it is needed that is not mapped.
            values = self._mapping[:]
        else:
            file, size = self._values()
            values = file.read(0, size)
        self._show(memoryview(values))
        self._unread, self._mapping = unread, None
        self.close()

    def _values(self) -> tuple[Descriptor, int]:
        """The values file, open, and its size in whole slots."""
        file = self._values_file.open()
        size = file.status.st_size // SLOT * SLOT
        if size < HEADER_SLOTS * SLOT:
            raise DamagedError(f"{self._values_file} has only {size} bytes")
        return file, size

    def _show(self, values: memoryview) -> None:
        integers = cast_slots(values, "q")
        if len(integers) < HEADER_SLOTS or integers[MAGIC_AT] != MAGIC:
            raise DamagedError(f"{self._values_file} is not a values file of this version")
        self.integers, self.floats = integers, cast_slots(values, "d")


def report(cause: str, message: str) -> None:
    """Warn once about a file that cannot be used.

    Args:
        cause: The kind of trouble; each is reported once, so that many damaged files do not flood the log.
        message: What is wrong with which file.
    """
    warn_once(("cells", cause), "%s; what it holds is left out of the metrics, the rest goes on", message)
