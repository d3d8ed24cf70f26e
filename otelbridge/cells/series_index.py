"""Which series a file has, and where their slots lie in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from otelbridge.cells.records import ABSENT, RETIRED, REVIVED, SERIES, SERIES_HEAD, STREAM, read_number, read_stream
from otelbridge.cells.segments import cast_slots
from otelbridge.cells.shape import KINDS, RAW

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.cells.shape import Shape

_ROW_TRIES = 1000

NO_SLOTS = memoryview(b"")


class Stream(NamedTuple):
    """A stream of a book, or of the base."""

    identity: bytes
    shape: Shape

    wanted: list[tuple[int, int]]
    """The kinds of slots its series have, and how many of each."""

    series: dict[int, tuple[bytes, tuple[int, ...]]]
    """By their number in the book: the attributes, and for each kind that is wanted, where the slots begin in
    `SeriesIndex.values`; `ABSENT` where the series has none."""


class SeriesIndex:
    """The series of a book, or of the base, as its records tell them.

    Slots of a kind are read as few long stretches of the file.

    Attributes:
        uid: The name of the book.
        live: Whether its process lives.
        integers: The values as int64 slots.
        floats: The values as float64 slots.
        streams: By their number in the book.
        retired: The numbers of the series that the process no longer has.
        lengths: How many items `values` gives, by kind.
        version: Grows whenever one of the last three changes.
    """

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.live = False
        self.streams: dict[int, Stream] = {}
        self.retired: set[int] = set()
        self.lengths = [0] * len(KINDS)
        self.version = 0
        self._stretches: list[list[list[int]]] = [[] for _ in KINDS]
        self._final: list[list[Any]] = []
        self.show(NO_SLOTS)

    def show(self, slots: memoryview) -> None:
        """Take other memory for the values, as bytes."""
        self.integers, self.floats = cast_slots(slots, "q"), cast_slots(slots, "d")

    def take_in(self, bodies: list[bytes]) -> None:
        """Take in the next records.

        When an exception ends it midway, for instance that of a signal handler, the same records can be taken in again.

        Raises:
            ValueError: If a record makes no sense; those before it are taken in.
        """
        self.version += bool(bodies)
        for body in bodies:
            taker = self._takers.get(body[0])
            if taker is None:
                raise ValueError(f"a record of unknown type {body[0]}")
            taker(self, body)

    def settle(self) -> None:
        """Read the values for the last time: they are those of the dead, and their memory can be given up."""
        if not self._final:
            self._final = [self._read(kind) for kind in range(len(KINDS))]

    def values(self, kind: int) -> list[Any]:
        """Give all slots of a kind, by its index in `KINDS`; of raw slots, one row a series. Not to be changed."""
        return self._final[kind] if self._final else self._read(kind)

    def _read(self, kind: int) -> list[Any]:
        if kind == RAW:
            return [self._row(first, end) for first, end in self._stretches[RAW]]
        slots = self.integers if KINDS[kind].code == "q" else self.floats
        values: list[Any] = []
        for first, end in self._stretches[kind]:
            values += slots[first:end].tolist()
        return values

    def _row(self, first: int, end: int) -> list[int]:
        """Read a raw row, all of one version unless that changes at every look."""
        slots = self.integers
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
        _, stream_number, number, *positions = SERIES_HEAD.unpack_from(body)
        stream = self.streams.get(stream_number)
        if stream is None:
            raise ValueError(f"a series of the unknown stream {stream_number}")
        size = len(self.integers)
        lengths = self.lengths
        starts: list[int] = []
        for kind, width in stream.wanted:
            first = positions[kind]
            end = first + width
            if end > size:
                raise ValueError(f"a series at slot {first} of {size}")
            if first < 0:
                starts.append(ABSENT)
                continue
            starts.append(lengths[kind])
            stretches = self._stretches[kind]
            if kind == RAW:
                stretches.append([first, end])
                lengths[RAW] += 1
                continue
            lengths[kind] += width
            if stretches and stretches[-1][1] == first:
                stretches[-1][1] = end
            else:
                stretches.append([first, end])
        stream.series[number] = (body[SERIES_HEAD.size :], tuple(starts))

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
