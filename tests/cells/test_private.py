"""What is open stays what it is, whatever happens to paths and to the numbers of descriptors."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelbridge.cells.book import Book
from otelbridge.cells.errors import UnusableError
from otelbridge.cells.names import PRESENT
from otelbridge.cells.private import Descriptor, Directory, create, establish, fill, replace
from tests.cells.books import COUNTER, memory_directory, run

if TYPE_CHECKING:
    from collections.abc import Iterator

base = pytest.fixture(memory_directory)


@pytest.fixture
def directory(base: Path) -> Directory:
    (base / "ours").mkdir(0o700)
    return Directory(base).enter("ours")


@pytest.fixture
def foreign(base: Path) -> Iterator[int]:
    """A file of another part of the program, open."""
    number = os.open(base / "foreign", os.O_RDWR | os.O_CREAT, 0o600)
    yield number
    os.close(number)


def test_files_are_private_and_found_again(directory: Directory) -> None:
    fill(directory / "a", b"one")
    replace(directory / "a", b"two")
    establish(directory / "a", b"three")
    establish(directory / "b", b"four")
    assert sorted(directory.names()) == ["a", "b"]
    assert [(directory / name).open().read() for name in "ab"] == [b"two", b"four"]
    assert (directory / "a").open().read(1, 1) == b"w"
    assert (directory / "b").lstat().st_mode & 0o777 == 0o600
    assert str(directory / "a") == str(directory.path / "a")
    with pytest.raises(FileExistsError):
        create(directory / "a")
    with pytest.raises(FileNotFoundError):
        (directory / "c").unlink()
    (directory / "c").unlink(missing_ok=True)


def test_a_link_in_the_place_of_the_path_changes_nothing(base: Path, directory: Directory) -> None:
    fill(directory / "kept", b"")
    (base / "theirs").mkdir(0o700)
    (base / "theirs" / "kept").touch()
    directory.path.rename(base / "away")
    directory.path.symlink_to(base / "theirs")
    fill(directory / "new", b"")
    (directory / "kept").unlink()
    assert directory.names() == ["new"]
    assert [path.name for path in (base / "theirs").iterdir()] == ["kept"]
    with pytest.raises(UnusableError, match="not a directory but a link"):
        Directory(base).enter("ours")
    with pytest.raises(NotADirectoryError):
        Directory(directory.path).names()


def test_a_descriptor_closed_by_others_is_opened_again(directory: Directory, foreign: int) -> None:
    fill(directory / "a", b"")
    number = directory.descriptor
    os.close(number)
    assert directory.names() == ["a"]
    number = directory.descriptor
    os.dup2(foreign, number, inheritable=False)  # as if it had been closed and given to another file
    assert directory.names() == ["a"]
    assert directory.descriptor != number
    assert os.path.samestat(os.fstat(number), os.fstat(foreign))
    os.close(number)


def test_another_directory_in_its_place_is_not_used(base: Path, directory: Directory) -> None:
    os.close(directory.descriptor)
    directory.path.rename(base / "away")
    directory.path.mkdir(0o700)
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="Another directory"):
            fill(directory / "a", b"")
    (base / "ours").rmdir()
    (base / "away").rename(base / "ours")
    fill(directory / "a", b"")


def test_a_removed_directory_is_not_taken_for_an_empty_one(directory: Directory) -> None:
    directory.path.rmdir()
    directory.path.mkdir(0o700)
    with pytest.raises(FileNotFoundError, match="was removed"):
        directory.names()
    with pytest.raises(FileNotFoundError):
        fill(directory / "a", b"")


def test_a_file_closed_by_others_is_neither_used_nor_closed(directory: Directory, foreign: int) -> None:
    file = create(directory / "a")
    number = file.number
    os.dup2(foreign, number, inheritable=False)
    assert file.look() is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        file.read(0, 1)
    file.close()
    del file
    assert os.path.samestat(os.fstat(number), os.fstat(foreign))
    os.close(number)


def test_a_book_writes_into_no_file_of_others(directory: Directory, foreign: int) -> None:
    book = Book.open(directory)
    numbers = [book._keys.number, book._values._file.number]
    for number in numbers:
        os.dup2(foreign, number, inheritable=False)
    with pytest.raises(OSError, match="Bad file descriptor"):
        book.place(b"requests", COUNTER, b"")
    assert not book.linked
    book.close()
    assert os.fstat(foreign).st_size == 0
    for number in numbers:
        assert os.path.samestat(os.fstat(number), os.fstat(foreign))
        os.close(number)


DAEMON = """
import os, sys
from pathlib import Path
from otelbridge.cells.group import group_directory, remove_group
from otelbridge.cells.lead import Lead
group = group_directory(Path(sys.argv[1]), "shop-0123456789ab")
lead = Lead(group, "push")
assert lead.held
os.closerange(3, 256)
numbers = [os.open("/", os.O_RDONLY) for _ in range(10)]
assert lead.held
print(sorted(group.names()))
print(remove_group(group))
print(all(os.path.samestat(os.fstat(number), os.stat("/")) for number in numbers))
"""


def test_a_program_that_closes_everything_finds_its_group_again(directory: Directory) -> None:
    names, removed, untouched = run(DAEMON, directory.path).splitlines()
    assert names == str(["members.lock", PRESENT, "push.lock", "started"])
    assert (removed, untouched) == ("True", "True")
    assert directory.names() == []


LISTERS = """
import os, sys
from pathlib import Path
from otelbridge.cells.private import Directory
directory = Directory(Path(sys.argv[1]))
expected = sorted(directory.names())
children = []
for _ in range(4):
    child = os.fork()
    if not child:
        os._exit(any(sorted(directory.names()) != expected for _ in range(300)))
    children.append(child)
print(len(expected), *(os.waitpid(child, 0)[1] for child in children))
"""


def test_forked_processes_that_list_at_once_see_everything(directory: Directory) -> None:
    for number in range(300):
        (directory.path / str(number)).touch()
    assert run(LISTERS, directory.path).split() == ["300", "0", "0", "0", "0"]


def test_other_programs_do_not_inherit_it(directory: Directory) -> None:
    file = create(directory / "a")
    for number in (directory.descriptor, file.number):
        assert fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_descriptors_end_with_their_objects(base: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    gc.collect()  # what other tests have left to the collector does not end in between
    before = count()
    for _ in range(3):
        directory = Directory(base)
        inner = directory.enter("inner", make=True)
        fill(inner / "a", b"text")
        assert inner.enter("..").names() == ["inner"]
        assert (inner / "a").open().read() == b"text"
        shutil.rmtree(inner.path)
    del directory, inner
    assert count() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_and_directories_of_other_users_are_refused(base: Path, directory: Directory) -> None:
    fill(directory / "a", b"")
    os.chown(directory.path / "a", 65534, 65534)
    with pytest.raises(PermissionError, match="belongs to user 65534, not to 0"):
        (directory / "a").open()
    os.chown(directory.path, 65534, 65534)
    with pytest.raises(UnusableError, match="belongs to user 65534, not to 0"):
        Directory(base).enter("ours")


def test_a_descriptor_is_closed_once(foreign: int) -> None:
    descriptor = Descriptor(os.dup(foreign))
    number = descriptor.number
    descriptor.close()
    assert os.dup(foreign) == number
    descriptor.close()
    assert os.path.samestat(os.fstat(number), os.fstat(foreign))
    os.close(number)
