"""No room, no names, no descriptors, no right to write: the process goes on, and what was counted stays."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cells.books import ROOT, memory_directory

if TYPE_CHECKING:
    from pathlib import Path

base = pytest.fixture(memory_directory)

PREPARE = """
import errno, json, logging, os, resource, subprocess, sys
from contextlib import suppress
from pathlib import Path
from otelbridge.cells.book import Book
from otelbridge.cells.directory import group_directory, user_directory
from otelbridge.cells.folding import fold
from otelbridge.cells.shape import Rule, Shape
from otelbridge.cells.shelf import Shelf

base, mounts = Path(sys.argv[1]), sys.argv[2] == "mounts"
os.environ["XDG_RUNTIME_DIR"] = str(base / "next")
(base / "next").mkdir()
COUNTER = Shape(Rule.SUM, counts=1, totals=1)
said = {}
told = []
handler = logging.Handler()
handler.emit = lambda record: told.append(record.getMessage())
logging.getLogger("otelbridge").addHandler(handler)

def mount(*options):
    subprocess.run(["mount", *options], check=True)

def failure(call, *arguments):
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return "none"

def fill(book, prefix, most=100_000):
    placed = 0
    for number in range(most):
        cell = book.place(b"requests", COUNTER, b"%s%06d" % (prefix, number) + bytes(200))
        cell.counts[cell.counts_at] = 1
        placed += 1
    return placed

def tell():
    print(json.dumps(said))
"""


@functools.cache
def _namespace() -> tuple[str, ...]:
    """What runs a command where it may mount: nothing of it is seen outside, and it ends with the command."""
    for command in (("unshare", "--mount"), ("unshare", "--map-root-user", "--mount")):
        with_mount = [*command, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        try:
            if subprocess.run(with_mount, capture_output=True, check=False).returncode == 0:
                return command
        except OSError:
            continue
    return ()


def told(base: Path, script: str) -> dict[str, Any]:
    """Run a script, where it may mount if that can be had; what it says."""
    namespace = _namespace()
    done = subprocess.run(
        [
            *namespace,
            *(sys.executable, "-W", "error", "-c", PREPARE + script),
            *(str(base), "mounts" if namespace else "limits"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_full_disk(base: Path) -> None:
    said = told(
        base,
        """
directory = base / "small"
directory.mkdir()
if mounts:
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", str(directory))
    (directory / "large").write_bytes(bytes(1_800_000))
dead = Book.open(directory)
cell = dead.place(b"requests", COUNTER, b"of the dead")
cell.counts[cell.counts_at] = 1000
dead.close()
book = Book.open(directory)
first = book.place(b"requests", COUNTER, b"first")
first.counts[first.counts_at] = 1
if not mounts:  # files, instead of the disk, are full
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
placed = 0
with suppress(OSError):
    while True:
        cell = book.place(b"requests", COUNTER, b"%06d" % placed + bytes(200))
        cell.counts[cell.counts_at] = 1
        placed += 1
said["placed"] = placed
said["place"] = failure(book.place, b"requests", COUNTER, bytes(50_000))
if mounts:
    with suppress(OSError), open(directory / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(bytes(512))
said["retire"] = failure(book.retire, first)
first.counts[first.counts_at] = 2
shelf = Shelf(directory)
said["sum"] = sum(shelf.read(None).counts)
before = sorted(os.listdir(directory))
if not mounts:
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
said["open"] = failure(Book.open, directory)
said["leftovers"] = sorted(set(os.listdir(directory)) - set(before) - {"members.lock"})
said["fold"] = fold(directory, shelf)
said["sum of the full"] = sum(Shelf(directory).read(None).counts)
if mounts:
    (directory / "filler").unlink()
    (directory / "large").unlink()
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
more = book.place(b"requests", COUNTER, b"again")
more.counts[more.counts_at] = 10
book.retire(more)
said["folded"] = fold(directory, shelf)
said["sum at last"] = sum(shelf.read(None).counts)
said["anew"] = sum(Shelf(directory).read(None).counts)
said["told"] = told
tell()
""",
    )
    assert said["placed"] > 50
    assert said["place"] in {"ENOSPC", "EFBIG"} or "no room" in said["place"]
    assert said["retire"] in {"none", "ENOSPC", "EFBIG"} or "no room" in said["retire"]
    assert said["sum"] == said["sum of the full"] == said["placed"] + 1002
    assert said["open"] in {"ENOSPC", "EFBIG"}
    assert said["leftovers"] == []
    assert (said["fold"], said["folded"]) == (0, 1)
    assert said["sum at last"] == said["anew"] == said["placed"] + 1012
    assert any("cannot be folded now" in line for line in said["told"])


def test_a_record_that_fits_only_in_part_is_taken_back(base: Path) -> None:
    said = told(
        base,
        """
book = Book.open(base)
cell = book.place(b"requests", COUNTER, b"a")
cell.counts[cell.counts_at] = 1
keys = base / f"{book.uid}.keys"
size = keys.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
said["place"] = failure(book.place, b"requests", COUNTER, b"b" * 100)
said["size"] = keys.stat().st_size - size
shelf = Shelf(base)
said["seen"] = shelf.read(None).counts
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
cell = book.place(b"requests", COUNTER, b"b" * 100)
cell.counts[cell.counts_at] = 2
said["then"] = shelf.read(None).counts
said["told"] = told
tell()
""",
    )
    assert "no room for a record" in said["place"]
    assert said["size"] == 0
    assert (said["seen"], said["then"]) == ([1], [1, 2])
    assert said["told"] == []


def test_no_names_left(base: Path) -> None:
    said = told(
        base,
        """
directory = base / "small"
directory.mkdir()
if mounts:
    mount("-t", "tmpfs", "-o", "nr_inodes=11", "tmpfs", str(directory))
user, remark = user_directory(directory)
group = group_directory(user, "shop-0123456789ab")
book = Book.open(group.path)
cell = book.place(b"requests", COUNTER, b"")
cell.counts[cell.counts_at] = 5
shelf = Shelf(group.path)
shelf.live()
if mounts:
    with suppress(OSError):
        for number in range(10):
            (directory / str(number)).touch()
else:
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), 4096))
said["open"] = failure(Book.open, group.path)
said["group"] = failure(group_directory, user, "till-0123456789ab")
said["names"] = len(os.listdir(group.path))
book.close()
said["fold"] = fold(group.path, shelf)
said["counts"] = shelf.read(None).counts
if not mounts:
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
else:
    again, remark = user_directory(directory)
    said["next"] = (again.path.parent.name, remark)
    (directory / "0").unlink()
    (directory / "1").unlink()
said["folded"] = fold(group.path, shelf)
said["then"] = shelf.read(None).counts
tell()
""",
    )
    assert said["open"] in {"ENOSPC", "EMFILE"}
    assert said["group"] in {"ENOSPC", "EMFILE"}
    assert said["names"] == 5  # the book's two, what the group began with, and no leftovers
    assert said["fold"] in {0, 1}
    assert said["fold"] + said["folded"] == 1
    assert said["counts"] == said["then"] == [5]
    if "next" in said:
        assert said["next"][0] == "next"
        assert "No space left on device" in said["next"][1]


def test_no_descriptors_left(base: Path) -> None:
    said = told(
        base,
        """
def count(shelf):
    return sum(shelf.read(None).counts)

def counted(number):
    book = Book.open(base)
    cell = book.place(b"requests", COUNTER, b"")
    cell.counts[cell.counts_at] = number
    return book

books = [counted(1)]
known, late = Shelf(base), Shelf(base)
said["before"] = count(known)
books.append(counted(10))
books[0].close()
highest = max(map(int, os.listdir("/proc/self/fd")))
held = []
with suppress(OSError):
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 5, 4096))
    while True:
        held.append(os.open("/", os.O_RDONLY))
said["open"] = failure(Book.open, base)
said["known"], said["late"] = count(known), count(late)
said["live"], said["fold"] = len(known.live()), fold(base, known)
grown = [failure(books[1].place, b"requests", COUNTER, b"%d" % number + bytes(500)) for number in range(9000)]
said["grow"] = sorted(set(grown))
while held:
    os.close(held.pop())
    count(known), count(late), fold(base, late)
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
said["after"] = [count(known), count(late), count(Shelf(base))]
fold(base, late)
said["live after"], said["folded"] = len(known.live()), not list(base.glob(books[0].uid + "*"))
said["told"] = told
tell()
""",
    )
    assert said["open"] == "EMFILE"
    assert (said["before"], said["known"]) == (1, 1)
    assert said["late"] in {0, 1}  # a dead process' files need not stay open
    assert said["fold"] == 0
    assert said["grow"] == ["EMFILE", "none"]
    assert said["after"] == [11, 11, 11]
    assert said["live after"] == 1
    assert said["folded"]
    assert any("cannot be read now" in line for line in said["told"])


def test_more_dead_processes_than_descriptors(base: Path) -> None:
    said = told(
        base,
        """
shelf = Shelf(base)
for number in range(450):
    book = Book.open(base)
    cell = book.place(b"requests", COUNTER, b"%d" % (number % 3))
    cell.counts[cell.counts_at] = number
    book.close()
    if number == 100:
        said["early"] = sum(shelf.read(None).counts)
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 4096))
said["before"] = [sum(reader.read(None).counts) for reader in (shelf, Shelf(base))]
said["folded"] = fold(base, shelf)
said["after"] = [sum(reader.read(None).counts) for reader in (shelf, Shelf(base))]
said["left"] = sorted(os.listdir(base))
said["told"] = told
tell()
""",
    )
    everything = sum(range(450))
    assert said["early"] == sum(range(101))
    assert said["before"] == said["after"] == [everything, everything]
    assert said["folded"] == 450
    assert said["left"] == ["base", "fold.lock", "members.lock", "next"]
    assert said["told"] == []


READ_ONLY = """
if not mounts and os.geteuid() == 0:  # root may write everywhere
    base.chmod(0o755)
    for path in (base / "read", base / "next"):
        os.chown(path, 65534, 65534)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
group = group_directory(user_directory(base / "read")[0], "shop-0123456789ab")
for number in (1, 20):
    book = Book.open(group.path)
    cell = book.place(b"requests", COUNTER, b"")
    cell.counts[cell.counts_at] = number
    if number == 1:
        book.close()
if mounts:
    mount("--bind", str(base / "read"), str(base / "read"))
    mount("-o", "remount,bind,ro", str(base / "read"))
else:
    group.path.chmod(0o500)
    group.path.parent.chmod(0o500)
said["open"] = failure(Book.open, group.path)
said["group"] = failure(group_directory, group.path.parent, "till-0123456789ab")
shelf = Shelf(group.path)
said["counts"], said["live"] = shelf.read(None).counts, len(shelf.live())
said["fold"] = fold(group.path, shelf)
said["then"] = shelf.read(None).counts
again, remark = user_directory(base / "read")
said["next"] = (again.path.parent.name, remark)
cell.counts[cell.counts_at] += 1  # the one who has the files open goes on
said["placed"] = failure(book.place, b"requests", COUNTER, b"new")
said["last"] = sum(shelf.read(None).counts)
if not mounts:
    group.path.chmod(0o700)
    group.path.parent.chmod(0o700)
tell()
"""


def test_a_read_only_directory(base: Path) -> None:
    (base / "read").mkdir()
    said = told(base, READ_ONLY)
    assert said["open"] in {"EROFS", "EACCES"}
    assert said["group"] in {"EROFS", "EACCES"}
    assert (said["counts"], said["then"], said["fold"], said["live"]) == ([21], [21], 0, 1)
    assert said["next"][0] == "next"
    assert "Read-only file system" in said["next"][1] or "Permission denied" in said["next"][1]
    assert (said["placed"], said["last"]) == ("none", 22)


def test_a_directory_of_a_user_without_rights(base: Path) -> None:
    """As another user, or as this one where it is not root, in a directory without the right to write."""
    base.chmod(0o755)
    (base / "theirs").mkdir(0o755)
    (base / "next").mkdir()
    (base / "next").chmod(0o1777)
    script = (
        PREPARE.replace('(base / "next").mkdir()', "")
        + """
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
else:
    (base / "theirs").chmod(0o500)
user, remark = user_directory(base / "theirs")
said["next"], said["remark"] = user.path.parent.name, remark
said["open"] = failure(Book.open, base / "theirs")
group = group_directory(user, "shop-0123456789ab")
book = Book.open(group.path)
cell = book.place(b"requests", COUNTER, b"")
cell.counts[cell.counts_at] = 3
said["counts"] = Shelf(group.path).read(None).counts
tell()
"""
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(base), "limits"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["next"] == "next"
    assert "Permission denied" in said["remark"]
    assert said["open"] == "EACCES"
    assert said["counts"] == [3]
