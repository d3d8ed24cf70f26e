"""What is written down about gunicorn masters, and what is believed of it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from otelbridge.cells.succession import recall, remember
from otelbridge.diagnostics import forget_warnings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

HOURS = 3600 * 2


def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def only_record(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def age(path: Path, seconds: float) -> None:
    status = path.stat()
    os.utime(path, (status.st_atime - seconds, status.st_mtime - seconds))


def test_what_was_written_down_is_recalled(tmp_path: Path) -> None:
    remember(tmp_path, os.getpid(), "shop", "blue")
    assert recall(tmp_path, os.getpid(), "shop") == "blue"
    assert recall(tmp_path, os.getpid(), "till") is None
    assert recall(tmp_path, os.getppid(), "shop") is None
    assert only_record(tmp_path).stat().st_mode & 0o777 == 0o600


def test_the_last_word_counts(tmp_path: Path) -> None:
    remember(tmp_path, os.getpid(), "shop", "blue")
    remember(tmp_path, os.getpid(), "shop", "green")
    assert recall(tmp_path, os.getpid(), "shop") == "green"
    assert only_record(tmp_path).is_file()


def test_a_master_that_ended_is_recalled(tmp_path: Path) -> None:
    pid = ended()
    remember(tmp_path, pid, "shop", "blue")
    assert recall(tmp_path, pid, "shop") == "blue"


def test_a_later_process_with_the_same_pid_is_somebody_else(tmp_path: Path) -> None:
    remember(tmp_path, os.getpid(), "shop", "blue")
    path = only_record(tmp_path)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps([fields[0], "1", *fields[2:]]))
    assert recall(tmp_path, os.getpid(), "shop") is None


@given(
    content=st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
def test_a_broken_record_is_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    directory = tmp_path_factory.mktemp("broken")
    remember(directory, os.getpid(), "shop", "blue")
    only_record(directory).write_bytes(content)
    assert recall(directory, os.getpid(), "shop") is None


def test_a_record_nested_without_end_is_none(tmp_path: Path) -> None:
    remember(tmp_path, os.getpid(), "shop", "blue")
    only_record(tmp_path).write_text("[" * 100_000)
    assert recall(tmp_path, os.getpid(), "shop") is None


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    directory = tmp_path / "user"
    directory.mkdir()
    remember(directory, os.getpid(), "shop", "blue")
    path = only_record(directory)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert recall(directory, os.getpid(), "shop") is None


def test_a_pipe_in_the_place_of_a_record_does_not_hang(tmp_path: Path) -> None:
    remember(tmp_path, os.getpid(), "shop", "blue")
    path = only_record(tmp_path)
    path.unlink()
    os.mkfifo(path)
    assert recall(tmp_path, os.getpid(), "shop") is None


def test_records_of_masters_long_gone_are_removed(tmp_path: Path) -> None:
    gone, alive = ended(), os.getppid()
    remember(tmp_path, gone, "shop", "blue")
    age(only_record(tmp_path), HOURS)
    remember(tmp_path, alive, "shop", "green")
    assert recall(tmp_path, gone, "shop") is None
    age(only_record(tmp_path), HOURS)
    (tmp_path / "group").mkdir()
    age(tmp_path / "group", HOURS)
    remember(tmp_path, os.getpid(), "shop", "red")
    assert recall(tmp_path, alive, "shop") == "green"
    assert (tmp_path / "group").is_dir()


def test_records_of_masters_just_gone_are_kept(tmp_path: Path) -> None:
    gone = ended()
    remember(tmp_path, gone, "shop", "blue")
    remember(tmp_path, os.getpid(), "shop", "green")
    assert recall(tmp_path, gone, "shop") == "blue"


def test_records_of_other_containers_are_kept(tmp_path: Path) -> None:
    remember(tmp_path, ended(), "shop", "blue")
    path = only_record(tmp_path)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps([*fields[:2], "another boot", fields[3]]))
    age(path, HOURS)
    remember(tmp_path, os.getpid(), "shop", "green")
    assert path.exists()


def test_no_directory_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forget_warnings()
    with caplog.at_level(logging.WARNING, "otelbridge"):
        remember(tmp_path / "none", os.getpid(), "shop", "blue")
        remember(tmp_path / "none", os.getpid(), "shop", "blue")
    assert len(caplog.records) == 1
    assert "OTELBRIDGE_GROUP" in caplog.text
    assert recall(tmp_path / "none", os.getpid(), "shop") is None
