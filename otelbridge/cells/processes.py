"""What tells one process from every other: a pid alone does not, since the kernel uses pids again."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

# Field 22 of /proc/<pid>/stat (proc_pid_stat(5)), counted from the field that follows the command's closing bracket.
_START_FIELD = 19


def effective_user() -> int:
    """The effective user id, 0 where the system has none (Windows)."""
    return os.geteuid() if hasattr(os, "geteuid") else 0


@lru_cache(maxsize=1)
def place() -> str:
    """Where pids have a meaning: this boot of this machine and the pid namespace of this process.

    Two containers that share a directory both have a process 1, maybe started in the same hundredth of a second.

    Returns:
        An opaque text, empty where the system does not say (no ``/proc``).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def started(pid: int) -> str | None:
    """When a process started, as an opaque text that only is to be compared.

    Args:
        pid: A process id, seen from this process's pid namespace.

    Returns:
        Clock ticks since boot (Linux) or a date (other POSIX systems), which `exec` does not change; None where
        there is no such process, or it cannot be seen (``hidepid``), or the system cannot tell.
    """
    if sys.platform == "win32":
        return None
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        # The command may hold spaces and brackets itself, so its end is the last bracket.
        return stat.rpartition(b")")[2].split()[_START_FIELD].decode("ascii")
    return started_by_ps(pid)


def started_by_ps(pid: int) -> str | None:
    """The start time as ``ps`` tells it, to the second, for systems without ``/proc`` (macOS); None where it cannot."""
    try:
        answer = subprocess.run(
            ["/bin/ps", "-o", "lstart=", "-p", str(pid)],
            capture_output=True,
            check=False,
            timeout=5,
            env={"LC_ALL": "C", "TZ": "UTC"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode("ascii", "replace").strip() or None
