"""The reader behind the scrape endpoint, and the page it renders."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import AggregationTemporality

from otelbridge.catalogue.naming import Shape, Strategy
from otelbridge.concurrency.turn import Turn, engaged
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.metrics.current import Current
from otelbridge.metrics.store_reader import StoreReader
from otelbridge.prometheus.exposition import write_pieces
from otelbridge.prometheus.families import FamilyBook, FamilyOptions
from otelbridge.prometheus.model import Family, Piece, joined
from otelbridge.prometheus.negotiation import Format, choose
from otelbridge.prometheus.neighbours import NeighbourBook
from otelbridge.prometheus.streams import Stream
from otelbridge.prometheus.translation import Translation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.resources import Resource

    from otelbridge.metrics.current import CurrentStream

_CUMULATIVE = dict.fromkeys(
    (Counter, UpDownCounter, Histogram, ObservableCounter, ObservableUpDownCounter, ObservableGauge),
    AggregationTemporality.CUMULATIVE,
)

_MAX_BYTES = 50_000_000


class Exposition(NamedTuple):
    """One answer to a scrape."""

    content_type: str
    """Media type with its parameters, as negotiated."""

    body: bytes
    """The page; UTF-8 but for protobuf."""


class PrometheusReader(StoreReader):
    """A metric reader that renders what Prometheus scrapes. It works on the SDK's provider, too.

    On `otelbridge.metrics.provider.MeterProvider` it reads the store itself, which takes a fraction of the time and
    memory.

    Args:
        disable_target_info: Whether the resource is not shown as ``target_info``.
        prefix: Put before every name, with an underscore between.
        scope_info_enabled: Whether series carry the labels of their scope (``otel_scope_name``, ...).
        resource_attribute_filter: Tells which resource attributes every series carries as labels; by default none.
        strategy: How names are translated; specification of the Prometheus exporter, "Translation strategy".
        created: Whether OpenMetrics says since when a series counts (``_created``).
        max_bytes: Size above which whole families are left out of a page, the largest first.
        cardinality_limits: Attribute sets a stream keeps apart, by kind of instrument or ``default``; only on our
            provider.
    """

    def __init__(
        self,
        disable_target_info: bool = False,
        prefix: str = "",
        scope_info_enabled: bool = True,
        *,
        resource_attribute_filter: Callable[[str], bool] | None = None,
        strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES,
        created: bool = False,
        max_bytes: int = _MAX_BYTES,
        cardinality_limits: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(preferred_temporality=_CUMULATIVE)
        self.cardinality_limits: Mapping[str, int] = cardinality_limits or {}
        """See the class."""
        self.left_out = 0
        """How many families were left out of the last page, since it would have been too large."""
        self._options = FamilyOptions(
            target_info=not disable_target_info,
            scope_labels=scope_info_enabled,
            scope_attributes=scope_info_enabled,
            resource_labels=_Chosen(resource_attribute_filter),
        )
        self._prefix = f"{prefix}_" if prefix else ""
        self._strategy = strategy
        self._created = created
        self._max_bytes = max_bytes
        self._books: dict[Translation, _Books] = {}
        # Several may scrape, and a page may be in a format that has no exemplars.
        self._current = Current(keep_exemplars=True)
        # One at a time: what is remembered from scrape to scrape belongs to the one who renders.
        self._turn = Turn("a scrape")
        self._pages: dict[Format, Exposition] = {}
        self._stopped = False

    def render(self, wanted: Format | str | None = None) -> Exposition:
        """Collect and render everything. Takes time in proportion to the series: not for an event loop.

        Args:
            wanted: The format, or the ``Accept`` header of the scrape; by default the plain text format.

        Returns:
            The page and its content type. To a callback, signal handler or finalizer that asks in the middle of a read,
            it is the last page of that format, or an empty one.
        """
        form = wanted if isinstance(wanted, Format) else choose(wanted)
        if engaged():
            return self._pages.get(form) or Exposition(form.content_type, joined(write_pieces([], form)))
        began = perf_counter()
        with late_warnings:
            page = self._pages[form] = self._turn.run(lambda: self._render(form))
        if not self._stopped:
            self._tell(began)
        return page

    def _render(self, form: Format) -> Exposition:
        translation = Translation.settle(self._strategy, form.escaping)
        # Put back when all is done: half of what a scrape remembers, of one that was interrupted, would stay wrong.
        books = self._books.pop(translation, None) or _Books(translation, self._options)
        pieces = write_pieces(self._families(books), form, created=self._created)
        page = Exposition(form.content_type, joined(self._cut(pieces)))
        self._books[translation] = books
        return page

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002  # the base class's
        """Stop: pages are empty from now on."""
        self._stopped = True
        self._pages.clear()

    def _families(self, books: _Books) -> list[Family]:
        if self._stopped:
            return []
        if self._provider is not None:
            return self._provider.visit(self, lambda storage: self._build(books, *self._current.read(storage)))
        return books.families.families(self._collect_data())

    def _build(self, books: _Books, resource: Resource, streams: Sequence[CurrentStream]) -> list[Family]:
        ours = [self._stream(stream) for stream in streams if stream.kind and stream.foreign is None]
        families = books.families.build(resource, ours)
        if len(ours) < len(streams):
            families += books.neighbours.beside(families, streams)
        return families

    def _stream(self, stream: CurrentStream) -> Stream:
        shape = _SHAPES[stream.kind] if stream.kind != "sum" else _SUMS[stream.monotonic]
        name = self._prefix + stream.name
        return Stream(stream.scope, name, stream.unit, stream.description, shape, stream.points, stream.lasting)

    def _cut(self, pieces: list[Piece]) -> list[Piece]:
        sizes = [(piece.size, at) for at, piece in enumerate(pieces)]
        total, left_out = sum(size for size, _ in sizes), dict[int, Family]()
        for size, at in sorted(sizes, reverse=True):
            family = pieces[at].family
            if total <= self._max_bytes:
                break
            if family is not None:
                total -= size
                left_out[at] = family
        self.left_out = len(left_out)
        if not left_out:
            return pieces
        names = ", ".join(left_out[at].name for at in sorted(left_out))
        warn_once(
            ("prometheus", "size"),
            "The metrics page is larger than %d bytes; left out are the largest families: %.500s. Drop attributes by "
            "views, or allow a larger page.",
            self._max_bytes,
            names,
        )
        return [piece for at, piece in enumerate(pieces) if at not in left_out]


class _Books:
    """What is remembered from scrape to scrape."""

    def __init__(self, translation: Translation, options: FamilyOptions) -> None:
        self.families = FamilyBook(translation, options)
        self.neighbours = NeighbourBook(translation)


class _Chosen(frozenset[str]):
    """The keys a function chooses, as the set it stands for."""

    def __new__(cls, choose: Callable[[str], bool] | None) -> _Chosen:
        made = super().__new__(cls)
        made.choose = choose
        return made

    choose: Callable[[str], bool] | None

    def __contains__(self, key: object) -> bool:
        return self.choose is not None and self.choose(str(key))


_SUMS = {True: Shape.COUNTER, False: Shape.UP_DOWN}
_SHAPES = {"last": Shape.GAUGE, "histogram": Shape.HISTOGRAM, "exponential": Shape.HISTOGRAM}
