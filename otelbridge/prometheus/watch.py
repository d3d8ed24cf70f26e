"""Notices that files have changed, so that certificates and passwords rotate without a restart."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# A file written twice within one tick of its filesystem's clock (2 s on FAT) shows the same times twice.
_SETTLED_NANOSECONDS = 2_000_000_000

_Stamp = tuple[int, int, int, int] | None


class FileWatch:
    """Tells whether files have changed since it was last asked.

    It looks at their times, sizes and inodes, and at their content only where those are new or fresh.

    Args:
        paths: The files. One that is missing counts as changed when it appears.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._paths = tuple(Path(path) for path in paths)
        self._stamps: tuple[_Stamp, ...] = ()
        self._settled = False
        self._content = b""
        self.changed()

    def changed(self) -> bool:
        """Whether the content of any is not what it was at the last call.

        Returns:
            True once for every change.
        """
        now = time.time_ns()
        stamps = tuple(map(_stamp, self._paths))
        if self._settled and stamps == self._stamps:
            return False
        content = self._digest()
        changed = content != self._content
        self._stamps, self._content = stamps, content
        newest = max((max(stamp[0], stamp[1]) for stamp in stamps if stamp), default=0)
        self._settled = newest < now - _SETTLED_NANOSECONDS
        return changed

    def _digest(self) -> bytes:
        digest = hashlib.blake2b()
        for path in self._paths:
            try:
                content = path.read_bytes()
            except OSError:
                digest.update(b"missing;")
            else:
                digest.update(b"%d;" % len(content) + content)
        return digest.digest()


def _stamp(path: Path) -> _Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
