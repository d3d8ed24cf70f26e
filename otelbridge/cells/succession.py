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
from typing import TYPE_CHECKING, NamedTuple

from otelbridge.cells.private import opened, replace
from otelbridge.cells.processes import effective_user, place, started
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from pathlib import Path

    from otelbridge.cells.private import Directory, Entry

_RECORD = ".master-"
_LONGEST = 4096
# A new master's first worker may still need what is written about an old master that has just ended.
_KEPT_SECONDS = 3600.0


class _Record(NamedTuple):
    pid: int
    started: str | None
    place: str
    group: str


def recall(directory: Directory | Path, pid: int, service: str) -> str | None:
    """The group written down for a master.

    Returns:
        The group's value, or None where nothing is written down or it was about an earlier process with this pid.
    """
    record = _read(_file(opened(directory), pid, service))
    if record is None or record.pid != pid or record.place != place():
        return None
    now = started(pid)
    return record.group if now is None or now == record.started else None


def remember(directory: Directory | Path, pid: int, service: str, group: str) -> None:
    """Write down which group a master's workers belong to; what is written about masters long gone is removed.

    Trouble (no such directory, disk full) is reported once and otherwise ignored: only workers that start after a
    SIGUSR2 and the end of the old master miss the record.
    """
    directory = opened(directory)
    record = json.dumps(_Record(pid, started(pid), place(), group)).encode()
    try:
        replace(_file(directory, pid, service), record)
        _sweep(directory)
    except OSError as error:
        warn_once(
            ("cells", "succession", str(directory)),
            "Cannot write down in %s which group gunicorn's workers belong to (%s): workers started after a SIGUSR2 "
            "may form a group of their own. Make the directory writable, or set OTELBRIDGE_GROUP",
            directory,
            error,
        )


def _file(directory: Directory, pid: int, service: str) -> Entry:
    facts = ascii((effective_user(), place(), pid, service))
    return directory / f"{_RECORD}{hashlib.sha256(facts.encode()).hexdigest()[:20]}"


def _read(file: Entry) -> _Record | None:
    try:
        match json.loads(file.open(os.O_RDONLY | os.O_NONBLOCK).read(0, _LONGEST)):
            case [int(pid), (str() | None) as start, str(where), str(group)]:
                return _Record(pid, start, where, group)
            case _:
                return None
    except (OSError, ValueError, RecursionError):
        return None


def _sweep(directory: Directory) -> None:
    oldest = time.time() - _KEPT_SECONDS
    for name in directory.names():
        if name.startswith(_RECORD):
            file = directory / name
            with suppress(FileNotFoundError):
                if file.lstat().st_mtime < oldest and not _needed(file):
                    file.unlink()


def _needed(file: Entry) -> bool:
    record = _read(file)
    if record is None:
        return False
    # A process of another container cannot be seen from here, so it may well be alive.
    return record.place != place() or (record.started is not None and started(record.pid) == record.started)
