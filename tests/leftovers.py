"""Nothing that a run of the tests started or stored outlives it, whatever becomes of pytest.

All that a run stores in memory lies in one directory, and what is too large for that in another. A program that was
started since then has the directory's name in its environment, and a forked child has the directory open, as pytest
has. By these two marks a watchdog, which is this module run as a program, finds whatever is left once pytest has ended
or was killed, ends it, and removes the directories.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "TESTS_DIRECTORY"
_PREFIX = "otelbridge-tests-"
_SYSTEM = Path("/proc")
_SECONDS_TO_DIE = 60.0
_strangers: set[int] = set()


@contextmanager
def contained() -> Iterator[None]:
    """Give this run its directory and its watchdog; fail when processes are left at the end."""
    directory = tempfile.mkdtemp(prefix=_PREFIX, dir=_memory())
    Path(directory).chmod(0o711)  # tests that become another user have places in it
    mark = os.open(directory, os.O_RDONLY)
    watchdog = subprocess.Popen(
        [sys.executable, "-I", __file__, str(os.getpid()), directory],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Neither ^C nor what ends pytest's process group ends it.
        start_new_session=True,
    )
    os.environ[VARIABLE] = directory
    try:
        yield
        left = lasting(members(directory), 30.0)
    finally:
        del os.environ[VARIABLE]
        os.close(mark)
        _clear(directory)
        watchdog.kill()
        watchdog.wait()
    assert not left, "the tests left processes: " + describe(left)


@contextmanager
def memory_directory(prefix: str = "") -> Iterator[Path]:
    """A directory of its own in memory, where there is one; it goes with the block, or with the run."""
    base = os.environ.get(VARIABLE) or _memory()
    with tempfile.TemporaryDirectory(prefix=prefix, dir=base, ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def disk_directory() -> Path:
    """The directory of this run for what is too large for memory, and must not be found below pytest's own."""
    place = _on_disk(os.environ[VARIABLE])
    place.mkdir(exist_ok=True)
    return place


def members(directory: str | None = None) -> set[int]:
    """The processes that a run, by default this one, started and that still live, the asking one left out."""
    found = set(_pids()) - {os.getpid(), *_helpers()}
    if directory is not None:
        return {pid for pid in found if _belongs(_SYSTEM / str(pid), directory)}
    # Asked before and after each test, so that what once was none of ours is not looked at again.
    mine = {pid for pid in found - _strangers if _belongs(_SYSTEM / str(pid), os.environ[VARIABLE])}
    _strangers.intersection_update(found)
    _strangers.update(found - mine)
    return mine


def lasting(pids: set[int], seconds: float) -> set[int]:
    """Those of some processes that have not ended after a while."""
    end = time.monotonic() + seconds
    while (pids := {pid for pid in pids if _lives(pid)}) and time.monotonic() < end:
        time.sleep(0.02)
    return pids


def kill(pids: set[int]) -> None:
    """End processes at once."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def describe(pids: set[int]) -> str:
    """Their ids and command lines."""
    return ", ".join(f"{pid} ({_command(pid)})" for pid in sorted(pids))


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _pids() -> list[int]:
    return [int(entry.name) for entry in _SYSTEM.iterdir() if entry.name.isdigit()] if _SYSTEM.is_dir() else []


def _helpers() -> set[int | None]:
    """The processes that multiprocessing starts once for all, and that end with this one."""
    tracker = sys.modules.get("multiprocessing.resource_tracker")
    server = sys.modules.get("multiprocessing.forkserver")
    return {
        getattr(getattr(tracker, "_resource_tracker", None), "_pid", None),
        getattr(getattr(server, "_forkserver", None), "_forkserver_pid", None),
    }


def _belongs(process: Path, directory: str) -> bool:
    # What ends while it is looked at, or is another user's, is none of ours.
    with suppress(OSError):
        if b"multiprocessing.resource_tracker" in (process / "cmdline").read_bytes():
            return False  # Python keeps it for as long as the process that needed it lives
        if f"{VARIABLE}={directory}\0".encode() in (process / "environ").read_bytes():
            return True
        return any(str(opened.readlink()) == directory for opened in (process / "fd").iterdir())
    return False


def _lives(pid: int) -> bool:
    try:
        # Behind the name of the program, which may hold anything.
        return (_SYSTEM / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return (_SYSTEM / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"


def _clear(directory: str) -> None:
    end = time.monotonic() + _SECONDS_TO_DIE
    # Again and again, since what is about to be killed may start more.
    while (left := members(directory)) and time.monotonic() < end:
        kill(left)
        time.sleep(0.02)
    for place in (Path(directory), _on_disk(directory)):
        shutil.rmtree(place, ignore_errors=True)


def _on_disk(directory: str) -> Path:
    return Path(tempfile.gettempdir(), Path(directory).name + "-on-disk")


def _watch(parent: int, directory: str) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    _clear(directory)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2])
