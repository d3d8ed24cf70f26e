"""Programs as children of their own: started detached, known by more than a number, stopped for sure.

A process number alone is no proof: it is used again after its owner died. A pid file therefore also
keeps when the process began, and nothing is signalled unless both still agree.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError

from otelbridge.stack.errors import ComponentFailedError, StackError
from otelbridge.stack.logs import tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_POLL = 0.05
_SECONDS_TO_END = 10.0
_SECONDS_TO_DIE = 5.0
_STARTTIME_FIELD = 19  # counted from the state, which is the first field after the program's name


@dataclass(frozen=True, kw_only=True)
class Component:
    """A running program of ours, as its pid file keeps it."""

    name: str
    """What it is, which is also the name of its files."""

    pid: int
    """Its process number, and that of its process group."""

    identity: str
    """When that process began, as the system counts it."""

    urls: Mapping[str, str]
    """What can be reached where."""

    @property
    def alive(self) -> bool:
        """Whether the process is still this program."""
        return _identity(self.pid) == self.identity


def start(
    name: str, command: Sequence[str], *, run_dir: Path, environ: Mapping[str, str], urls: Mapping[str, str]
) -> Component:
    """Start a program in a process group of its own and write its pid file.

    Args:
        name: What it is.
        command: Program and arguments.
        run_dir: Where it runs, and where ``NAME.log`` and ``NAME.pid`` go.
        environ: Its whole environment.
        urls: What will be reachable where.

    Returns:
        The component; it is not necessarily ready.

    Raises:
        ComponentFailedError: It could not be started.
    """
    log = run_dir / f"{name}.log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                list(command),
                cwd=run_dir,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal is for the command line, which then stops everything in order.
                start_new_session=True,
            )
    except OSError as error:
        raise ComponentFailedError(f"{name} could not be started: {error}", f"Check {command[0]}") from error
    _children[process.pid] = process
    component = Component(name=name, pid=process.pid, identity=_identity(process.pid) or "gone", urls=dict(urls))
    lines = [str(component.pid), component.identity, *(f"{key} {url}" for key, url in urls.items())]
    _pid_file(run_dir, name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return component


def read(run_dir: Path) -> list[Component]:
    """Read the pid files of a run directory.

    Args:
        run_dir: The directory; it need not exist.

    Returns:
        What was started there, the newest last, whether or not it still runs.
    """
    found: list[tuple[int, Component]] = []
    for path in run_dir.glob("*.pid"):
        try:
            pid, identity, *urls = path.read_text(encoding="utf-8").splitlines()
            pairs = dict(line.split(" ", 1) for line in urls)
            component = Component(name=path.stem, pid=int(pid), identity=identity, urls=pairs)
            found.append((path.stat().st_mtime_ns, component))
        except (OSError, ValueError):
            # Not one of ours, or cut off while it was written; either way nothing to signal by.
            continue
    return [component for _, component in sorted(found, key=lambda pair: pair[0])]


def stop(component: Component, run_dir: Path) -> str:
    """Stop a component, if its process still is that program, and remove its pid file.

    Args:
        component: What to stop.
        run_dir: Where its pid file is.

    Returns:
        How it ended, in words.

    Raises:
        StackError: It outlived even SIGKILL.
    """
    how = _end(component)
    _pid_file(run_dir, component.name).unlink(missing_ok=True)
    return how


def wait_ready(component: Component, url: str, run_dir: Path, seconds: float) -> None:
    """Wait until a component answers 200 on its health endpoint.

    Args:
        component: What was started.
        url: The endpoint.
        run_dir: Where its log is.
        seconds: How long to wait.

    Raises:
        ComponentFailedError: It died, or was not ready in time; the end of its log is in the message.
    """
    log = run_dir / f"{component.name}.log"
    deadline = time.monotonic() + seconds
    # Alive is asked last: if the component is gone, it was another program that answered.
    while not (_answers(url) and component.alive):
        if not component.alive:
            raise ComponentFailedError(f"{component.name} ended while starting:\n{tail(log)}", f"Its log is {log}")
        if time.monotonic() > deadline:
            raise ComponentFailedError(
                f"{component.name} did not answer on {url} within {seconds:g} s:\n{tail(log)}", f"Its log is {log}"
            )
        time.sleep(_POLL)


# Children must be reaped by us, or they stay as zombies as long as we live.
_children: dict[int, subprocess.Popen[bytes]] = {}


def _end(component: Component) -> str:
    for number, seconds in ((signal.SIGTERM, _SECONDS_TO_END), (signal.SIGKILL, _SECONDS_TO_DIE)):
        if not component.alive:
            return "was not running"
        try:
            os.killpg(component.pid, number)
        except ProcessLookupError:
            return "ended"
        if _gone(component, seconds):
            return "ended" if number is signal.SIGTERM else f"killed after {_SECONDS_TO_END:g} s"
    raise StackError(
        f"{component.name} (process {component.pid}) outlived SIGKILL", "See what it waits for with your system's tools"
    )


def _gone(component: Component, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while component.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def _identity(pid: int) -> str | None:
    identity = _identity_from_proc(pid) if Path("/proc/self/stat").exists() else _identity_from_ps(pid)
    if identity is None and (child := _children.pop(pid, None)):
        child.wait()
    return identity


def _identity_from_proc(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name is in parentheses and may hold anything, parentheses too.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else f"{_boot_id()}/{fields[_STARTTIME_FIELD]}"


def _boot_id() -> str:
    # Start times count from the boot, so after a restart of the machine the same one can come up again.
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "boot"


def _identity_from_ps(pid: int) -> str | None:
    try:
        said = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607 - ps is where the system has it
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    except OSError:
        return None
    state, _, started = said.partition(" ")
    return started.strip() if started and not state.startswith("Z") else None


def _answers(url: str) -> bool:
    # Loopback never goes through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1):
            return True
    except HTTPError as error:
        # "Not yet"; the error is also the answer, and holds its connection open.
        error.close()
        return False
    except (OSError, HTTPException):
        return False


def _pid_file(run_dir: Path, name: str) -> Path:
    return run_dir / f"{name}.pid"
