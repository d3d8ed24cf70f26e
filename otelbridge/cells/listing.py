"""The series of one book, and where their slots lie in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from otelbridge.cells.records import RETIRED, REVIVED, SERIES, SERIES_HEAD, STREAM, read_number, read_stream
from otelbridge.cells.shape import KINDS, RAW
from otelbridge.cells.volume import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.cells.catalog import Catalog, Place
    from otelbridge.cells.shape import Shape


_ROW_TRIES = 1000


class Slots(Protocol):
    """Where a listing finds values: a `Volume`, or the base."""

    integers: memoryview[Any]
    floats: memoryview[Any]

    @property
    def uid(self) -> str:
        """The name of the book."""
        ...

    @property
    def live(self) -> bool:
        """Whether its process lives."""
        ...

    @property
    def slots(self) -> int:
        """How many slots there are."""
        ...


class Listing:
    """What the key log of a book says, ready for merging.

    The slots of a kind are read as few long stretches of the file; `starts` names where each series begins in them.

    Args:
        book: Where the values are.
        catalog: Gives each series its place.

    Attributes:
        starts: For each kind, number of the place, first slot in `values` (of raw slots: in the book) and number of the
            series in the book.
        series: The place of each series by its number in the book.
        retired: The numbers of the series that the process no longer has.
        version: Grows whenever one of the above changes.
    """

    def __init__(self, book: Slots, catalog: Catalog) -> None:
        self.book = book
        self.starts: list[list[tuple[int, int, int]]] = [[] for _ in KINDS]
        self.series: dict[int, Place] = {}
        self.retired: set[int] = set()
        self.version = 0
        self._catalog = catalog
        self._streams: dict[int, tuple[Shape, dict[bytes, Place] | None, list[tuple[int, int]]]] = {}
        self._stretches: list[list[list[int]]] = [[] for _ in KINDS]
        self._lengths = [0] * len(KINDS)
        self._final: dict[int, list[Any]] = {}

    def take_in(self, bodies: list[bytes]) -> None:
        """Take in the next records of the key log.

        Args:
            bodies: Their bodies, in order.

        Raises:
            ValueError: If a record makes no sense; those before it are taken in.
        """
        self.version += bool(bodies)
        self._final.clear()
        for body in bodies:
            taker = self._takers.get(body[0])
            if taker is None:
                raise ValueError(f"a record of unknown type {body[0]}")
            taker(self, body)

    def silent(self) -> set[int]:
        """Tell which series have no part in merged values.

        Returns:
            Their numbers in the book: what a dead process does not leave, and what was retired and is not added.
        """
        if self.book.live:
            return {number for number in self.retired if number in self.series and not self.series[number].shape.adds}
        return {number for number, place in self.series.items() if not place.shape.outlives}

    def values(self, kind: int) -> list[Any]:
        """Read all slots of a kind.

        Args:
            kind: Index in `KINDS`, but for raw slots.

        Returns:
            The slots, as `starts` refers to them. Not to be changed.
        """
        final = self._final.get(kind)
        if final is not None:
            return final
        slots = self.book.integers if KINDS[kind].code == "q" else self.book.floats
        flat: list[Any] = []
        for first, end in self._stretches[kind]:
            flat += slots[first:end].tolist()
        if not self.book.live:
            self._final[kind] = flat
        return flat

    def row(self, first: int, width: int) -> list[int]:
        """Read a raw row.

        Args:
            first: Its first slot in the book.
            width: How many slots it has.

        Returns:
            The slots, all of one version unless that changes at every look.
        """
        slots = self.book.integers
        row: list[int] = []
        for _ in range(_ROW_TRIES):
            version = slots[first]
            row = slots[first : first + width].tolist()
            if slots[first] == version == row[0]:
                break
        return row

    def length(self, kind: int) -> int:
        """Tell how many slots `values` gives.

        Args:
            kind: Index in `KINDS`.

        Returns:
            The number of slots.
        """
        return self._lengths[kind]

    def _take_stream(self, body: bytes) -> None:
        number, shape, identity = read_stream(body)
        series = self._catalog.stream(identity, shape)
        if series is None:
            report(f"shape {identity!r}", f"Book {self.book.uid} keeps {identity!r} as {shape}, unlike the others")
        wanted = [(kind, width) for kind, width in enumerate(shape.widths) if width]
        self._streams[number] = (shape, series, wanted)

    def _take_series(self, body: bytes) -> None:
        if len(body) < SERIES_HEAD.size:
            raise ValueError(f"a series in {len(body)} bytes")
        _, stream, number, *positions = SERIES_HEAD.unpack_from(body)
        if stream not in self._streams:
            raise ValueError(f"a series of the unknown stream {stream}")
        shape, series, wanted = self._streams[stream]
        if series is None:
            return
        slots = self.book.slots
        for kind, width in wanted:
            if positions[kind] + width > slots:
                raise ValueError(f"a series at slot {positions[kind]} of {slots}")
        attributes = body[SERIES_HEAD.size :]
        place = series.get(attributes) or self._catalog.add(series, shape, attributes)
        self.series[number] = place
        lengths = self._lengths
        for kind, width in wanted:
            first = positions[kind]
            if first < 0:
                continue
            if kind == RAW:
                self.starts[RAW].append((place.number, first, number))
                continue
            stretches = self._stretches[kind]
            if stretches and stretches[-1][1] == first:
                stretches[-1][1] = first + width
            else:
                stretches.append([first, first + width])
            self.starts[kind].append((place.number, lengths[kind], number))
            lengths[kind] += width

    def _take_retired(self, body: bytes) -> None:
        self.retired.add(read_number(body))

    def _take_revived(self, body: bytes) -> None:
        self.retired.discard(read_number(body))

    _takers: ClassVar[dict[int, Callable[[Listing, bytes], None]]] = {
        STREAM: _take_stream,
        SERIES: _take_series,
        RETIRED: _take_retired,
        REVIVED: _take_revived,
    }
