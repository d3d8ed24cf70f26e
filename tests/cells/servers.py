"""Starts real servers with many processes on a free port, for tests that ask, kill and reload them.

Every server gets a session of its own, so all its processes can be told and ended by id, also those whose parent is
gone (a gunicorn master that took over, workers of a killed master).
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.components import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
# What would make a test's processes join a group they have no part in, or change what the servers do.
_FOREIGN = ("OTELBRIDGE_", "OTEL_", "GUNICORN_", "UVICORN_", "CELERY_", "COVERAGE_")


def eventually(condition: Callable[[], object], what: str | Callable[[], str], seconds: float = 60.0) -> None:
    """Wait until something holds; fail, saying what it was, when it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what() if callable(what) else what}"
        time.sleep(0.02)


def _gunicorn(worker_class: str) -> Callable[[str, int, int], list[str]]:
    def command(app: str, port: int, workers: int) -> list[str]:
        options = ["-b", f"127.0.0.1:{port}", "-w", str(workers), "-k", worker_class]
        quiet = ["--no-control-socket", "--graceful-timeout", "3"]
        return [sys.executable, "-m", "gunicorn", *options, *quiet, app]

    return command


def _uvicorn(app: str, port: int, workers: int) -> list[str]:
    return [sys.executable, "-m", "uvicorn", "--port", str(port), "--workers", str(workers), app]


def _uwsgi(app: str, port: int, workers: int) -> list[str]:
    program = str(Path(sys.executable).with_name("uwsgi"))
    options = ["--http-socket", f"127.0.0.1:{port}", "--processes", str(workers), "--enable-threads", "--need-app"]
    return [program, "--module", app, "--virtualenv", sys.prefix, "--die-on-term", *options]


def _celery(app: str, _port: int, workers: int) -> list[str]:
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    return [sys.executable, "-m", "celery", "-A", app, "worker", "-P", "prefork", "-c", str(workers), *quiet]


def _python(app: str, port: int, workers: int) -> list[str]:
    return [sys.executable, "-m", app, str(port), str(workers)]


COMMANDS: dict[str, Callable[[str, int, int], list[str]]] = {
    "gunicorn sync": _gunicorn("sync"),
    "gunicorn gthread": _gunicorn("gthread"),
    "gunicorn asgi": _gunicorn("asgi"),
    "gunicorn gevent": _gunicorn("gevent"),
    "gunicorn tornado": _gunicorn("tornado"),
    "gunicorn uvicorn": _gunicorn("uvicorn_worker.UvicornWorker"),
    "uvicorn": _uvicorn,
    "uwsgi": _uwsgi,
    "celery": _celery,
    "python": _python,
}
"""What starts each kind of server: (application, port, workers) -> command. "celery" has no port to answer at."""


@dataclass
class Server:
    """A running server and all processes it ever started and that still live."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path
    wanted: int = 0

    @property
    def master(self) -> int:
        """The process that was started first."""
        return self.process.pid

    def log(self) -> str:
        """What the server wrote to its standard output and error so far."""
        return self.log_file.read_text("utf-8", "replace")

    def ask(self, path: str = "/", *, method: str = "GET", timeout: float = 60.0) -> tuple[int, bytes]:
        """Send one request on a connection of its own; (status, body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def answers(self) -> bool:
        """Whether all workers were started and one of them answers at the port."""
        assert self.process.poll() is None or self.processes(), f"the server ended:\n{self.log()}"
        if len(self.workers()) < self.wanted:
            return False
        try:
            self.ask()
        except (OSError, http.client.HTTPException):
            return False
        return True

    def processes(self) -> list[int]:
        """The ids of all living processes of the server, masters and helpers included."""
        return [pid for pid in psutil.pids() if _session(pid) == self.master and _lives(pid)]

    def workers(self, master: int | None = None) -> list[int]:
        """The ids of the living processes that do the work: those that have no children, helpers left out.

        The first process is never one of them, so a server that serves in its only process has none.

        Args:
            master: Only the children of this process.
        """
        parents = {pid: _parent(pid) for pid in self.processes() if not _is_tracker(pid)}
        leaves = parents.keys() - parents.values() - {self.master}
        return sorted(pid for pid in leaves if master in (None, parents[pid]))

    def send(self, number: int, pid: int | None = None) -> None:
        """Send a signal to a process of the server, by default to its first one."""
        os.kill(self.master if pid is None else pid, number)

    def kill(self, pid: int) -> None:
        """End a process with SIGKILL and wait until it is gone."""
        assert pid in self.processes(), f"{pid} is no process of this server"
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not _lives(pid), f"{pid} is gone")

    def stop(self, number: int = signal.SIGTERM, seconds: float = 5.0) -> None:
        """End the server as an operator would, by a signal to its masters.

        Args:
            number: The signal. SIGKILL is for all processes at once.
            seconds: How long they may take; what is left then is killed.
        """
        mine = set(self.processes())
        if number != signal.SIGKILL:
            for pid in {_parent(pid) for pid in self.workers()} & mine | {self.master} & mine:
                _end(pid, number)
            end = time.monotonic() + seconds
            while self._left() and time.monotonic() < end:
                time.sleep(0.02)
        for pid in self._left():
            _end(pid, signal.SIGKILL)
        self.process.wait(seconds)

    def _left(self) -> list[int]:
        self.process.poll()
        return self.processes()


@contextmanager
def serve(
    kind: str,
    app: str,
    *options: str,
    log_file: Path,
    workers: int = 2,
    environment: Mapping[str, str] | None = None,
    directory: Path = ROOT,
    ready: Callable[[Server], object] = Server.answers,
    ending: int = signal.SIGTERM,
) -> Iterator[Server]:
    """Run a server for as long as the block lasts.

    Args:
        kind: A key of `COMMANDS`.
        app: The application as the server wants it, for instance ``tests.cells.group_app:wsgi``.
        *options: More command line options.
        log_file: Where its output goes.
        workers: How many workers.
        environment: Added to the environment, which holds nothing of otelbridge, OpenTelemetry or the servers.
        directory: The working directory.
        ready: Says when the server may be used; by default as soon as all workers are there and it answers.
        ending: What ends it, see `Server.stop`.
    """
    port = free_port()
    command = COMMANDS[kind](app, port, workers)
    with running([*command, *options], log_file=log_file, port=port, environment=environment, cwd=directory) as server:
        server.wanted = workers if workers > 1 and ready is Server.answers else 0
        eventually(lambda: ready(server), lambda: f"{kind} is ready:\n{server.log()}")
        yield server
        server.stop(ending)


@contextmanager
def running(
    command: Sequence[str],
    *,
    log_file: Path,
    port: int = 0,
    environment: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> Iterator[Server]:
    """Run any program as `serve` does, without waiting for it."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=clean_environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, port, log_file)
    try:
        yield server
    finally:
        server.stop()


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what a server would take for its own, and with the repository to import."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **(more or {})}


def _end(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return -1


def _parent(pid: int) -> int:
    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return -1


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_tracker(pid: int) -> bool:
    """Whether it is a helper of multiprocessing rather than a worker."""
    try:
        command = " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return False
    return "resource_tracker" in command or "forkserver" in command
