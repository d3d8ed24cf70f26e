"""The directory of one group of processes: how it begins, and how it ends."""

from __future__ import annotations

import os
import stat
import time
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from otelbridge.cells.errors import UnusableError
from otelbridge.cells.locks import held, is_held, join
from otelbridge.cells.names import (
    DESERTED,
    FOLDER,
    GROUP,
    KEYS,
    MEMBERS,
    NEW,
    PRESENT,
    RESOURCE,
    STARTED,
    is_ours,
)
from otelbridge.cells.private import Directory, create, establish, opened
from otelbridge.cells.volume import report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otelbridge.cells.private import Entry

_TRIES = 20
_WAIT = 1.0
_LOCKS: Final = (FOLDER, PRESENT, MEMBERS)

DAY: Final = 86_400.0
"""Seconds for which what a deserted group had counted is kept, when it could not be delivered all that time."""


class GroupDirectory(Directory):
    """The directory of a group, as long as this process belongs to it. Use `group_directory` to get one.

    While a process is in the group, no other one removes the directory. A forked child is in it, too.

    Args:
        directory: The directory.
        started_ns: When the group began, where it is not written there; None for now.

    Attributes:
        started_ns: When the first process of the group began, in nanoseconds since the epoch; the same for all.
    """

    def __init__(self, directory: Directory, started_ns: int | None = None) -> None:
        super().__init__(directory.path, directory.held)
        self.started_ns = _started(directory, started_ns)
        self._presence = join(directory / PRESENT)

    @property
    def exists(self) -> bool:
        """Whether it is still there."""
        try:
            self.stat()
        except OSError:
            return False
        return True

    def restore(self, user: Directory) -> None:
        """Make the directory anew after it was removed. All that refers to this object goes on with the new one.

        Raises:
            OSError: If it cannot be made.
        """
        again = group_directory(user, self.path.name, self.started_ns)
        self.path, self._held, self._presence = again.path, again.held, again._presence

    def leave(self) -> None:
        """Leave the group: this process does not keep the directory from being removed any longer."""
        # Closed, not unlocked: a forked child shares this lock and may still be in the group.
        self._presence.close()


def group_directory(user: Directory | Path, name: str, started_ns: int | None = None) -> GroupDirectory:
    """Find or make the directory of a group, and enter the group.

    Args:
        user: The user's directory.
        name: The name of the group, as `otelbridge.cells.evidence` makes it.
        started_ns: When the group began, where that is known; see `GroupDirectory`.

    Raises:
        ValueError: If the name is none of a group.
        UnusableError: If the directory is not this user's alone, or keeps being removed.
        OSError: If it cannot be made or written to.
    """
    if not GROUP.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a group: it must be like 'shop-0123456789ab'")
    user = opened(user)
    for _ in range(_TRIES):
        # A process that found the group deserted may be removing it; then it is made anew.
        with suppress(FileNotFoundError):
            directory = user.enter(name, make=True)
            with held(directory / MEMBERS, shared=True, wait=_WAIT) as safe:
                if safe:
                    group = GroupDirectory(directory, started_ns)
                    (directory / DESERTED).unlink(missing_ok=True)
                    return group
        user.stat()
    raise UnusableError(f"{user / name} is being removed by other processes again and again")


def enter_deserted(directory: Directory) -> GroupDirectory | None:
    """Enter a group that no process is in, to do what its own can do no longer.

    It stays marked as deserted, by a mark as old as the first look that found it so. While a process is in it, no other
    one removes it.

    Returns:
        The directory; None where a process lives in it, or it is just being removed.

    Raises:
        OSError: If it cannot be read or written to.
    """
    # Makes no lock file: in a directory that is just being removed it would be left.
    with held(directory / PRESENT, make=False) as alone:
        if not alone or has_living(directory):
            return None
    with held(directory / MEMBERS, shared=True, wait=_WAIT, make=False) as safe:
        if not safe:
            return None
        _mark_deserted(directory)
        return GroupDirectory(directory)


def has_living(directory: Directory) -> bool:
    """Tell whether a book in a group's directory has a living owner, which is quick to see.

    Raises:
        OSError: If it cannot be read.
    """
    return any(_has_owner(directory / name) for name in directory.names() if name.endswith((KEYS, NEW)))


def deserted_for(group: GroupDirectory) -> float:
    """Tell for how many seconds a group has been known to be deserted; 0 where it is not marked so."""
    try:
        return max(time.time() - (group / DESERTED).lstat().st_mtime, 0.0)
    except OSError:
        return 0.0


def remove_group(group: GroupDirectory) -> bool:
    """Leave a group, and remove its directory if nobody else is in it.

    What its processes had counted is gone then: this is for a group that no process can join later.

    Returns:
        Whether the directory was removed.
    """
    group.leave()
    try:
        return _clear(group, lambda: True)
    except OSError:
        return False


def remove_orphans(user: Directory | Path, older_than: float = 3600.0, pushed_older_than: float = DAY) -> int:
    """Remove the directories of groups that ended long ago.

    A group has ended when no process is in it and no book has a living owner. Since nothing tells when that happened, a
    group that is found so is marked first, and removed when the mark is old and nothing has changed since. What does
    not look like a group in every respect is left alone.

    Args:
        user: The user's directory.
        older_than: How many seconds ago a group must have been found deserted.
        pushed_older_than: The same for a group whose totals are pushed: the next start is to find them.

    Returns:
        How many were removed.
    """
    removed = 0
    with suppress(OSError):
        user = opened(user)
        for name in filter(GROUP.fullmatch, user.names()):
            with suppress(OSError):
                directory = user.enter(name)
                age = pushed_older_than if RESOURCE in directory.names() else older_than
                removed += _clear(directory, partial(_long_deserted, directory, age))
    return removed


def _started(directory: Directory, known: int | None) -> int:
    """When the group began; the first process to ask decides."""
    file = directory / STARTED
    try:
        said = file.open()
    except FileNotFoundError:
        establish(file, b"%d\n" % (known or time.time_ns()))
        said = file.open()
    text = said.read().strip()
    if text.isdigit():
        return int(text)
    report("started", f"{file} does not say when the group began")
    return said.status.st_mtime_ns


def _mark_deserted(directory: Directory) -> None:
    with suppress(FileExistsError):
        create(directory / DESERTED)


def _long_deserted(directory: Directory, older_than: float) -> bool:
    _mark_deserted(directory)
    return time.time() - directory.stat().st_mtime >= older_than


def _clear(directory: Directory, ripe: Callable[[], bool]) -> bool:
    """Remove a group's directory if it looks like one, no process is in it and it is ripe."""
    if not all(is_ours(name) and not stat.S_ISDIR((directory / name).lstat().st_mode) for name in directory.names()):
        return False
    with ExitStack() as locks:
        if not all(locks.enter_context(held(directory / name)) for name in _LOCKS):
            return False
        if has_living(directory) or not ripe():
            return False
        # The resource goes first: without it nobody takes the books that are left, should this be killed, for totals.
        # The lock files go last: whoever comes in between makes them anew, and then the directory stays.
        others = sorted((name for name in directory.names() if name not in _LOCKS), key=lambda name: name != RESOURCE)
        for name in (*others, *_LOCKS):
            (directory / name).unlink()
        user = directory.enter("..")
        os.rmdir(directory.path.name, dir_fd=user.descriptor)
    return True


def _has_owner(keys: Entry) -> bool:
    file = keys.open()
    return is_held(file.number)
