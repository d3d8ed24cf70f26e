"""One leader at a time, in real processes that end in every way."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelbridge.cells.lead import Lead
from otelbridge.diagnostics import forget_warnings
from tests.cells.servers import ROOT, clean_environment, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Says whether it leads, then waits until it is told to end.
PROGRAM = """
import sys
from pathlib import Path
from otelbridge.cells.lead import Lead
lead = Lead(Path(sys.argv[1]), "push")
print(lead.held, flush=True)
sys.stdin.read()
"""


@contextmanager
def candidate(directory: Path) -> Iterator[tuple[subprocess.Popen[str], bool]]:
    """Another process that tries to lead: (process, whether it does)."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(directory)],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            yield process, process.stdout.readline().strip() == "True"
        finally:
            process.kill()


def in_child(body: Callable[[], bool], fork: Callable[[], int] = os.fork) -> bool:
    """Run a function in a forked child and tell whether it returned true."""
    child = fork()
    if child == 0:
        code = 2
        try:
            code = 0 if body() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture(autouse=True)
def fresh_warnings() -> None:
    forget_warnings()


class TestOneLeads:
    def test_the_first_of_two_processes_leads_until_it_ends(self, tmp_path: Path) -> None:
        with candidate(tmp_path) as (first, leads):
            assert leads
            lead = Lead(tmp_path, "push")
            assert not lead.held
            first.send_signal(signal.SIGKILL)
            first.wait()
            assert lead.held

    def test_the_role_can_be_handed_over(self, tmp_path: Path) -> None:
        lead = Lead(tmp_path, "push")
        assert lead.held
        with candidate(tmp_path) as (_, leads):
            assert not leads
        lead.release()
        with candidate(tmp_path) as (_, leads):
            assert leads
            assert not lead.held

    def test_it_is_remembered_without_opening_anything(self, tmp_path: Path) -> None:
        lead = Lead(tmp_path, "push")
        assert lead.held
        before = len(list(Path("/proc/self/fd").iterdir()))
        assert all(lead.held for _ in range(100))
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    def test_it_is_given_up_with_the_object(self, tmp_path: Path) -> None:
        lead = Lead(tmp_path, "push")
        assert lead.held
        del lead
        assert Lead(tmp_path, "push").held

    def test_two_roles_are_two_locks(self, tmp_path: Path) -> None:
        one, other = Lead(tmp_path, "push"), Lead(tmp_path, "fold")
        assert one.held
        assert other.held

    def test_two_of_one_process_exclude_each_other(self, tmp_path: Path) -> None:
        one, other = Lead(tmp_path, "push"), Lead(tmp_path, "push")
        assert one.held
        assert not other.held
        other.release()
        assert one.held

    def test_many_threads_find_the_same(self, tmp_path: Path) -> None:
        lead = Lead(tmp_path, "push")
        answers: list[bool] = []
        threads = [threading.Thread(target=lambda: answers.append(lead.held)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [True] * 16

    def test_the_file_is_private(self, tmp_path: Path) -> None:
        assert Lead(tmp_path, "push").held
        assert (tmp_path / "push.lock").stat().st_mode & 0o777 == 0o600


def c_fork() -> int:
    """Fork as a program written in C does: Python's hooks do not run."""
    return ctypes.PyDLL(None).fork()


class TestForks:
    @pytest.mark.parametrize("fork", [os.fork, c_fork], ids=["python", "c"])
    def test_a_child_does_not_lead_and_takes_nothing_from_its_parent(
        self, tmp_path: Path, fork: Callable[[], int]
    ) -> None:
        lead = Lead(tmp_path, "push")
        assert lead.held

        def child() -> bool:
            if lead.held:
                return False
            lead.release()
            return not lead.held

        assert in_child(child, fork)
        assert lead.held
        with candidate(tmp_path) as (_, leads):
            assert not leads

    def test_a_child_keeps_no_copy_that_would_outlive_the_leader(self, tmp_path: Path) -> None:
        lead = Lead(tmp_path, "push")
        assert lead.held
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)
        try:
            # Closed without unlocking, as the kernel does at the leader's death.
            lead.abandon()
            with candidate(tmp_path) as (_, leads):
                assert leads
        finally:
            os.close(writing)
            os.waitpid(child, 0)

    def test_a_role_given_up_is_free_also_while_a_child_has_a_copy(self, tmp_path: Path) -> None:
        lead = Lead(tmp_path, "push")
        assert lead.held
        reading, writing = os.pipe()
        child = c_fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        os.close(reading)
        try:
            lead.release()
            with candidate(tmp_path) as (_, leads):
                assert leads
        finally:
            os.close(writing)
            os.waitpid(child, 0)

    def test_a_child_leads_when_its_parent_gave_the_role_up(self, tmp_path: Path) -> None:
        lead = Lead(tmp_path, "push")
        assert lead.held
        lead.release()
        assert in_child(lambda: lead.held)

    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_a_fork_while_another_thread_takes_and_releases_leaves_the_child_nothing(self, tmp_path: Path) -> None:
        lead = Lead(tmp_path, "push")
        done = threading.Event()

        def take_and_release() -> None:
            while not done.is_set():
                lead.held  # noqa: B018
                lead.release()

        def has_copy() -> bool:
            links = Path("/proc/self/fd").iterdir()
            return any(os.path.realpath(link) == str(tmp_path / "push.lock") for link in links)

        taking = threading.Thread(target=take_and_release)
        taking.start()
        try:
            found = [in_child(has_copy) for _ in range(100)]
            free = in_child(lambda: lead.held in {True, False})
        finally:
            done.set()
            taking.join()
        assert not any(found)
        assert free


class TestTrouble:
    def test_a_missing_directory_is_reported_once_and_used_when_it_is_there(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        lead = Lead(tmp_path / "later", "push")
        with caplog.at_level(logging.WARNING, "otelbridge"):
            assert not lead.held
            assert not lead.held
        assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
            f"Cannot lock {tmp_path}/later/push.lock"
        ]
        (tmp_path / "later").mkdir()
        assert lead.held

    def test_a_directory_made_anew_has_one_leader(self, tmp_path: Path) -> None:
        group = tmp_path / "group"
        group.mkdir()
        old = Lead(group, "push")
        assert old.held
        shutil.rmtree(group)
        group.mkdir()
        with candidate(group) as (_, leads):
            assert leads
            assert not old.held

    def test_no_descriptor_left(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        leading, other = Lead(tmp_path, "push"), Lead(tmp_path, "fold")
        assert leading.held
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with caplog.at_level(logging.WARNING, "otelbridge"):
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                assert not other.held
                assert leading.held
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert len(caplog.records) == 1
        assert other.held

    def test_a_descriptor_that_somebody_closed_and_used_again_is_left_alone(self, tmp_path: Path) -> None:
        lead = Lead(tmp_path, "push")
        assert lead.held
        assert lead._held is not None
        number = lead._held.number
        os.close(number)
        foreign = os.open(tmp_path / "foreign", os.O_RDWR | os.O_CREAT)
        try:
            if foreign != number:
                os.dup2(foreign, number)
            assert lead.held
            lead.release()
            assert os.path.realpath(f"/proc/self/fd/{number}").endswith("foreign")
        finally:
            os.close(number)

    def test_a_symbolic_link_is_not_followed(self, tmp_path: Path) -> None:
        target = tmp_path / "target"
        (tmp_path / "push.lock").symlink_to(target)
        assert not Lead(tmp_path, "push").held
        assert not target.exists()

    def test_a_file_of_somebody_else_is_not_locked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "push.lock").touch()
        somebody_else = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: somebody_else)
        assert not Lead(tmp_path, "push").held


def test_the_role_passes_on_however_often_the_leader_is_killed(tmp_path: Path) -> None:
    lead = Lead(tmp_path, "push")
    for _ in range(5):
        with candidate(tmp_path) as (process, leads):
            assert leads
            assert not lead.held
            process.kill()
            process.wait()
            eventually(lambda: lead.held, "the role is free")
            lead.release()
