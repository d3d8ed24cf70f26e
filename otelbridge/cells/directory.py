"""Where the files of a user's groups lie: a private directory that lives in memory, if there is one."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from otelbridge.cells.errors import UnusableError
from otelbridge.cells.group import GroupDirectory, group_directory, remove_group, remove_orphans
from otelbridge.cells.private import Directory, create

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GroupDirectory", "UnusableError", "group_directory", "remove_group", "remove_orphans", "user_directory"]

_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_IN_RAM: Final = ("/dev/shm", "/run")  # noqa: S108  # the directory in it is private, and checked
_CURE: Final = (
    "Name one with OTELBRIDGE_RUN_DIRECTORY in which this user may make files, and only root could replace them"
)
_TEMPORARY: Final = ("/tmp", "/var/tmp")  # noqa: S108  # the same


def user_directory(setting: Path | None = None) -> tuple[Directory, str | None]:
    """Find or make the directory that holds this user's groups.

    It is ``otelbridge-<effective user id>`` in the first of these that can be used: the setting,
    ``$XDG_RUNTIME_DIR``, ``/dev/shm``, ``/run``, ``$TMPDIR``, ``/tmp``, ``/var/tmp``. It has the mode 0700 and
    belongs to the user; one that another user made, or could put another one in the place of, is not used.

    Returns:
        The directory, and what the user should know about the choice: that the setting could not be used, or that the
        files lie on a disk, where a store may wait until the disk has written. None when there is nothing to tell.

    Raises:
        UnusableError: If none can be used; it names each one and why. Also on systems without the locks shared cells
            need.
    """
    refused: list[str] = []
    for base in _bases(setting):
        try:
            directory = _usable(base)
        except OSError as error:
            refused.append(f"{base} ({error.strerror or error})")
            continue
        return directory, _remark(directory.path, base, setting, refused)
    raise UnusableError(f"no directory can hold the cells that processes share; tried: {', '.join(refused)}. {_CURE}")


def in_memory(path: Path) -> bool:
    """Tell whether a directory lies on a file system that never writes to a disk, as far as the system says."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        device = path.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        # Third field: the device. After the dash: the type of the file system. See proc_pid_mountinfo(5).
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [wanted]:
            return after.split(" ")[0] in _IN_MEMORY
    return False


def _bases(setting: Path | None) -> Iterator[Path]:
    if setting is not None:
        yield setting
    # Not what `tempfile` says: its last resort is the working directory, which is the application's, and need not be
    # the same for all processes of a group.
    named = (os.environ.get("XDG_RUNTIME_DIR", ""), *_IN_RAM, os.environ.get("TMPDIR", ""), *_TEMPORARY)
    yield from (path for path in dict.fromkeys(map(Path, named)) if path.is_absolute())


def _usable(base: Path) -> Directory:
    within = Directory(base.resolve(strict=True))
    _require_safe(base, within.stat())
    for path in dict.fromkeys((*base.parents, base, *within.path.parents)):
        _require_safe(path, path.lstat())
    directory = within.enter(f"otelbridge-{os.geteuid()}", make=True)
    # Only an attempt tells of a read-only mount, a quota, or a file system without room for names.
    probe = directory / f".probe-{os.getpid()}-{os.urandom(4).hex()}"
    create(probe)
    probe.unlink()
    return directory


def _require_safe(path: Path, status: os.stat_result) -> None:
    """Refuse a directory, or a link to one, in which others may put another one in the place of what is there."""
    # The owner of the root directory may replace everything. It is another one than root within a user namespace.
    if status.st_uid not in {0, os.geteuid(), Path("/").stat().st_uid}:
        raise UnusableError(f"{path} belongs to user {status.st_uid}, who may replace what is in it")
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    if others_write and stat.S_ISDIR(status.st_mode):
        raise UnusableError(f"{path} has the mode {stat.S_IMODE(status.st_mode):o}: others may replace what is in it")


def _remark(path: Path, base: Path, setting: Path | None, refused: list[str]) -> str | None:
    remarks: list[str] = []
    if setting is not None and base != setting:
        remarks.append(f"{refused[0]} cannot be used; the cells are in {path} instead. {_CURE}")
    if not in_memory(path):
        remarks.append(
            f"{path} does not lie in memory, as far as the system tells: a measurement may wait for the disk. "
            "Name a directory on a tmpfs"
        )
    return "; ".join(remarks) or None
