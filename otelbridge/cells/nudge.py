"""Datagrams that ask the processes of a group to refresh what they observe. They say "now" and never carry data."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from otelbridge.cells.locks import PRIVATE
from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings, warn_once

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

SUFFIX: Final = ".bell"
"""What follows a process's uid in the name of its socket. A killed process leaves the file; any other may remove it."""

# sun_path holds 108 bytes on Linux and 104 elsewhere, a closing NUL among them (unix(7)).
_LONGEST_ADDRESS = 103
_PATIENCE = 1.0


class Bell:
    """What one process hears of others: a unix datagram socket ``<uid>.bell``, mode 0600, in the group's directory.

    Nothing here raises. Without a socket (Windows, no descriptor left, directory gone) `wait` only waits, which is
    reported once: observed values then are as old as the caller's timer makes them.

    A forked child has no part in its parent's bell: it would take nudges away from the parent. Its copy of the
    descriptor is closed and `wait` returns at once, as after `close`.

    Args:
        directory: The group's directory.
        uid: The process's uid, as in the names of its other files.
    """

    def __init__(self, directory: Path, uid: str) -> None:
        self._directory = directory
        self._uid = uid
        self._in_use = forks.lock()
        self._ended = forks.event()
        self._socket = self._bound()
        forks.register(after_in_child=self.abandon)

    def wait(self, timeout: float) -> bool:
        """Wait for a nudge, in the one thread that serves this bell.

        Args:
            timeout: Seconds to wait at most; 0 only looks.

        Returns:
            Whether there was a nudge; several that came before count as one. False at once after `close`.
        """
        forks.notice()
        with late_warnings, self._in_use:
            nudged = self._hear(timeout)
            if self._ended.is_set():
                self._drop()
                return False
            return nudged

    def close(self) -> None:
        """Remove the socket and wake the waiting thread. Twice is once."""
        forks.notice()
        if self._ended.is_set():
            return
        self._ended.set()
        if self._socket is None:
            return
        woken = ring(self._directory, [self._uid])
        with suppress(OSError):
            _path(self._directory, self._uid).unlink()
        # Where somebody removed the file before, the waiting thread hears nothing and closes when its time is over.
        if self._in_use.acquire(timeout=_PATIENCE if woken else 0.0):
            try:
                self._drop()
            finally:
                self._in_use.release()

    def abandon(self) -> None:
        """Forget, in a forked child, the parent's socket, which stays as it is."""
        self._ended.set()
        self._drop()

    def _bound(self) -> socket.socket | None:
        try:
            bell = _datagrams()
            try:
                with _address(self._directory, self._uid) as address:
                    bell.bind(address)
                _path(self._directory, self._uid).chmod(PRIVATE)
            except BaseException:
                bell.close()
                raise
        except OSError as error:
            self._warn(error)
            return None
        return bell

    def _warn(self, error: OSError) -> None:
        warn_once(
            ("cells", "bell", str(self._directory), str(error.errno)),
            "Cannot listen for nudges in %s (%s): observed values are refreshed by time only",
            self._directory,
            error,
        )

    def _hear(self, timeout: float) -> bool:
        if self._socket is None:
            self._ended.wait(timeout)
            return False
        try:
            nudged = _received(self._socket, timeout)
            while nudged and _received(self._socket, 0.0):
                pass
        except OSError as error:
            # Somebody closed the descriptor, as programs do that become daemons; its number may be another file's now.
            self._socket.detach()
            self._socket = None
            self._warn(error)
            self._ended.wait(timeout)
            return False
        return nudged

    def _drop(self) -> None:
        bell, self._socket = self._socket, None
        if bell is not None:
            bell.close()


def ring(directory: Path, uids: Iterable[str]) -> int:
    """Nudge processes, without waiting for any of them.

    Args:
        directory: The group's directory.
        uids: Whom to nudge; those who are dead, or have no bell, are passed over.

    Returns:
        How many will wake up. 0 where there are no unix sockets (Windows).
    """
    try:
        with _datagrams() as sender:
            sender.setblocking(False)
            return sum(_nudged(sender, directory, uid) for uid in uids)
    except OSError:
        return 0


def _nudged(sender: socket.socket, directory: Path, uid: str) -> bool:
    try:
        with _address(directory, uid) as address:
            sender.sendto(b"!", address)
    except BlockingIOError:
        # Its queue is full of nudges it has not heard yet, so it will wake up all the same.
        return True
    except OSError:
        return False
    return True


def _received(bell: socket.socket, timeout: float) -> bool:
    bell.settimeout(timeout)
    try:
        bell.recv(1)
    except (TimeoutError, BlockingIOError):
        return False
    return True


def _datagrams() -> socket.socket:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError("this system has no unix sockets")
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


@contextmanager
def _address(directory: Path, uid: str) -> Generator[bytes]:
    """An address short enough for a socket; a directory with a long name is reached through a descriptor."""
    path = os.fsencode(_path(directory, uid))
    if len(path) <= _LONGEST_ADDRESS:
        yield path
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield os.fsencode(f"/proc/self/fd/{descriptor}/{uid}{SUFFIX}")
    finally:
        os.close(descriptor)


def _path(directory: Path, uid: str) -> Path:
    return directory / f"{uid}{SUFFIX}"
