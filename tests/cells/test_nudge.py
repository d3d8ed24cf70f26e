"""Nudges between real processes, in directories with short and long names."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelbridge.cells.nudge import SUFFIX, Bell, ring
from otelbridge.cells.private import Directory
from otelbridge.diagnostics import forget_warnings
from tests.cells.servers import ROOT, clean_environment, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

# Rings whom it is told to, and says how many it reached.
PROGRAM = """
import sys
from pathlib import Path
from otelbridge.cells.nudge import ring
print(ring(Path(sys.argv[1]), sys.argv[2:]))
"""

# Listens, says so, and counts the nudges it was woken by.
LISTENER = """
import sys
from pathlib import Path
from otelbridge.cells.nudge import Bell
bell = Bell(Path(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
while True:
    if bell.wait(60.0):
        print("nudged", flush=True)
"""


@pytest.fixture(params=["short", "long"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A group's directory, also one whose name does not fit into a socket's address."""
    path = tmp_path if request.param == "short" else tmp_path / ("d" * 100) / ("e" * 100)
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(autouse=True)
def fresh_warnings() -> None:
    forget_warnings()


@pytest.fixture
def bell(directory: Path) -> Iterator[Bell]:
    bell = Bell(directory, "a1")
    yield bell
    bell.close()


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


class TestNudges:
    def test_one_arrives_from_another_process(self, directory: Path, bell: Bell) -> None:
        command = [sys.executable, "-c", PROGRAM, str(directory), "a1"]
        answer = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True)
        assert answer.stdout == "1\n"
        assert bell.wait(60.0)
        assert not bell.wait(0.0)

    def test_many_count_as_one(self, directory: Path, bell: Bell) -> None:
        assert [ring(directory, ["a1"]) for _ in range(1000)] == [1] * 1000
        assert bell.wait(0.0)
        assert not bell.wait(0.0)

    def test_a_waiting_thread_wakes_up(self, directory: Path, bell: Bell) -> None:
        heard: list[bool] = []
        thread = threading.Thread(target=lambda: heard.append(bell.wait(60.0)))
        thread.start()
        assert ring(directory, ["a1"]) == 1
        thread.join(30.0)
        assert heard == [True]

    def test_nobody_rang(self, bell: Bell) -> None:
        assert not bell.wait(0.01)

    def test_the_socket_is_private(self, directory: Path, bell: Bell) -> None:
        mode = (directory / f"a1{SUFFIX}").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert mode & 0o777 == 0o600

    def test_missing_and_dead_ones_are_passed_over(self, directory: Path, bell: Bell) -> None:
        command = [sys.executable, "-c", LISTENER, str(directory), "killed"]
        with subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE) as listener:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"ready\n"
            assert ring(directory, ["killed", "missing", "a1"]) == 2
            assert listener.stdout.readline() == b"nudged\n"
            listener.send_signal(signal.SIGKILL)
        assert (directory / f"killed{SUFFIX}").exists()
        assert ring(directory, ["killed", "missing", "a1"]) == 1

    def test_a_frozen_one_is_not_waited_for(self, directory: Path) -> None:
        command = [sys.executable, "-c", LISTENER, str(directory), "frozen"]
        with subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE) as listener:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"ready\n"
            listener.send_signal(signal.SIGSTOP)
            # Far more than its queue holds.
            assert [ring(directory, ["frozen"]) for _ in range(2000)] == [1] * 2000
            listener.send_signal(signal.SIGCONT)
            assert listener.stdout.readline() == b"nudged\n"
            listener.kill()

    def test_no_directory(self, tmp_path: Path) -> None:
        assert ring(tmp_path / "none", ["a1"]) == 0
        assert ring(tmp_path / ("d" * 100) / ("e" * 100), ["a1"]) == 0

    def test_nobody_to_ring(self, tmp_path: Path) -> None:
        assert ring(tmp_path, []) == 0

    def test_no_descriptors_are_left_open(self, directory: Path) -> None:
        held = Directory(directory)
        assert held.names() == []
        before = open_descriptors()
        bell = Bell(held, "b1")
        for _ in range(20):
            ring(directory, ["b1", "missing"])
        assert bell.wait(0.0)
        bell.close()
        assert open_descriptors() == before


class TestClosing:
    def test_the_socket_is_removed(self, directory: Path) -> None:
        bell = Bell(directory, "a1")
        bell.close()
        bell.close()
        assert not list(directory.iterdir())
        assert ring(directory, ["a1"]) == 0

    def test_a_closed_bell_does_not_wait(self, directory: Path) -> None:
        bell = Bell(directory, "a1")
        ring(directory, ["a1"])
        bell.close()
        assert not bell.wait(3600.0)

    def test_a_waiting_thread_ends(self, directory: Path) -> None:
        held = Directory(directory)
        assert held.names() == []
        before = open_descriptors()
        bell = Bell(held, "a1")
        heard: list[bool] = []
        thread = threading.Thread(target=lambda: heard.append(bell.wait(3600.0)))
        thread.start()
        bell.close()
        thread.join(30.0)
        assert heard == [False]
        assert open_descriptors() == before

    def test_a_waiting_thread_that_cannot_be_reached_closes_when_its_time_is_over(self, tmp_path: Path) -> None:
        directory = Directory(tmp_path)
        assert directory.names() == []
        before = open_descriptors()
        bell = Bell(directory, "a1")
        waiting = threading.Event()

        def wait() -> None:
            waiting.set()
            bell.wait(1.5)

        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait()
        (tmp_path / f"a1{SUFFIX}").unlink()
        bell.close()
        thread.join(30.0)
        assert open_descriptors() == before


def in_child(body: str, bell: Bell, directory: Path) -> int:
    """Run one of the things a child may do with its parent's bell; its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if body == "wait":
                code = int(bell.wait(3600.0))
            elif body == "close":
                bell.close()
                code = 0
            else:
                code = int(Bell(directory, "child").wait(0.0))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class TestForks:
    @pytest.mark.parametrize("body", ["wait", "close", "own"])
    def test_a_child_takes_nothing_from_its_parent(self, directory: Path, bell: Bell, body: str) -> None:
        assert ring(directory, ["a1"]) == 1
        assert in_child(body, bell, directory) == 0
        assert bell.wait(0.0)
        assert ring(directory, ["a1"]) == 1
        assert bell.wait(0.0)

    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_a_fork_while_the_bell_is_waited_for_does_not_hang(self, directory: Path, bell: Bell) -> None:
        heard: list[bool] = []
        thread = threading.Thread(target=lambda: heard.append(bell.wait(60.0)))
        thread.start()
        assert [in_child(body, bell, directory) for body in ("wait", "close")] == [0, 0]
        assert ring(directory, ["a1"]) == 1
        thread.join(30.0)
        assert heard == [True]


class TestTrouble:
    def test_a_missing_directory_is_reported_once_and_waits(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING, "otelbridge"):
            bells = [Bell(tmp_path / "none", uid) for uid in ("a1", "b1")]
        assert len(caplog.records) == 1
        assert "Cannot listen for nudges" in caplog.text
        assert not bells[0].wait(0.01)
        thread = threading.Thread(target=lambda: bells[1].wait(3600.0))
        thread.start()
        bells[1].close()
        thread.join(30.0)
        assert not thread.is_alive()

    def test_no_descriptor_left(self, directory: Path, bell: Bell, caplog: pytest.LogCaptureFixture) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with caplog.at_level(logging.WARNING, "otelbridge"):
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                reached = ring(directory, ["a1"])
                deaf = Bell(directory, "b1")
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert reached == 0
        assert len(caplog.records) == 1
        assert not deaf.wait(0.0)

    def test_a_directory_that_vanished(self, directory: Path, bell: Bell) -> None:
        shutil.rmtree(directory)
        assert ring(directory, ["a1"]) == 0
        assert not bell.wait(0.0)

    def test_a_descriptor_that_somebody_closed(self, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
        bell = Bell(directory, "a1")
        assert bell._socket is not None
        os.close(bell._socket.fileno())
        with caplog.at_level(logging.WARNING, "otelbridge"):
            assert not bell.wait(0.01)
            assert not bell.wait(0.01)
        assert len(caplog.records) == 1
        bell.close()

    def test_without_unix_sockets_nobody_is_reached(
        self, directory: Path, bell: Bell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(socket, "AF_UNIX")
        assert ring(directory, ["a1"]) == 0
        assert not Bell(directory, "b1").wait(0.0)


def test_sixty_processes_worth_of_bells_are_all_reached(tmp_path: Path) -> None:
    uids = [f"u{number}" for number in range(60)]
    bells = [Bell(tmp_path, uid) for uid in uids]
    try:
        assert ring(tmp_path, uids) == 60
        eventually(lambda: all(bell.wait(10.0) for bell in bells), "all bells heard it")
    finally:
        for bell in bells:
            bell.close()
