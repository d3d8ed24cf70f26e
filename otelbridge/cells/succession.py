"""Which group the workers of a gunicorn master belong to, kept after the master it came from is gone.

On SIGUSR2 a gunicorn master starts a new one, which knows the old one's pid (``GUNICORN_PID``) only until the old one
ends. The first process that knows both writes down the group of the new master; workers started later read it there.

One small file a master in the user directory, ``.master-<digest>``: never a directory, so nobody takes it for a group.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from otelbridge.cells.locks import GUARDED, PRIVATE, owned
from otelbridge.cells.processes import effective_user, place, started
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from pathlib import Path

_RECORD = ".master-"
_DRAFT = ".draft-master-"
_LONGEST = 4096
# A new master's first worker may still need what is written about an old master that has just ended.
_KEPT_SECONDS = 3600.0


class _Record(NamedTuple):
    pid: int
    started: str | None
    place: str
    group: str


def recall(directory: Path, pid: int, service: str) -> str | None:
    """The group written down for a master.

    Args:
        directory: The user directory; it may not exist.
        pid: The master's process id.
        service: The service name.

    Returns:
        The group's value, or None where nothing is written down or it was about an earlier process with this pid.
    """
    record = _read(_path(directory, pid, service))
    if record is None or record.pid != pid or record.place != place():
        return None
    now = started(pid)
    return record.group if now is None or now == record.started else None


def remember(directory: Path, pid: int, service: str, group: str) -> None:
    """Write down which group a master's workers belong to; what is written about masters long gone is removed.

    Trouble (no such directory, disk full) is reported once and otherwise ignored: only workers that start after a
    SIGUSR2 and the end of the old master miss the record.

    Args:
        directory: The user directory.
        pid: The master's process id.
        service: The service name.
        group: The group's value.
    """
    path = _path(directory, pid, service)
    draft = directory / f"{_DRAFT}{os.getpid()}-{time.time_ns()}"
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | GUARDED, PRIVATE)
        try:
            os.write(descriptor, json.dumps(_Record(pid, started(pid), place(), group)).encode())
        finally:
            os.close(descriptor)
        draft.replace(path)
        _sweep(directory)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        warn_once(
            ("cells", "succession", str(directory)),
            "Cannot write down in %s which group gunicorn's workers belong to (%s): workers started after a SIGUSR2 "
            "may form a group of their own. Make the directory writable, or set OTELBRIDGE_GROUP",
            directory,
            error,
        )


def _path(directory: Path, pid: int, service: str) -> Path:
    facts = ascii((effective_user(), place(), pid, service))
    return directory / f"{_RECORD}{hashlib.sha256(facts.encode()).hexdigest()[:20]}"


def _read(path: Path) -> _Record | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | GUARDED)
        try:
            owned(descriptor)
            fields: Any = json.loads(os.read(descriptor, _LONGEST))
        finally:
            os.close(descriptor)
    except (OSError, ValueError, RecursionError):
        return None
    return _checked(fields)


def _checked(fields: Any) -> _Record | None:
    match fields:
        case [int(pid), (str() | None) as start, str(where), str(group)]:
            return _Record(pid, start, where, group)
        case _:
            return None


def _sweep(directory: Path) -> None:
    oldest = time.time() - _KEPT_SECONDS
    for path in (*directory.glob(f"{_RECORD}*"), *directory.glob(f"{_DRAFT}*")):
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime < oldest and not _needed(path):
                path.unlink()


def _needed(path: Path) -> bool:
    record = _read(path)
    if record is None:
        return False
    # A process of another container cannot be seen from here, so it may well be alive.
    return record.place != place() or (record.started is not None and started(record.pid) == record.started)
