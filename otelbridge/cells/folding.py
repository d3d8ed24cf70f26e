"""Folding: what dead processes had counted moves into the base, and their files go.

One process folds at a time, under a lock that ends with it. It writes a new base beside the old one, renames it, which
is the moment of truth, and then removes the files of the books that went into it. Killed before the rename it has
changed nothing; killed after it, the base itself says which files are left to be removed.
"""

from __future__ import annotations

from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from otelbridge.cells.arithmetic import RAW_MERGERS, expansion
from otelbridge.cells.base import encode, load
from otelbridge.cells.locks import held
from otelbridge.cells.merge import Plan
from otelbridge.cells.names import BASE, DRAFT, FOLDER, KEYS, MEMBERS, STARTING, owner_of, uids_in
from otelbridge.cells.private import fill, opened
from otelbridge.cells.records import ABSENT, retired_record, series_record, stream_record
from otelbridge.cells.shape import COUNTS, KINDS, LOWS, MARKS, RAW, SLOT, TOTALS
from otelbridge.cells.volume import DamagedError, Volume, report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from otelbridge.cells.base import Content
    from otelbridge.cells.merge import Place, Totals
    from otelbridge.cells.private import Directory
    from otelbridge.cells.series_index import SeriesIndex
    from otelbridge.cells.shelf import Shelf

_WIDEST: Final = (1 << 63) - 1

_BATCH = 200
"""How many books are folded at once; more would only take more memory."""


class _Line(NamedTuple):
    """A series of the new base."""

    stream: int
    attributes: bytes
    slots: dict[int, Sequence[float]]
    retired: bool
    positions: list[int]


def _no_pause(_step: str) -> None:
    pass


def fold(directory: Directory | Path, shelf: Shelf, pause: Callable[[str], None] = _no_pause) -> int:
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
    directory = opened(directory)
    living = set(shelf.live())
    try:
        if not shelf.damaged and not any(owner_of(name) not in living for name in directory.names() if owner_of(name)):
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


def _fold(directory: Directory, known: Content, pause: Callable[[str], None]) -> int:
    """Fold some books; how many."""
    pause("read")
    base = load(directory / BASE, known)
    if base.trouble and not isinstance(base.trouble, DamagedError):
        raise base.trouble
    leftover = _remove_books(directory, base.content.folded, pause)
    _remove_strays(directory)
    dead: list[SeriesIndex] = [base]
    for uid in sorted(uids_in(directory) - base.content.folded):
        if len(dead) <= _BATCH and (volume := _dead(directory, uid)):
            dead.append(volume)
    folded = {volume.uid for volume in dead[1:]}
    if folded or base.trouble:
        _commit(directory, encode(folded | leftover, *_compacted(dead)), pause)
        _remove_books(directory, folded, pause)
    return len(folded)


def _dead(directory: Directory, uid: str) -> Volume | None:
    """Read the book of a dead process; None when it cannot be folded, or the process lives."""
    try:
        volume = Volume.open(directory, uid)
    except FileNotFoundError:
        report("values file", f"The book {uid} in {directory} has no values file")
        return None
    except (OSError, DamagedError) as error:
        report(f"book {type(error).__name__}", f"The book {uid} in {directory} cannot be read: {error}")
        return None
    shapes = [stream.shape for stream in volume.streams.values()]
    unknown = {shape.raw_merge for shape in shapes if shape.outlives} - {"", *RAW_MERGERS}
    if unknown:
        report("folding raw", f"The book {uid} needs the unknown merger {min(unknown)!r}")
    return None if volume.live or unknown else volume


def _commit(directory: Directory, content: bytes, pause: Callable[[str], None]) -> None:
    draft = directory / DRAFT
    pause("write")
    draft.unlink(missing_ok=True)
    fill(draft, content)
    pause("rename")
    draft.rename(directory / BASE)


def _remove_books(directory: Directory, uids: Iterable[str], pause: Callable[[str], None]) -> set[str]:
    """Remove the files of folded books; which of them could not be removed."""
    files: dict[str, list[str]] = {uid: [] for uid in uids}
    for name in directory.names() if files else ():
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


def _remove_strays(directory: Directory) -> None:
    """Remove what processes left that died while they made it: books without a key log, drafts."""
    with held(directory / MEMBERS) as alone:
        names = set(directory.names()) if alone else set[str]()
        for name in names:
            if name.startswith(STARTING) or (owner_of(name) and owner_of(name) + KEYS not in names):
                with suppress(OSError):
                    (directory / name).unlink()


def _compacted(dead: Sequence[SeriesIndex]) -> tuple[bytes, bytes]:
    """Add up what the dead leave, as the records and the slots of a base.

    Sums are kept exactly: one that does not fit into a slot (an int wider than 64 bits, a float sum that was rounded)
    takes a second series of the same name, marked as retired so that it adds its value but does not show.
    """
    plan = Plan(dead)
    totals = plan.merge()
    sums = [expansion(parts) for parts in plan.parts(TOTALS)]
    log: list[bytes] = []
    lines: list[_Line] = []
    for stream, (identity, places) in enumerate(totals.places.items()):
        kept = [(attributes, place) for attributes, place in places.items() if place.shape.outlives]
        if kept:
            log.append(stream_record(stream, kept[0][1].shape, identity))
        for attributes, place in kept:
            for level, layer in enumerate(_layers(place, totals, sums)):
                retired = bool(level) or not totals.contributors[place.number]
                lines.append(_Line(stream, attributes, layer, retired, [ABSENT] * len(KINDS)))
    slots = bytearray()
    for kind, (_, code, _) in enumerate(KINDS):  # side by side, so that a reader takes them at once
        for line in lines:
            if values := line.slots.get(kind):
                line.positions[kind] = len(slots) // SLOT
                slots += array(code, values).tobytes()
    for number, line in enumerate(lines):
        log.append(series_record(line.stream, number, line.positions, line.attributes))
        if line.retired:
            log.append(retired_record(number))
    return b"".join(log), bytes(slots)


def _layers(place: Place, totals: Totals, sums: Sequence[list[float]]) -> Iterator[dict[int, Sequence[float]]]:
    """The slots of a series by kind; further ones hold what the first cannot."""
    shape = place.shape
    counts = [_words(count) for count in totals.counts[place.counts : place.counts + shape.counts]]
    terms = sums[place.totals : place.totals + shape.totals]
    rest: dict[int, Sequence[float]] = {
        LOWS: totals.lows[place.lows : place.lows + shape.lows],
        MARKS: totals.marks[place.marks : place.marks + shape.marks],
        RAW: totals.raw[place.raw] if shape.raw else [],
    }
    for level in range(max(map(len, (*counts, *terms)), default=1)):
        rest[COUNTS] = [words[level] if level < len(words) else 0 for words in counts]
        rest[TOTALS] = [parts[level] if level < len(parts) else -0.0 for parts in terms]
        yield rest
        rest = {}


def _words(value: int) -> list[int]:
    """Ints of 64 bits that make the value when added."""
    words: list[int] = []
    while abs(value) > _WIDEST:
        words.append(_WIDEST if value > 0 else -_WIDEST)
        value -= words[-1]
    return [*words, value]
