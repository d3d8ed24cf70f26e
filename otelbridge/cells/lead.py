"""One process of a group does what must be done once, such as pushing; when it dies, another takes over."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from otelbridge.cells.locks import GUARDED, PRIVATE, lock_now, owned, require_locks, unlock
from otelbridge.concurrency import forks
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from pathlib import Path


class Lead:
    """A role that at most one process of a group has at a time, by a kernel lock on ``<name>.lock``.

    The kernel frees it at any kind of death. Nothing here raises. Where the lock cannot be had for any other reason
    than that somebody else has it (directory removed, no descriptor left, file system without locks), the role is *not*
    held and that is reported once: totals are cumulative, so what nobody pushes for a while is late, not lost, whereas
    two who push the same totals in turn make them go backwards.

    A forked child never has its parent's role. It closes its copy of the descriptor, without unlocking, as soon as it
    runs; a process forked behind Python's back does so when it asks `held` or calls `abandon`, and until then keeps
    the role from passing on should its parent die.

    Args:
        directory: The group's directory.
        name: What the role is called, for instance ``"push"``.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._descriptor = -1
        self._path = directory / f"{name}.lock"
        self._file: os.stat_result | None = None
        forks.register(after_in_child=self.abandon)

    def __del__(self) -> None:
        self._close()

    @property
    def held(self) -> bool:
        """Whether this process has the role now; it is taken, without waiting, where it is free.

        A lock file that was removed or replaced is given up, since others would not find it.
        """
        forks.notice()
        try:
            with _guard:
                return self._keep() or self._take()
        except OSError as error:
            warn_once(
                ("cells", "lead", str(self._path), str(error.errno)),
                "Cannot lock %s (%s): this process leaves the role to others. If none of them can either, what the "
                "role does is not done until the directory can be used again",
                self._path,
                error,
            )
            return False

    def release(self) -> None:
        """Give the role up, so that another process can take it. Nothing happens where it is not held."""
        forks.notice()
        with _guard:
            if self._descriptor >= 0 and self._is_open():
                # A child forked behind Python's back may still have a copy; only unlocking frees it then.
                unlock(self._descriptor)
            self._close()

    def abandon(self) -> None:
        """Forget, in a forked child, what the parent has, which keeps it."""
        self._close()

    def _keep(self) -> bool:
        if self._descriptor < 0:
            return False
        if self._is_open() and _is_at(self._path, self._descriptor):
            return True
        self._close()
        return False

    def _is_open(self) -> bool:
        """Whether the descriptor still is the lock file: programs that become daemons close whatever is open."""
        try:
            return self._file is not None and os.path.samestat(self._file, os.fstat(self._descriptor))
        except OSError:
            return False

    def _take(self) -> bool:
        require_locks()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | GUARDED, PRIVATE)
        try:
            status = owned(descriptor)
            taken = lock_now(descriptor) and _is_at(self._path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if taken:
            self._descriptor, self._file = descriptor, status
        else:
            os.close(descriptor)
        return taken

    def _close(self) -> None:
        if self._descriptor >= 0 and self._is_open():
            with suppress(OSError):
                os.close(self._descriptor)
        self._descriptor, self._file = -1, None


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


# Also held while Python forks: a child that began between the lock and its being noted would have a copy of the
# descriptor that nobody closes, and the role would not pass on as long as that child lives.
_guard = forks.lock()


def _let_go() -> None:
    # Not where a library written in C has forked, without a word before.
    if forks.owns(_guard):
        _guard.release()


forks.register(before=_guard.acquire, after_in_parent=_let_go, after_in_child=_let_go)
