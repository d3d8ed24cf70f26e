"""Folding: what dead processes had counted moves into the base, and their files go.

One process folds at a time, under a lock that ends with it. It writes a new base beside the old one, renames it, which
is the moment of truth, and then removes the files of the books that went into it. Killed before the rename it has
changed nothing; killed after it, the base itself says which files are left to be removed.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from otelbridge.cells.arithmetic import RAW_MERGERS
from otelbridge.cells.base import encode, load
from otelbridge.cells.compaction import compacted
from otelbridge.cells.locks import held
from otelbridge.cells.names import BASE, DRAFT, FOLDER, KEYS, MEMBERS, STARTING, names_in, owner_of, uids_in
from otelbridge.cells.private import fill
from otelbridge.cells.series_index import SeriesIndex
from otelbridge.cells.volume import DamagedError, Volume, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from otelbridge.cells.base import Content
    from otelbridge.cells.shelf import Shelf


_BATCH = 200
"""How many books are folded at once; more would only take more memory."""


def _no_pause(_step: str) -> None:
    pass


def fold(directory: Path, shelf: Shelf, pause: Callable[[str], None] = _no_pause) -> int:
    """Fold the books of dead processes into the base.

    Sums stay, to the last bit; what only living processes say (`Rule`) goes. Costs little when nobody died.

    Args:
        directory: The directory of the group.
        shelf: A reader of the group, which knows the last sound base and who lives.
        pause: Called with the name of each step of the protocol before it is taken.

    Returns:
        How many books were folded. 0 also when another process folds just now, or the system has no room to do it,
        which is reported; then the books stay, and count as before.
    """
    living = set(shelf.live())
    try:
        if not shelf.damaged and not any(
            owner_of(name) not in living for name in names_in(directory) if owner_of(name)
        ):
            return 0
        with held(directory / FOLDER) as ours:
            folded = batch = _fold(directory, shelf.known, pause) if ours else 0
            while batch == _BATCH:
                batch = _fold(directory, shelf.known, pause)
                folded += batch
            return folded
    except FileNotFoundError:
        report("directory", f"The directory {directory} was removed")
    except (OSError, ValueError) as error:  # the records of a base of another version say what cannot be read
        report("folding", f"Ended processes in {directory} cannot be folded now ({error})")
    return 0


def _fold(directory: Path, known: Content, pause: Callable[[str], None]) -> int:
    """Fold some books; how many."""
    pause("read")
    base = load(directory / BASE, known)
    if isinstance(base.trouble, OSError):
        raise base.trouble
    indexes = [SeriesIndex(base)]
    indexes[0].take_in(base.content.bodies)
    leftover = _remove_books(directory, base.content.folded, pause)
    _remove_strays(directory)
    folded: set[str] = set()
    for uid in sorted(uids_in(directory) - base.content.folded):
        if len(folded) < _BATCH and (index := _index(directory, uid)):
            indexes.append(index)
            folded.add(uid)
    if folded or base.trouble:
        _commit(directory, encode(folded | leftover, *compacted(indexes)), pause)
        _remove_books(directory, folded, pause)
    return len(folded)


def _index(directory: Path, uid: str) -> SeriesIndex | None:
    """Read the book of a dead process; None when it cannot be folded, or the process lives."""
    try:
        volume = Volume.open(directory, uid)
        if volume.live:
            return None
        index = SeriesIndex(volume)
        index.update(volume)
    except FileNotFoundError:
        report("values file", f"The book {uid} in {directory} has no values file")
        return None
    except (OSError, DamagedError) as error:
        report(f"book {type(error).__name__}", f"The book {uid} in {directory} cannot be read: {error}")
        return None
    shapes = [stream.shape for stream in index.streams.values()]
    unknown = {shape.raw_merge for shape in shapes if shape.outlives} - {"", *RAW_MERGERS}
    if unknown:
        report("folding raw", f"The book {uid} needs the unknown merger {min(unknown)!r}")
    return None if unknown else index


def _commit(directory: Path, content: bytes, pause: Callable[[str], None]) -> None:
    draft = directory / DRAFT
    pause("write")
    draft.unlink(missing_ok=True)
    fill(draft, content)
    pause("rename")
    draft.rename(directory / BASE)


def _remove_books(directory: Path, uids: Iterable[str], pause: Callable[[str], None]) -> set[str]:
    """Remove the files of folded books; which of them could not be removed."""
    files: dict[str, list[str]] = {uid: [] for uid in uids}
    for name in names_in(directory) if files else ():
        if (uid := owner_of(name)) in files:
            files[uid].append(name)
    left: set[str] = set()
    for uid, names in files.items():
        # The key file goes last: as long as it is there, the next folder finds the others.
        for name in sorted(names, key=lambda name: name.endswith(KEYS)):
            pause("remove")
            try:
                (directory / name).unlink(missing_ok=True)
            except OSError as error:
                report("removing", f"The file {name} of an ended process in {directory} cannot be removed: {error}")
                left.add(uid)
    return left


def _remove_strays(directory: Path) -> None:
    """Remove files of books that never became visible, because their process died while it made them."""
    if not _strays(directory):
        return
    with held(directory / MEMBERS) as alone:
        for name in _strays(directory) if alone else ():
            with suppress(OSError):
                (directory / name).unlink()


def _strays(directory: Path) -> list[str]:
    names = set(names_in(directory))
    return [
        name for name in names if name.startswith(STARTING) or (owner_of(name) and owner_of(name) + KEYS not in names)
    ]
