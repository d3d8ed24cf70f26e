"""Which files there are in a group, seen so that each book is counted once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otelbridge.cells.base import EMPTY, Base, load
from otelbridge.cells.names import BASE, KEYS, names_in
from otelbridge.cells.volume import DamagedError, Volume, report

if TYPE_CHECKING:
    from pathlib import Path

    from otelbridge.cells.base import Content

_TRIES = 50
_PAUSE = 0.001


class Stock:
    """The base and the books of a group that are not part of it.

    A read-only view of files that others add, fold and remove meanwhile.

    Args:
        directory: The directory of the group.
        known: What an earlier base said; stands in for one that is damaged or gone.

    Attributes:
        base: What the dead left.
        volumes: The other books, by name.
    """

    def __init__(self, directory: Path, known: Content = EMPTY) -> None:
        self._directory = directory
        self.base = Base(directory / BASE, known)
        self.volumes: dict[str, Volume] = {}

    def scan(self) -> bool:
        """Bring `base` and `volumes` up to date.

        When the system cannot list or open now, they stay as they were, which is a view that was right once.

        Returns:
            Whether they are up to date.
        """
        try:
            for _ in range(_TRIES):
                if self._scan():
                    return True
                time.sleep(_PAUSE)
        except FileNotFoundError:
            report("directory", f"The directory {self._directory} was removed")
        except OSError as error:
            report("scan", f"The directory {self._directory} cannot be read now ({error})")
        return False

    def close(self) -> None:
        """Close all volumes."""
        for uid in list(self.volumes):
            self.drop(uid)

    def drop(self, uid: str) -> None:
        """Close a volume; the next `scan` opens it again.

        Args:
            uid: The name of the book.
        """
        volume = self.volumes.pop(uid, None)
        if volume is not None:
            volume.close()

    def _scan(self) -> bool:
        """One try; whether nothing was folded meanwhile."""
        base = self.base if self.base.is_current() else load(self._directory / BASE, self.base.content)
        names = names_in(self._directory)
        present = {name.removesuffix(KEYS) for name in names if name.endswith(KEYS)} - base.content.folded
        missing = [uid for uid in sorted(present - self.volumes.keys()) if not self._open(uid)]
        if not base.is_current():
            return False
        self.base = base
        for uid in self.volumes.keys() - present:
            # A book whose files were removed by somebody else still is a living process' book.
            if uid in base.content.folded or not self.volumes[uid].look():
                self.drop(uid)
        if missing:
            report("values file", f"The book {missing[0]} in {self._directory} has no values file")
        return True

    def _open(self, uid: str) -> bool:
        """Open a book; false when a file of it is gone: mostly because it was folded since it was listed."""
        try:
            self.volumes[uid] = Volume.open(self._directory, uid)
        except FileNotFoundError:
            return False
        except (OSError, DamagedError) as error:
            report(f"book {type(error).__name__}", f"The book {uid} in {self._directory} cannot be read: {error}")
        return True
