"""A book of another process, as a reader sees it.

Nothing here trusts the files: they may vanish, be cut, be damaged or belong to somebody else at any time.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from otelbridge.cells.book import HEADER_SLOTS, MAGIC, MAGIC_AT, OBSERVING_AT, REFRESHED_AT
from otelbridge.cells.locks import is_held
from otelbridge.cells.names import KEYS, VALUES
from otelbridge.cells.private import opened
from otelbridge.cells.records import bodies
from otelbridge.cells.segments import cast_slots
from otelbridge.cells.series_index import NO_SLOTS, SeriesIndex
from otelbridge.cells.shape import SLOT
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from pathlib import Path

    from otelbridge.cells.private import Directory


_NOTHING_MORE = 1 << 62


class DamagedError(Exception):
    """A file of the room is not what it must be. The message names the file and what is wrong."""


class Volume(SeriesIndex):
    """The file pair of a process, as far as it was read. Use `open` to make one.

    The files of a living process stay open, two descriptors for each. Those of a dead one are final: what its records
    name is copied, and they are closed, so that any number of dead processes can be read.

    Attributes:
        live: Whether its process held the lock at the last `look`.
    """

    def __init__(self, directory: Directory, uid: str) -> None:
        super().__init__(uid)
        self.live = True
        self._values_file = directory / (uid + VALUES)
        self._keys = (directory / (uid + KEYS)).open()
        self._read_to = 0
        self._mapping: mmap.mmap | None = None

    @classmethod
    def open(cls, directory: Directory | Path, uid: str) -> Volume:
        """Open the book of another process.

        Returns:
            The volume; nothing of the key log of a living process is read yet, and all of that of a dead one.

        Raises:
            FileNotFoundError: If a file of the pair is missing.
            PermissionError: If a file belongs to somebody else.
            OSError: If the system cannot open or map them now.
            DamagedError: If the values file is none.
        """
        volume = cls(opened(directory), uid)
        try:
            volume.look()
            volume._map()
            if not volume.live:
                volume.update()
        except BaseException:
            volume.close()
            raise
        return volume

    def __del__(self) -> None:
        if hasattr(self, "_mapping"):
            self.close()

    @property
    def refreshed(self) -> int:
        """The generation of the last refresh of the process' observables."""
        return self.integers[REFRESHED_AT]

    @property
    def observing(self) -> bool:
        """Whether the process has observables that are worth a nudge."""
        return bool(self.integers[OBSERVING_AT])

    def look(self) -> bool:
        """See whether the process lives, and give `live`; once dead, a book stays so."""
        if self.live:
            try:
                self.live = is_held(self._keys.number)
            except OSError:  # closed by another part of the program, so nothing tells
                return True
        return self.live

    def update(self) -> None:
        """Take in the records that came since the last call.

        A damaged record ends the reading of this book for good, and is reported; what came before it stays valid.

        Raises:
            DamagedError: If the values file was cut.
            FileNotFoundError: If the records need more of the values file than was read, and it is gone: folded since.
            OSError: If the system cannot read or map now; the same records come with the next call.
        """
        if self._mapping is None:
            return
        # Whether the process lives is asked before its records and values are read: those of a dead one are final.
        live = self.look()
        size = self._mapping.size()
        if size < len(self._mapping):
            raise DamagedError(f"{self._values_file} was cut to {size} bytes")
        found = bodies(self._key_log())
        if found.bodies and size > len(self._mapping):
            self._map()
        damage = f"a damaged record at byte {self._read_to + found.consumed}" if found.damaged else ""
        try:
            self.take_in(found.bodies)
        except ValueError as error:
            damage = str(error)
        self._read_to = _NOTHING_MORE if damage else self._read_to + found.consumed
        if damage:
            report("key log", f"The key log of {self._values_file.directory / self.uid} has {damage}")
        if not live:
            self.settle()
            self.close()

    def close(self) -> None:
        """Close both files. There are no values any more but settled ones, and no news."""
        self._keys.close()
        self.show(NO_SLOTS)
        self._mapping = None

    def _key_log(self) -> bytes:
        size = self._keys.stat().st_size
        return self._keys.read(self._read_to, size - self._read_to)

    def _map(self) -> None:
        file = self._values_file.open()
        size = file.status.st_size // SLOT * SLOT
        if size < HEADER_SLOTS * SLOT:
            raise DamagedError(f"{self._values_file} has only {size} bytes")
        mapping = mmap.mmap(file.number, size, access=mmap.ACCESS_READ)
        slots = memoryview(mapping)
        if cast_slots(slots, "q")[MAGIC_AT] != MAGIC:
            raise DamagedError(f"{self._values_file} is not a values file of this version")
        self.show(slots)
        self._mapping = mapping


def report(cause: str, message: str) -> None:
    """Warn about a file that cannot be used: once for each kind of trouble, as there may be many such files."""
    warn_once(("cells", cause), "%s; what it holds is left out of the metrics, the rest goes on", message)
