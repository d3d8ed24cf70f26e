"""Which files there are in a group, seen so that each book is counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.cells.base import EMPTY, Base, load
from otelbridge.cells.locks import held
from otelbridge.cells.names import BASE, FOLDER, uids_in
from otelbridge.cells.volume import DamagedError, Volume, report

if TYPE_CHECKING:
    from otelbridge.cells.private import Directory

_TRIES = 3
_WAIT = 0.5


class Stock:
    """The base and the books of a group that are not part of it.

    A read-only view of files that others add, fold and remove meanwhile.

    Args:
        directory: The directory of the group.

    Attributes:
        base: What the dead left.
        volumes: The other books, by name.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self.base = Base(directory / BASE, EMPTY)
        self.volumes: dict[str, Volume] = {}

    def scan(self) -> None:
        """Bring `base` and `volumes` up to date.

        When the system cannot list or open now, they stay as they were, which is a view that was right once.
        """
        try:
            for _ in range(_TRIES):
                if self._scan():
                    return
            # They fold faster than this process can look, so they have to wait for once.
            with held(self._directory / FOLDER, shared=True, wait=_WAIT):
                self._scan()
        except FileNotFoundError:
            report("directory", f"The directory {self._directory} was removed")
        except OSError as error:
            report("scan", f"The directory {self._directory} cannot be read now ({error})")

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
        present = uids_in(self._directory) - base.content.folded
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
