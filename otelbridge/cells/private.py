"""Directories and files for one user alone, reached through open directories.

Whoever may write to a directory on the way can put another one in the place a path names; what is open stays what it
is. So a path is followed once, and from then on everything is done relative to the descriptor of the directory.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from otelbridge.cells.errors import UnusableError

if TYPE_CHECKING:
    from collections.abc import Generator

PRIVATE: Final = 0o600
"""The mode of every file of the room."""

_PRIVATE_DIRECTORY: Final = 0o700

# Not inherited by other programs, never through a symbolic link. Windows has none of these, and no shared cells.
_GUARDED: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_LISTED: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _GUARDED
# What is only passed through need not be readable.
_HELD: Final = getattr(os, "O_PATH", 0) | _LISTED


class Descriptor:
    """An open file, closed with this object.

    Programs that become daemons close whatever is open, and the number may be another file's afterwards: that is
    neither used nor closed.

    Attributes:
        status: What ``fstat`` said when it was new.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self.status = os.fstat(number)

    def __del__(self) -> None:
        self.close()

    def fileno(self) -> int:
        """Give its number, unchecked."""
        return self._number

    def look(self) -> os.stat_result | None:
        """Tell what the system says of it; None where it was closed."""
        try:
            status = os.fstat(self._number)
        except OSError:
            return None
        # What `os.path.samestat` does, at half its cost: this is asked for each process at each read.
        known = self.status
        return status if status.st_ino == known.st_ino and status.st_dev == known.st_dev else None

    def stat(self) -> os.stat_result:
        """Tell what the system says of it.

        Raises:
            OSError: If it was closed.
        """
        status = self.look()
        if status is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return status

    @property
    def number(self) -> int:
        """Its number, to be used while this object is there.

        Raises:
            OSError: If it was closed.
        """
        self.stat()
        return self._number

    def read(self, start: int = 0, size: int | None = None) -> bytes:
        """Read so many bytes, or as many as there were when it was opened; fewer where it ends before.

        Raises:
            OSError: If it cannot be read.
        """
        left = self.status.st_size - start if size is None else size
        pieces: list[bytes] = []
        while left > 0 and (piece := os.pread(self.number, left, start)):
            pieces.append(piece)
            start += len(piece)
            left -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close it. Twice is once."""
        number = self._number if self.look() else -1
        self._number = -1
        if number >= 0:
            os.close(number)


class Directory:
    """A directory, open. ``directory / name`` is an entry of it.

    It is opened when it is first used, and again where the descriptor was closed by another part of the program and the
    path still leads to the same directory. Another one is never used.

    Args:
        path: The directory.
        held: It, open.

    Attributes:
        path: Where it was found, for messages.
    """

    def __init__(self, path: Path, held: Descriptor | None = None) -> None:
        self.path: Path = path
        self._held: Descriptor | None = held

    def __truediv__(self, name: str) -> Entry:
        return Entry(self, name)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def held(self) -> Descriptor:
        """It, open.

        Raises:
            FileNotFoundError: If another one is in its place.
            OSError: If it cannot be opened.
        """
        held = self._held
        return self._reopened(held) if held is None or held.look() is None else held

    @property
    def descriptor(self) -> int:
        """The number of its descriptor, to be used while this object is there."""
        return self.held.fileno()

    def stat(self) -> os.stat_result:
        """Tell what the system says of it.

        Raises:
            FileNotFoundError: If it was removed.
            OSError: If it cannot be opened.
        """
        held = self._held
        status = (held.look() if held else None) or self._reopened(held).status
        if not status.st_nlink:
            raise FileNotFoundError(errno.ENOENT, "The directory was removed", str(self.path))
        return status

    def _reopened(self, known: Descriptor | None) -> Descriptor:
        if sys.platform == "win32":
            raise UnusableError("this system has no flock, so processes cannot share cells; each one counts alone")
        if known is not None:
            known.close()  # or it would take the same number for its own
        held = Descriptor(os.open(self.path, _HELD))
        if known is not None and not os.path.samestat(held.status, known.status):
            raise FileNotFoundError(errno.ENOENT, "Another directory is in its place", str(self.path))
        self._held = held
        return held

    def names(self) -> list[str]:
        """List it.

        Raises:
            OSError: If it cannot be listed now.
        """
        # What lists a descriptor moves its position, which forked children share.
        listed = os.open(".", _LISTED, dir_fd=self.descriptor)
        try:
            names = os.listdir(listed)  # noqa: PTH208  # one step, which a signal handler cannot leave half done
        finally:
            os.close(listed)
        if not names:
            self.stat()  # one that was removed seems empty
        return names

    def enter(self, name: str, *, make: bool = False) -> Directory:
        """Open a directory in it, or ``..``, that is this user's alone; it may be made where it is missing.

        Raises:
            UnusableError: If it is not a directory, another user's, or open to others.
            OSError: If it cannot be made or opened.
        """
        within, path = self.descriptor, self.path.parent if name == ".." else self.path / name
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, _PRIVATE_DIRECTORY, dir_fd=within)
                # The process' umask may have taken even the owner's rights.
                os.chmod(name, _PRIVATE_DIRECTORY, dir_fd=within)
        try:
            found = Directory(path, Descriptor(os.open(name, _HELD, dir_fd=within)))
        except OSError:
            _require_private(path, (self / name).lstat())  # says why
            raise
        _require_private(path, found.stat())
        return found


class Entry(NamedTuple):
    """A name in a directory, as a path is one in the file system."""

    directory: Directory
    name: str

    def __str__(self) -> str:
        return str(self.directory.path / self.name)

    def open(self, flags: int = os.O_RDONLY) -> Descriptor:
        """Open the file of that name, if it is this user's.

        Raises:
            PermissionError: If it belongs to another user.
            OSError: If it cannot be opened, or is a symbolic link.
        """
        file = Descriptor(os.open(self.name, flags | _GUARDED, PRIVATE, dir_fd=self.directory.descriptor))
        if file.status.st_uid != os.geteuid():
            raise PermissionError(f"the file {self} belongs to user {file.status.st_uid}, not to {os.geteuid()}")
        return file

    def lstat(self) -> os.stat_result:
        """Tell what the system says of it."""
        return os.stat(self.name, dir_fd=self.directory.descriptor, follow_symlinks=False)

    def is_at(self, file: Descriptor) -> bool:
        """Tell whether an open file is the one others find under the name."""
        try:
            return os.path.samestat(self.lstat(), file.status)
        except FileNotFoundError:
            return False

    def rename(self, other: Entry) -> None:
        """Give it another name in its directory, in the place of what has that."""
        within = self.directory.descriptor
        os.rename(self.name, other.name, src_dir_fd=within, dst_dir_fd=within)

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the name."""
        try:
            os.unlink(self.name, dir_fd=self.directory.descriptor)
        except FileNotFoundError:
            if not missing_ok:
                raise


def opened(directory: Directory | Path) -> Directory:
    """Give the directory a path names; one that is given stays as it is."""
    return Directory(directory) if isinstance(directory, Path) else directory


def create(entry: Entry, flags: int = 0) -> Descriptor:
    """Make a file for this user alone, and open it for reading and writing.

    Raises:
        OSError: If it exists or cannot be made.
    """
    file = entry.open(os.O_RDWR | os.O_CREAT | os.O_EXCL | flags)
    os.fchmod(file.number, PRIVATE)
    return file


def fill(entry: Entry, content: bytes) -> None:
    """Make a file for this user alone, with its content; after an error there is none.

    Raises:
        OSError: If it exists, cannot be made, or there is no room.
    """
    file = create(entry)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file.number, rest) :]
    except BaseException:
        entry.unlink()
        raise


def replace(entry: Entry, content: bytes) -> None:
    """Put a file in the place of another one or none, whole, at once; after an error nothing has changed.

    Raises:
        OSError: If it cannot be made, or there is no room.
    """
    with _draft(entry, content) as draft:
        draft.rename(entry)


def establish(entry: Entry, content: bytes) -> None:
    """Put a file in its place, whole, at once, unless there is one: of several who try, the first one decides.

    Raises:
        OSError: If it cannot be made, or there is no room.
    """
    # Unlike a rename, a link never replaces what another process was quicker to write.
    with _draft(entry, content) as draft, suppress(FileExistsError):
        within = entry.directory.descriptor
        os.link(draft.name, entry.name, src_dir_fd=within, dst_dir_fd=within)


@contextmanager
def _draft(entry: Entry, content: bytes) -> Generator[Entry]:
    draft = entry.directory / f"{entry.name}.tmp-{os.getpid()}-{os.urandom(4).hex()}"
    fill(draft, content)
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)


def _require_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise UnusableError(f"{path} is not a directory but a link or a file: remove it")
    if status.st_uid != os.geteuid():
        raise UnusableError(f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}: remove it")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        mode = stat.S_IMODE(status.st_mode)
        raise UnusableError(f"{path} has the mode {mode:o}, which lets others in: give it the mode 700, or remove it")
