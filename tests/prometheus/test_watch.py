"""Files that change under a running process."""

from __future__ import annotations

import os
import time

import pytest

from otelbridge.prometheus.watch import FileWatch


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "file"
    file.write_text("one")
    return file


def settle(file) -> None:
    """Make a file look as if it had been written long ago."""
    long_ago = time.time() - 3600
    os.utime(file, (long_ago, long_ago))


def test_nothing_changes_until_something_does(file) -> None:
    watch = FileWatch([file])
    assert not watch.changed()
    file.write_text("two")
    assert watch.changed()
    assert not watch.changed()


def test_a_change_of_the_same_length_at_the_same_time_is_seen(file) -> None:
    watch = FileWatch([file])
    times = file.stat()
    file.write_text("two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert watch.changed()


def test_touching_is_no_change(file) -> None:
    watch = FileWatch([file])
    settle(file)
    assert not watch.changed()
    file.touch()
    assert not watch.changed()


def test_files_that_are_replaced_removed_and_linked_anew_change(file, tmp_path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    watch = FileWatch([link])
    other = tmp_path / "other"
    other.write_text("two")
    link.unlink()
    assert watch.changed()
    link.symlink_to(other)
    assert watch.changed()
    other.replace(file)
    assert watch.changed()
    assert not watch.changed()


def test_any_of_several_counts(file, tmp_path) -> None:
    other = tmp_path / "other"
    watch = FileWatch([file, other])
    other.write_text("")
    assert watch.changed()
    file.write_text("")
    assert watch.changed()
