"""Which processes belong together, told from evidence that this process finds about itself.

Processes that serve one port, or one queue, are seen as one: they form a *group* and share a directory. The rule is
explicit evidence first, and never "same parent" alone, since two applications started from one shell have one parent.

========================== ============================================================================================
started by                 group
========================== ============================================================================================
`OTELBRIDGE_GROUP` is set  as it says; see below
uWSGI                      all workers, mules and spoolers of a master; without a master, of the first worker
gunicorn                   all workers of a master, of any worker class, with and without preload, over SIGHUP and USR2
multiprocessing            children and parent, by any start method (`uvicorn --workers`, ProcessPoolExecutor)
celery prefork             the pool's processes and the main process
`uvicorn --reload`         one group over all reloads: counters go on, as the reloader stays the parent
Jupyter                    one group a kernel, with whatever the kernel starts after `init()`
pytest-xdist               one group a worker, unless the controller initialised before it started them
supervisord, systemd, rq   each process alone, unless the operator sets `OTELBRIDGE_GROUP` or a parent initialised
plain `os.fork`            as `subprocess`
`subprocess`               with the process that started it if that one initialised before and the service name is the
                           same; else alone
========================== ============================================================================================

The first process of a group that initialises puts `OTELBRIDGE_GROUP` into its environment, so that everything it starts
from then on joins without further evidence. The directory's name is made of that value and of the service name and
user id, so that another program started as a subprocess does not mix its numbers into the group's. An operator may set
the variable: the same value, service and user make one group, also across restarts, whose numbers then go on.

What remains uncertain: a gunicorn master that has taken over by SIGUSR2 is known to be a successor by a record in the
user directory. Where that directory cannot be written, or was emptied, or no worker had initialised while the old
master was alive, its workers form a new group. Where the start time of a process cannot be read (``hidepid``), its pid
alone identifies it. Workers that run as different users form one group each.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otelbridge.cells import gunicorn, succession
from otelbridge.cells.processes import effective_user, place, started
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otelbridge.cells.private import Directory

GROUP_VARIABLE: Final = "OTELBRIDGE_GROUP"
"""The environment variable that names the group, set by the first process that initialises or by the operator."""

_READABLE = 40
_ended: Counter[int] = Counter()
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


class Membership(NamedTuple):
    """The group a process belongs to.

    Attributes:
        name: Name of the group's directory: ASCII letters, digits, ``_``, ``.`` and ``-``, at most 53 characters.
        why: The evidence: ``"OTELBRIDGE_GROUP"``, ``"uwsgi master"``, ``"gunicorn worker"``, ``"gunicorn master
            (preload)"``, ``"multiprocessing child"``, ``"celery worker"`` or ``"alone"``.
        pid: The process that stands for the group; None when the environment says it all.
    """

    name: str
    why: str
    pid: int | None


class _Evidence(NamedTuple):
    why: str
    pid: int


def group_of(service: str, user_directory: Directory | Path | None = None) -> Membership:
    """Find the group of this process, and set `OTELBRIDGE_GROUP` so that what is started from here joins it.

    Never raises for what it finds.

    Args:
        service: The service name; processes of different services never share a group.
        user_directory: The directory that holds this user's groups. With it, gunicorn workers stay together over
            SIGUSR2 also after the old master has ended; without it, only while it lives.

    Returns:
        The group's name, and the evidence for it.
    """
    value = os.environ.get(GROUP_VARIABLE)
    if value:
        return Membership(_name(value, service), GROUP_VARIABLE, None)
    evidence = _find()
    if evidence.why.startswith("gunicorn"):
        value = _group_of_master(evidence.pid, service, user_directory)
    else:
        value = _key(evidence.pid, service, _ended[evidence.pid])
    os.environ[GROUP_VARIABLE] = value
    return Membership(_name(value, service), *evidence)


def begin_anew(membership: Membership) -> None:
    """Let the next start of a process that was alone begin a group of its own, as that of the last one stays.

    A child that finds its parent by multiprocessing follows it there when it is forked later.
    """
    if membership.pid is not None:
        _ended[membership.pid] += 1


def _find() -> _Evidence:
    for find in _FINDERS:
        try:
            evidence = find()
        except Exception as error:
            # They look into other people's objects, which may be of any kind.
            warn_once(("cells", find.__name__), "Cannot tell whether this process belongs to a server: %r", error)
            continue
        if evidence is not None:
            return evidence
    return _Evidence("alone", os.getpid())


def _uwsgi_module() -> Any | None:
    """The module uWSGI puts into its processes; an application may have one of the same name."""
    module: Any = sys.modules.get("uwsgi")
    return module if hasattr(module, "masterpid") else None


def _uwsgi() -> _Evidence | None:
    uwsgi = _uwsgi_module()
    if uwsgi is None:
        return None
    # Without a master, the first worker is the one that forks the others; before it does so, its id is not noted yet.
    first = next((worker["pid"] for worker in uwsgi.workers()), 0)
    return _Evidence("uwsgi master", uwsgi.masterpid() or first or os.getpid())


def _gunicorn() -> _Evidence | None:
    master = gunicorn.master()
    if master is None:
        return None
    return _Evidence("gunicorn master (preload)" if master == os.getpid() else "gunicorn worker", master)


def _multiprocessing() -> _Evidence | None:
    # A child of multiprocessing has loaded the module; loading it here would cost the others for nothing.
    module: Any = sys.modules.get("multiprocessing.process")
    parent = module.parent_process() if module is not None else None
    return None if parent is None else _Evidence("multiprocessing child", parent.pid)


def _billiard() -> _Evidence | None:
    module: Any = sys.modules.get("billiard.process")
    parent = getattr(module.current_process(), "_parent_pid", None) if module is not None else None
    return None if parent is None else _Evidence("celery worker", parent)


_FINDERS: Final[tuple[Callable[[], _Evidence | None], ...]] = (_uwsgi, _gunicorn, _multiprocessing, _billiard)


def _group_of_master(pid: int, service: str, user_directory: Directory | Path | None) -> str:
    """The group of a gunicorn master: that of the master it took over from, or one of its own."""
    if user_directory is None:
        return _inherited(service, None) or _key(pid, service)
    known = succession.recall(user_directory, pid, service)
    if known is not None:
        return known
    value = _inherited(service, user_directory) or _key(pid, service)
    succession.remember(user_directory, pid, service, value)
    return value


def _inherited(service: str, user_directory: Directory | Path | None) -> str | None:
    old = gunicorn.old_master()
    if old is None:
        return None
    known = succession.recall(user_directory, old, service) if user_directory is not None else None
    if known is None and started(old) is not None:
        return _key(old, service)
    return known


def _key(pid: int, service: str, ended: int = 0) -> str:
    facts = (effective_user(), place(), pid, started(pid), service, *([ended] if ended else []))
    return f"{_readable(service)}-{_digest(facts)}"


def _name(value: str, service: str) -> str:
    return f"{_readable(value)}-{_digest((value, service, effective_user()))}"


def _readable(text: str) -> str:
    return _UNSAFE.sub("-", text)[:_READABLE].strip("-.") or "group"


def _digest(facts: tuple[object, ...]) -> str:
    return hashlib.sha256(ascii(facts).encode()).hexdigest()[:12]
