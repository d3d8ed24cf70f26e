"""Which series a book has, and where their slots lie in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from otelbridge.cells.records import RETIRED, REVIVED, SERIES, SERIES_HEAD, STREAM, read_number, read_stream
from otelbridge.cells.shape import KINDS, RAW

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.cells.base import Base
    from otelbridge.cells.shape import Shape
    from otelbridge.cells.volume import Volume

_ROW_TRIES = 1000


class Entry(NamedTuple):
    """A series of a book."""

    attributes: bytes
    starts: list[tuple[int, int]]
    """Kinds of slots, and where those of the series begin in what `SeriesIndex.values` gives."""


class Stream(NamedTuple):
    """A stream of a book."""

    identity: bytes
    shape: Shape
    wanted: list[tuple[int, int]]
    """The kinds of slots its series have, and how many of each."""
    entries: dict[int, Entry]
    """By the number of the series in the book."""


class SeriesIndex:
    """What the key log of a book says, ready for merging.

    Slots of a kind are read as few long stretches of the file.

    Args:
        book: Where the values are.

    Attributes:
        streams: By their number in the book.
        retired: The numbers of the series that the process no longer has.
        version: Grows whenever one of the above changes.
    """

    def __init__(self, book: Volume | Base) -> None:
        self.book = book
        self.streams: dict[int, Stream] = {}
        self.retired: set[int] = set()
        self.version = 0
        self._stretches: list[list[list[int]]] = [[] for _ in KINDS]
        self._lengths = [0] * len(KINDS)
        self._final: list[list[Any]] = []

    def take_in(self, bodies: list[bytes]) -> None:
        """Take in the next records of the key log.

        When an exception ends it midway, for instance that of a signal handler, the same records can be taken in again.

        Args:
            bodies: Their bodies, in order.

        Raises:
            ValueError: If a record makes no sense; those before it are taken in.
        """
        self.version += bool(bodies)
        for body in bodies:
            taker = self._takers.get(body[0])
            if taker is None:
                raise ValueError(f"a record of unknown type {body[0]}")
            taker(self, body)

    def update(self, volume: Volume) -> None:
        """Take in the news of the volume; those of a dead process are the last ones, and it is closed.

        Args:
            volume: The book.

        Raises:
            DamagedError: If its values file was cut.
            OSError: If it cannot be read now, as `Volume.news` says.
        """
        # Whether the process lives is asked before its values are read: those of a dead one are final.
        live = volume.look()
        news = volume.news()
        try:
            self.take_in(news.bodies)
        except ValueError as error:
            volume.stop(str(error))
        else:
            volume.advance(news)
        if not live:
            self.settle()
            volume.close()

    def settle(self) -> None:
        """Read the values for the last time: the book is that of the dead, and may be closed then."""
        if not self._final:
            self._final = [self._read(kind) for kind in range(len(KINDS))]

    def values(self, kind: int) -> list[Any]:
        """Read all slots of a kind.

        Args:
            kind: Index in `KINDS`.

        Returns:
            The slots; of raw slots, one row a series. Not to be changed.
        """
        return self._final[kind] if self._final else self._read(kind)

    def length(self, kind: int) -> int:
        """Tell how many items `values` gives for a kind."""
        return self._lengths[kind]

    def _read(self, kind: int) -> list[Any]:
        if kind == RAW:
            return [self._row(first, end) for first, end in self._stretches[RAW]]
        slots = self.book.integers if KINDS[kind].code == "q" else self.book.floats
        values: list[Any] = []
        for first, end in self._stretches[kind]:
            values += slots[first:end].tolist()
        return values

    def _row(self, first: int, end: int) -> list[int]:
        """Read a raw row, all of one version unless that changes at every look."""
        slots = self.book.integers
        row: list[int] = []
        for _ in range(_ROW_TRIES):
            version = slots[first]
            row = slots[first:end].tolist()
            if slots[first] == version == row[0]:
                break
        return row

    def _take_stream(self, body: bytes) -> None:
        number, shape, identity = read_stream(body)
        wanted = [(kind, width) for kind, width in enumerate(shape.widths) if width]
        self.streams.setdefault(number, Stream(identity, shape, wanted, {}))

    def _take_series(self, body: bytes) -> None:
        if len(body) < SERIES_HEAD.size:
            raise ValueError(f"a series in {len(body)} bytes")
        _, number, series, *positions = SERIES_HEAD.unpack_from(body)
        stream = self.streams.get(number)
        if stream is None:
            raise ValueError(f"a series of the unknown stream {number}")
        size = self.book.slots
        starts: list[tuple[int, int]] = []
        for kind, width in stream.wanted:
            first = positions[kind]
            if first + width > size:
                raise ValueError(f"a series at slot {first} of {size}")
            if first >= 0:
                starts.append((kind, self._lengths[kind]))
                self._add_stretch(kind, first, width)
        stream.entries[series] = Entry(body[SERIES_HEAD.size :], starts)

    def _add_stretch(self, kind: int, first: int, width: int) -> None:
        stretches = self._stretches[kind]
        self._lengths[kind] += 1 if kind == RAW else width
        if kind != RAW and stretches and stretches[-1][1] == first:
            stretches[-1][1] = first + width
        else:
            stretches.append([first, first + width])

    def _take_retired(self, body: bytes) -> None:
        self.retired.add(read_number(body))

    def _take_revived(self, body: bytes) -> None:
        self.retired.discard(read_number(body))

    _takers: ClassVar[dict[int, Callable[[SeriesIndex, bytes], None]]] = {
        STREAM: _take_stream,
        SERIES: _take_series,
        RETIRED: _take_retired,
        REVIVED: _take_revived,
    }
