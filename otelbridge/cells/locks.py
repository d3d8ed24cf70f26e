"""Kernel locks on files: they end with their holder, however it ends.

``flock`` belongs to the open file description. A forked child that closes its copy of a descriptor therefore does not
unlock what its parent holds; unlocking explicitly would, for both.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from otelbridge.cells.errors import UnusableError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Generator

    from otelbridge.cells.private import Descriptor, Entry

_PAUSE = 0.002
_JOIN_WAIT = 1.0


def lock_now(descriptor: int, *, shared: bool = False) -> bool:
    """Take a lock, alone or `shared`, if nobody stands in the way; tell whether it is held now.

    Raises:
        OSError: If the file cannot be locked at all.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(descriptor: int) -> None:
    """Give up a lock, also for copies of the descriptor in forked children."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def is_held(descriptor: int) -> bool:
    """Tell whether somebody else holds a file's exclusive lock.

    Args:
        descriptor: An open file, opened by the one who asks.

    Returns:
        Whether it is held; also true when the system does not say.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    unlock(descriptor)
    return False


@contextmanager
def held(file: Entry, *, shared: bool = False, wait: float = 0.0, make: bool = True) -> Generator[bool]:
    """Hold the lock of a lock file.

    Args:
        file: The lock file.
        shared: Whether others may hold it too.
        wait: How many seconds to try.
        make: Whether it is made when it is missing.

    Yields:
        Whether it is held.

    Raises:
        OSError: If the file cannot be opened, or is not this user's.
    """
    held = _locked(file, shared=shared, until=time.monotonic() + wait, flags=os.O_CREAT if make else 0)
    try:
        yield held is not None
    finally:
        if held is not None and held.look():
            unlock(held.number)
            held.close()


def join(file: Entry) -> Descriptor:
    """Share the lock of a lock file for as long as it, or a copy of it in a forked child, is open.

    Args:
        file: The lock file, which is made when it is missing.

    Raises:
        OSError: If the file cannot be opened, is not this user's, or another process holds its lock alone.
    """
    held = _locked(file, shared=True, until=time.monotonic() + _JOIN_WAIT)
    if held is None:
        raise UnusableError(f"{file} is locked by another process")
    return held


def _locked(file: Entry, *, shared: bool, until: float, flags: int = os.O_CREAT) -> Descriptor | None:
    while True:
        held = file.open(os.O_RDWR | flags)
        # It may have been removed and made anew before it was locked.
        if lock_now(held.number, shared=shared) and file.is_at(held):
            return held
        held.close()
        if time.monotonic() >= until:
            return None
        time.sleep(_PAUSE)
