"""Where the files lie: who may be there, how a group begins and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelbridge.cells.book import Book
from otelbridge.cells.directory import (
    UnusableError,
    group_directory,
    in_memory,
    remove_group,
    remove_orphans,
    user_directory,
)
from otelbridge.cells.locks import held
from otelbridge.cells.names import BASE, DESERTED, DRAFT, FOLDER, KEYS, MEMBERS, NEW, RESOURCE, STARTED, VALUES
from otelbridge.cells.private import Directory
from otelbridge.cells.shelf import Shelf
from tests.cells.books import COUNTER, Worker, add, count, memory_directory, run

if TYPE_CHECKING:
    from collections.abc import Iterator

base = pytest.fixture(memory_directory)

SHOP = "shop-0123456789ab"
OURS = f"otelbridge-{os.geteuid()}"


@pytest.fixture(autouse=True)
def _no_runtime_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


@pytest.fixture
def user(base: Path) -> Path:
    return user_directory(base)[0].path


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A directory that does not lie in memory."""
    path = Path(tempfile.mkdtemp(dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


def age(path: Path, seconds: float) -> None:
    """Make a directory look unchanged for so long."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_the_setting_comes_first(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base / "other"))
    directory, remark = user_directory(base)
    path = directory.path
    assert path == base / OURS
    assert remark is None or "does not lie in memory" in remark
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert list(path.iterdir()) == []
    assert user_directory(base)[0].path == path


def test_then_the_runtime_directory(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    assert user_directory()[0].path == base / OURS
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative")
    assert user_directory()[0].path.is_absolute()
    assert user_directory()[0].path != base / OURS


def test_a_directory_on_a_disk_is_told(on_disk: Path, base: Path) -> None:
    directory, remark = user_directory(on_disk)
    assert directory.path.parent == on_disk
    if not in_memory(on_disk):
        assert remark is not None
        assert "may wait for the disk" in remark
    shared = Path("/dev/shm")
    if shared.is_dir() and os.path.ismount(shared):
        assert in_memory(base) == (shared in base.parents)


def test_a_setting_that_cannot_be_used_is_told_and_the_next_one_taken(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(base))
    directory, remark = user_directory(base / "missing")
    assert directory.path == base / OURS
    assert remark is not None
    assert f"{base / 'missing'} (No such file or directory) cannot be used" in remark


def refusals(base: Path, monkeypatch: pytest.MonkeyPatch, fallback: Path | None = None) -> str:
    """Why a base is not used."""
    fallback = fallback or base.parent / "fallback"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(fallback))
    fallback.mkdir(exist_ok=True)
    directory, remark = user_directory(base)
    assert directory.path == fallback / OURS
    assert remark is not None
    return remark


def test_symbolic_links_files_and_open_doors_are_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = base / "base"
    base.mkdir()
    (base / "elsewhere").mkdir(0o700)
    (base / OURS).symlink_to(base / "elsewhere")
    assert "not a directory but a link" in refusals(base, monkeypatch)
    (base / OURS).unlink()
    (base / OURS).touch()
    assert "not a directory" in refusals(base, monkeypatch)
    (base / OURS).unlink()
    (base / OURS).mkdir()
    (base / OURS).chmod(0o750)
    assert "has the mode 750" in refusals(base, monkeypatch)
    (base / OURS).rmdir()
    base.chmod(0o777)
    assert "has the mode 777: others may replace what is in it" in refusals(base, monkeypatch)
    base.chmod(0o1777)
    assert user_directory(base)[0].path == base / OURS


def test_a_base_below_an_open_door_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (base / "open").mkdir()
    inner = base / "open" / "inner"
    inner.mkdir(0o700)
    (base / "open").chmod(0o775)
    remark = refusals(inner, monkeypatch, base / "fallback")
    assert f"{base / 'open'} has the mode 775: others may replace what is in it" in remark
    assert "OTELBRIDGE_RUN_DIRECTORY" in remark
    assert list(inner.iterdir()) == []
    (base / "link").symlink_to(inner)
    assert "has the mode 775" in refusals(base / "link", monkeypatch, base / "fallback")
    (base / "open").chmod(0o1777)
    assert user_directory(base / "link")[0].path == inner / OURS


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_a_base_of_another_user_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, inner, fallback = base / "theirs", base / "theirs" / "inner", base / "fallback"
    inner.mkdir(parents=True)
    os.chown(theirs, 65534, 65534)
    for chosen in (theirs, inner):
        assert f"{theirs} belongs to user 65534, who may replace what is in it" in refusals(
            chosen, monkeypatch, fallback
        )
    (base / "link").symlink_to(fallback)
    os.chown(base / "link", 65534, 65534, follow_symlinks=False)
    assert f"{base / 'link'} belongs to user 65534" in refusals(base / "link", monkeypatch, fallback)
    assert list(inner.iterdir()) == []


FOREIGN = """
import os, sys
from pathlib import Path
from otelbridge.cells.directory import user_directory, group_directory
base, uid = Path(sys.argv[1]), int(sys.argv[2])
os.environ.pop("XDG_RUNTIME_DIR", None)
if uid != os.geteuid():
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
path, remark = user_directory(base)
print(path, remark, sep="\\n")
"""


def test_a_directory_somebody_else_made_first_is_refused(base: Path) -> None:
    # As root, become the user whose directory root has taken; else meet one that cannot be written at all.
    victim = 65534 if os.geteuid() == 0 else os.geteuid()
    base.chmod(0o755 if os.geteuid() else 0o1777)
    (base / f"otelbridge-{victim}").mkdir(0o777 if os.geteuid() == 0 else 0o500)
    (base / f"otelbridge-{victim}").chmod(0o700 if os.geteuid() == 0 else 0o500)
    path, remark = run(FOREIGN, base, victim).strip().split("\n")
    assert not path.startswith(str(base))
    assert "belongs to user 0" in remark or "Permission denied" in remark
    shutil.rmtree(path, ignore_errors=True)


def test_when_nothing_can_be_used_each_one_is_named(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from otelbridge.cells import directory

    tried = [base / "a", base / "b"]
    monkeypatch.setattr(directory, "_bases", lambda setting: iter(tried))
    with pytest.raises(UnusableError, match="tried: ") as refused:
        user_directory(base)
    assert all(f"{path} (No such file" in str(refused.value) for path in tried)
    assert isinstance(refused.value, OSError)


def test_the_working_directory_is_never_used(on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from otelbridge.cells import directory

    # Where no directory for temporary files can be written to, tempfile names the working directory.
    monkeypatch.chdir(on_disk)
    monkeypatch.setattr(tempfile, "tempdir", str(on_disk))
    monkeypatch.delenv("TMPDIR", raising=False)
    assert on_disk not in list(directory._bases(None))
    monkeypatch.setenv("TMPDIR", str(on_disk))
    assert on_disk in list(directory._bases(None))


# Groups.


def test_a_group_begins_once(user: Path) -> None:
    before = time.time_ns()
    first = group_directory(user, SHOP)
    after = time.time_ns()
    assert before <= first.started_ns <= after
    assert first.path == user / SHOP
    assert stat.S_IMODE(first.path.stat().st_mode) == 0o700
    again = group_directory(user, SHOP)
    assert again.started_ns == first.started_ns
    assert int((first.path / STARTED).read_text()) == first.started_ns
    assert group_directory(user, "till-0123456789ab").started_ns > first.started_ns


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "shop",
        "a/b-0123456789ab",
        ".master-0123456789ab",
        f"{'x' * 41}-0123456789ab",
        "ä-0123456789ab",
        "a b-0123456789ab",
        f"{SHOP}\n",
    ],
)
def test_names_that_are_no_names(user: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a group"):
        group_directory(user, name)


START = """
import sys
from pathlib import Path
from otelbridge.cells.directory import group_directory
print(group_directory(Path(sys.argv[1]), "shop-0123456789ab").started_ns)
"""

RACE = """
import os, sys
from pathlib import Path
from otelbridge.cells.directory import group_directory
children = []
for _ in range(12):
    come, go = os.pipe()
    child = os.fork()
    if not child:
        os.write(go, b"%d" % group_directory(Path(sys.argv[1]), "shop-0123456789ab").started_ns)
        os._exit(0)
    children.append((child, come))
print(*(int(os.read(come, 100)) for _, come in children))
for child, _ in children:
    os.waitpid(child, 0)
"""


def test_processes_that_begin_at_once_agree(user: Path) -> None:
    said = run(RACE, user).split()
    assert len(said) == 12
    assert len(set(said)) == 1
    assert run(START, user).strip() == said[0]
    assert {path.name for path in (user / SHOP).iterdir()} == {STARTED, MEMBERS, "present.lock"}


def test_a_start_that_says_nothing_is_that_of_its_file(user: Path, caplog: pytest.LogCaptureFixture) -> None:
    group = group_directory(user, SHOP)
    (group.path / STARTED).write_text("yesterday")
    expected = (group.path / STARTED).stat().st_mtime_ns
    assert group_directory(user, SHOP).started_ns == expected
    assert group_directory(user, SHOP).started_ns == expected
    assert any("does not say when" in record.getMessage() for record in caplog.records)


def test_a_foreign_group_is_refused(user: Path) -> None:
    (user / "real").mkdir()
    (user / SHOP).symlink_to(user / "real")
    with pytest.raises(UnusableError, match="not a directory but a link"):
        group_directory(user, SHOP)
    (user / SHOP).unlink()
    (user / SHOP).mkdir()
    (user / SHOP).chmod(0o755)
    with pytest.raises(UnusableError, match="lets others in"):
        group_directory(user, SHOP)


def test_the_last_one_removes_a_group(user: Path) -> None:
    first, second = group_directory(user, SHOP), group_directory(user, SHOP)
    assert not remove_group(first)
    assert first.path.exists()
    with closing(Book.open(first.path)):
        assert not remove_group(second)
    assert remove_group(second)
    assert not first.path.exists()
    assert not remove_group(second)


def test_forked_children_are_in_the_group(user: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from otelbridge.cells.directory import group_directory, remove_group
group = group_directory(Path(sys.argv[1]), "shop-0123456789ab")
come, go = os.pipe()
child = os.fork()
if not child:
    os.close(go)
    os.read(come, 1)
    os._exit(0)
print(remove_group(group))
os.close(go)
os.waitpid(child, 0)
print(remove_group(group))
"""
    assert run(script, user).split() == ["False", "True"]


def deserted(user: Path, name: str, requests: int = 1) -> Path:
    """A group whose only process was killed."""
    script = """
import os, signal, sys
from pathlib import Path
from otelbridge.cells.book import Book
from otelbridge.cells.directory import group_directory
from otelbridge.cells.shape import Rule, Shape
group = group_directory(Path(sys.argv[1]), sys.argv[2])
book = Book.open(group.path)
cell = book.place(b"requests", Shape(Rule.SUM, counts=1, totals=1), b"")
cell.counts[cell.counts_at] = int(sys.argv[3])
print("ready", flush=True)
signal.pause()
"""
    assert Worker(script, user, name, requests).kill() == -9
    return user / name


def test_orphans_are_removed_when_they_have_been_seen_so_for_long(user: Path) -> None:
    path = deserted(user, SHOP)
    age(path, 7200)
    assert remove_orphans(user, 3600) == 0  # whatever its age: it may have been alive until now
    assert (path / DESERTED).exists()
    age(path, 1800)
    assert remove_orphans(user, 3600) == 0
    age(path, 3700)
    assert remove_orphans(user, 3600) == 1
    assert not path.exists()


def test_orphans_wait_while_something_changes(user: Path) -> None:
    path = deserted(user, SHOP)
    remove_orphans(user, 3600)
    age(path, 3700)
    (path / BASE).touch()
    assert remove_orphans(user, 3600) == 0


def test_whoever_comes_back_finds_everything(user: Path) -> None:
    path = deserted(user, SHOP, 5)
    began = int((path / STARTED).read_text())
    remove_orphans(user, 3600)
    age(path, 3700)
    group = group_directory(user, SHOP)
    assert group.started_ns == began
    assert remove_orphans(user, 0) == 0  # this process is in it, though it has no book yet
    assert count(Shelf(path).read(None), b"requests") == 5
    group.leave()
    assert not (path / DESERTED).exists()
    age(path, 7200)
    assert remove_orphans(user, 3600) == 0
    assert remove_orphans(user, 0) == 1


def test_opening_a_book_takes_the_mark_off(user: Path) -> None:
    path = deserted(user, SHOP)
    remove_orphans(user, 3600)
    with closing(Book.open(path)):
        assert not (path / DESERTED).exists()
        assert remove_orphans(user, 0) == 0
    assert remove_orphans(user, 0) == 1


def test_only_groups_are_removed(user: Path) -> None:
    """A directory goes when its name, its mode and all that is in it are those of a group."""
    names = [f"{kind}-0123456789ab" for kind in ("empty", "group", "open", "photo", "nested", "link", "file")]
    empty, group, open_door, photo, nested, link, file = (user / name for name in names)
    kept = [open_door, photo, nested, user / "no-name-of-a-group"]
    for path in (empty, group, *kept):
        path.mkdir(0o700)
    for path in (group, *kept):
        (path / MEMBERS).touch()
        (path / STARTED).touch()
    for name in (KEYS, VALUES, NEW, ".bell"):
        (group / f"0000000000000001-1-00000000{name}").touch()
    for name in (RESOURCE, "deltas-0-1", "deltas-0-1.unclear", "sent-0-1.tmp-1-00000000", "scrape-9464.lock", DRAFT):
        (group / name).touch()
    open_door.chmod(0o750)
    (photo / "photo").touch()
    (nested / BASE).mkdir()
    link.symlink_to(group)
    file.touch()
    before = {path: sorted(path.iterdir()) for path in kept}
    assert remove_orphans(user, 0, 0) == 2
    assert sorted(user.iterdir()) == sorted([*kept, link, file])
    assert {path: sorted(path.iterdir()) for path in kept} == before
    assert remove_orphans(user / "missing", 0) == 0


def test_a_user_directory_that_was_replaced_is_not_swept(base: Path) -> None:
    group = group_directory(user_directory(base)[0], SHOP)
    other = base / "other" / "backup-0123456789ab"
    other.mkdir(0o700, parents=True)
    (other / STARTED).touch()
    (base / OURS).rename(base / "away")
    (base / OURS).symlink_to(base / "other")
    assert remove_orphans(group.enter(".."), 0) == 0
    assert remove_group(group)
    assert list(other.iterdir()) == [other / STARTED]
    assert list((base / "away").iterdir()) == []


def test_locks_in_use_protect_a_group(user: Path) -> None:
    path = deserted(user, SHOP)
    for name in (MEMBERS, FOLDER):
        with held(Directory(path) / name, shared=True) as ours:
            assert ours
            assert remove_orphans(user, 0) == 0
    assert remove_orphans(user, 0) == 1


def test_a_clock_that_was_set_back_removes_nothing(user: Path) -> None:
    path = deserted(user, SHOP)
    remove_orphans(user, 3600)
    age(path, -3600)
    assert remove_orphans(user, 1) == 0
    assert path.exists()


def test_beginning_and_clearing_at_once(user: Path) -> None:
    """A group is removed again and again while others begin in it; nobody fails, and all see each other."""
    failures: list[BaseException] = []
    stop = threading.Event()

    def clear() -> None:
        while not stop.is_set():
            remove_orphans(user, 0)

    def begin() -> None:
        try:
            for _ in range(60):
                group = group_directory(user, SHOP)
                with closing(Book.open(group.path)) as book:
                    add(book.place(b"requests", COUNTER, b""), 1)
                    assert book.linked
                    assert book.uid in Shelf(group.path).live()
                assert group.path.exists()
                assert int((group.path / STARTED).read_text()) == group.started_ns
                group.leave()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=begin) for _ in range(3)]
    clearer = threading.Thread(target=clear)
    clearer.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    clearer.join()
    assert failures == []


OTHER_SYSTEMS = """
import json, sys, pathlib, tempfile, socket, threading, logging, dataclasses, mmap, uuid, subprocess
import opentelemetry.metrics
kind, directory = sys.argv[1], pathlib.Path(sys.argv[2])
import os
if kind == "win32":
    sys.platform = "win32"
    sys.modules["fcntl"] = None
    for name in ("geteuid", "posix_fallocate", "register_at_fork", "O_NOFOLLOW", "O_CLOEXEC", "fchmod", "fork"):
        delattr(os, name)
else:
    sys.platform = "darwin"
    del os.posix_fallocate
from otelbridge.cells import book, folding, shelf, directory as places, shape
said = {}
try:
    user, remark = places.user_directory(directory)
    said["remark"] = remark
    group = places.group_directory(user, "shop-0123456789ab")
    mine = book.Book.open(group.path)
    cell = mine.place(b"requests", shape.Shape(shape.Rule.SUM, counts=1), b"")
    cell.counts[cell.counts_at] = 7
    mine.close()
    reader = shelf.Shelf(group.path)
    said["folded"] = folding.fold(group.path, reader)
    said["counts"] = reader.read(None).counts
except places.UnusableError as error:
    said["refused"] = str(error)
    try:
        book.Book.open(directory)
    except places.UnusableError as error:
        said["book"] = str(error)
    reader = shelf.Shelf(directory)
    said["counts"] = reader.read(None).counts
    said["folded"] = folding.fold(directory, reader)
print(json.dumps(said))
"""


def test_without_reserving_room_it_works_too(base: Path) -> None:
    said = json.loads(run(OTHER_SYSTEMS, "darwin", base))
    assert (said["folded"], said["counts"]) == (1, [7])
    assert "does not lie in memory" in said["remark"]


def test_without_locks_it_says_so(base: Path) -> None:
    said = json.loads(run(OTHER_SYSTEMS, "win32", base))
    assert "no flock" in said["refused"]
    assert "no flock" in said["book"]
    assert (said["folded"], said["counts"]) == (0, [])
