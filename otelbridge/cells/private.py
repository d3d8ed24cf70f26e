"""Directories and files for one user alone."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from otelbridge.cells.errors import UnusableError
from otelbridge.cells.locks import GUARDED, PRIVATE

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_PRIVATE_DIRECTORY = 0o700


def make_private(path: Path) -> None:
    """Make a directory for this user alone, or make sure that it is one.

    Args:
        path: The directory.

    Raises:
        UnusableError: If it is not a directory, somebody else's, or open to others.
        OSError: If it cannot be made.
    """
    with suppress(FileExistsError):
        path.mkdir(_PRIVATE_DIRECTORY)
        # The process' umask may have taken even the owner's rights.
        path.chmod(_PRIVATE_DIRECTORY)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UnusableError(f"{path} is not a directory but a link or a file")
    if status.st_uid != os.geteuid():
        raise UnusableError(f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UnusableError(f"{path} has the mode {stat.S_IMODE(status.st_mode):o}, which lets others in")


def create(path: Path, flags: int = 0) -> int:
    """Make a file for this user alone.

    Args:
        path: The file, which must not exist.
        flags: Further flags of ``os.open``.

    Returns:
        Its descriptor, open for reading and writing.

    Raises:
        OSError: If it exists or cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | GUARDED | flags, PRIVATE)
    try:
        os.fchmod(descriptor, PRIVATE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def fill(path: Path, content: bytes) -> None:
    """Make a file for this user alone, with its content; after an error there is none.

    Args:
        path: The file, which must not exist.
        content: What is written.

    Raises:
        OSError: If it exists, cannot be made, or there is no room.
    """
    descriptor = create(path)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


def replace(path: Path, content: bytes) -> None:
    """Put a file in the place of another one or none, whole, at once; after an error nothing has changed.

    Args:
        path: The file.
        content: What is written.

    Raises:
        OSError: If it cannot be made, or there is no room.
    """
    with _draft(path, content) as draft:
        draft.rename(path)


def establish(path: Path, content: bytes) -> None:
    """Put a file in its place, whole, at once, unless there is one: of several who try, the first one decides.

    Args:
        path: The file.
        content: What is written.

    Raises:
        OSError: If it cannot be made, or there is no room.
    """
    # Unlike a rename, a link never replaces what another process was quicker to write.
    with _draft(path, content) as draft, suppress(FileExistsError):
        os.link(draft, path)


@contextmanager
def _draft(path: Path, content: bytes) -> Generator[Path]:
    draft = path.with_name(f"{path.name}.tmp-{os.getpid()}-{os.urandom(4).hex()}")
    fill(draft, content)
    try:
        yield draft
    finally:
        draft.unlink(missing_ok=True)
