"""The directory of one group of processes: how it begins, and how it ends."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from otelbridge.cells.errors import UnusableError
from otelbridge.cells.locks import GUARDED, held, is_held, join
from otelbridge.cells.names import (
    DESERTED,
    FOLDER,
    KEYS,
    MEMBERS,
    NEW,
    PRESENT,
    RESOURCE,
    STARTED,
    names_in,
)
from otelbridge.cells.private import create, establish, make_private
from otelbridge.cells.volume import report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}")
_TRIES = 20
_WAIT = 1.0
_LOCKS: Final = (FOLDER, PRESENT, MEMBERS)

DAY: Final = 86_400.0
"""Seconds for which what a deserted group had counted is kept, when it could not be delivered all that time."""


class GroupDirectory:
    """The directory of a group, as long as this process belongs to it. Use `group_directory` to get one.

    While a process is in the group, nobody removes the directory. A forked child is in it, too.

    Attributes:
        path: The directory.
        started_ns: When the first process of the group began, in nanoseconds since the epoch; the same for all.
    """

    def __init__(self, path: Path, started_ns: int, presence: int) -> None:
        self.path = path
        self.started_ns = started_ns
        self._presence = presence

    def __del__(self) -> None:
        self.leave()

    def leave(self) -> None:
        """Leave the group: this process does not keep the directory from being removed any longer."""
        presence, self._presence = self._presence, -1
        if presence >= 0:
            # Closed, not unlocked: a forked child shares this lock and may still be in the group.
            os.close(presence)


def group_directory(user: Path, name: str) -> GroupDirectory:
    """Find or make the directory of a group, and enter the group.

    Args:
        user: The user's directory.
        name: The name of the group: ASCII letters, digits, ``_``, ``-`` and, but for the first, ``.``.

    Returns:
        The directory.

    Raises:
        ValueError: If the name cannot be that of a directory.
        UnusableError: If the directory is not this user's alone, or keeps being removed.
        OSError: If it cannot be made or written to.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a group: use up to 128 ASCII letters, digits, '_', '-' and '.'")
    path = user / name
    for _ in range(_TRIES):
        make_private(path)
        # Somebody who found the group deserted may be removing it; then it is made anew.
        with suppress(FileNotFoundError), held(path / MEMBERS, shared=True, wait=_WAIT) as safe:
            if not safe:
                continue
            group = GroupDirectory(path, _started(path), join(path / PRESENT))
            with suppress(FileNotFoundError):
                (path / DESERTED).unlink()
            return group
    raise UnusableError(f"{path} is being removed by other processes again and again")


def enter_deserted(path: Path) -> GroupDirectory | None:
    """Enter a group that no process is in, to do what its own can do no longer.

    It stays marked as deserted, by a mark as old as the first look that found it so. While somebody is in it, nobody
    removes it.

    Args:
        path: The group's directory.

    Returns:
        The directory; None where a process lives in it, or it is just being removed.

    Raises:
        OSError: If it cannot be read or written to.
    """
    if not _is_group(path):
        return None
    # Makes no lock file: in a directory that is just being removed it would be left.
    with held(path / PRESENT, make=False) as alone:
        if not alone or has_living(path):
            return None
    with held(path / MEMBERS, shared=True, wait=_WAIT, make=False) as safe:
        if not safe:
            return None
        with suppress(FileExistsError):
            os.close(create(path / DESERTED))
        return GroupDirectory(path, _started(path), join(path / PRESENT))


def has_living(path: Path) -> bool:
    """Tell whether a book in a group's directory has a living owner, which is quick to see.

    Args:
        path: The directory.

    Raises:
        OSError: If it cannot be read.
    """
    return any(_has_owner(path / name) for name in names_in(path) if name.endswith((KEYS, NEW)))


def deserted_for(group: GroupDirectory) -> float:
    """Tell for how many seconds a group has been known to be deserted; 0 where it is not marked so.

    Args:
        group: The group.
    """
    try:
        return max(time.time() - (group.path / DESERTED).stat().st_mtime, 0.0)
    except OSError:
        return 0.0


def remove_group(group: GroupDirectory) -> bool:
    """Leave a group, and remove its directory if nobody else is in it.

    What its processes had counted is gone then: this is for a group that no process can join later.

    Args:
        group: The group.

    Returns:
        Whether the directory was removed.
    """
    group.leave()
    try:
        return _clear(group.path, lambda: True)
    except OSError:
        return False


def remove_orphans(user: Path, older_than: float = 3600.0, pushed_older_than: float = DAY) -> int:
    """Remove the directories of groups that ended long ago.

    A group has ended when no process is in it and no book has a living owner. Since nothing tells when that happened, a
    group that is found so is marked first, and removed when the mark is old and nothing has changed since.

    Args:
        user: The user's directory.
        older_than: How many seconds ago a group must have been found deserted.
        pushed_older_than: The same for a group whose totals are pushed: the next start is to find them.

    Returns:
        How many were removed.
    """
    removed = 0
    with suppress(OSError):
        for name in names_in(user):
            path = user / name
            with suppress(OSError):
                if _is_group(path):
                    age = pushed_older_than if (path / RESOURCE).exists() else older_than
                    removed += _clear(path, partial(_long_deserted, path, age))
    return removed


def _started(path: Path) -> int:
    """When the group began; the first process to ask decides."""
    file = path / STARTED
    if not file.exists():
        establish(file, b"%d\n" % time.time_ns())
    text = file.read_bytes().strip()
    if text.isdigit():
        return int(text)
    report("started", f"{file} does not say when the group began")
    return file.stat().st_mtime_ns


def _is_group(path: Path) -> bool:
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        return False
    names = names_in(path)
    return not names or MEMBERS in names or STARTED in names


def _long_deserted(path: Path, older_than: float) -> bool:
    with suppress(FileExistsError):
        os.close(create(path / DESERTED))
    return time.time() - path.stat().st_mtime >= older_than


def _clear(path: Path, ripe: Callable[[], bool]) -> bool:
    """Remove a group's directory if nobody is in it and it is ripe."""
    with ExitStack() as locks:
        if not all(locks.enter_context(held(path / name)) for name in _LOCKS):
            return False
        if has_living(path) or not ripe():
            return False
        # The resource goes first: without it nobody takes the books that are left, should this be killed, for totals.
        # The lock files go last: whoever comes in between makes them anew, and then the directory stays.
        others = sorted((name for name in names_in(path) if name not in _LOCKS), key=lambda name: name != RESOURCE)
        for name in (*others, *_LOCKS):
            (path / name).unlink()
        path.rmdir()
    return True


def _has_owner(keys: Path) -> bool:
    descriptor = os.open(keys, os.O_RDONLY | GUARDED)
    try:
        return is_held(descriptor)
    finally:
        os.close(descriptor)
