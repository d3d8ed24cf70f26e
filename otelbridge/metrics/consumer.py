"""Connects instruments, streams and readers."""

from __future__ import annotations

from collections import Counter
from functools import partial
from time import time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.context import get_current
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import AggregationTemporality

from otelbridge.concurrency import forks
from otelbridge.concurrency.turn import ReentranceError, Turn
from otelbridge.diagnostics import late_warnings
from otelbridge.metrics._sdk import (
    Measurement,
    SynchronousMeasurementConsumer,
    is_enabled,
    preferences,
)
from otelbridge.metrics.bound import create_bound_writer
from otelbridge.metrics.callbacks import Callbacks
from otelbridge.metrics.exemplars import within_span
from otelbridge.metrics.guests import Guests
from otelbridge.metrics.instruments import SYNCHRONOUS, bind_to_nothing
from otelbridge.metrics.limits import Limits
from otelbridge.metrics.observed import ObservedMatch
from otelbridge.metrics.quota import Quota
from otelbridge.metrics.readers import SharedMatch, Storage
from otelbridge.metrics.registry import StreamRegistry
from otelbridge.metrics.rivals import without_rivals
from otelbridge.metrics.secrets import as_they_are
from otelbridge.metrics.writers import create_check, create_writer, join, nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.util.types import Attributes

    from otelbridge.metrics.foreign import Source
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.secrets import Hide
    from otelbridge.metrics.series import Series
    from otelbridge.metrics.streams import Stream
    from otelbridge.metrics.writers import BoundWrite, Offer, Watch, Write

_T = TypeVar("_T")

_CALLBACK_MILLIS = 10_000.0
"""How long callbacks may take where nobody says; the SDK's figure."""


def _always() -> bool:
    return True


class Consumer(SynchronousMeasurementConsumer):
    """The SDK's measurement consumer, with one store for all readers.

    Args:
        configuration: The SDK's configuration: resource, views, exemplar filter.
        cardinality_limit: How many attribute sets a stream keeps apart.
        series_limit: How many all streams keep apart together.
        instrument_limit: How many instruments there may be.
        processes: The group of processes this one belongs to; None keeps to itself.
        hide: Hides what may not be shown of an attribute set.
    """

    def __init__(
        self,
        configuration: Any,
        *,
        cardinality_limit: int,
        series_limit: int,
        instrument_limit: int,
        processes: Processes | None = None,
        hide: Hide = as_they_are,
    ) -> None:
        super().__init__(configuration, ())
        self._processes = processes
        self._streams = StreamRegistry(processes, series_limit, hide)
        self._limit = cardinality_limit
        self._count = Quota(
            instrument_limit,
            "There are %d instruments, which is the limit; further ones record nothing. Create instruments once, and "
            "tell what varies by attributes.",
        )
        self._instruments: list[Any] = []
        self._guests = None if processes is None else Guests(self._streams, processes, self._count)
        self._sources: tuple[Source, ...] = ()
        self._watch = self._create_watch()
        self._turn = Turn("a read")
        # Reentrant, unlike the SDK's: a signal handler may make an instrument while this thread does.
        self._lock: Any = forks.lock()
        # No reader's turn, which lasts while callbacks run: a callback may create instruments.
        self._wiring = forks.lock()
        self._observing = forks.lock()
        self._callbacks = Callbacks()
        if processes is not None:
            processes.watch(self.observe, self._observes, self._streams)

    @property
    def held(self) -> int:
        """How many attribute sets all streams keep apart now."""
        return self._streams.held.used

    def overflowing(self) -> dict[str, int]:
        """Tell which metrics count some attribute sets together for want of room, and in how many streams."""
        streams = {id(stream): (stream.name, stream) for stream in self._streams.all()}
        for storage in self._reader_storages.values():
            streams.update({id(match): (match.name, match) for match in storage.limited()})
        return Counter(name for name, stream in streams.values() if stream.overflowing)

    def admit(self) -> bool:
        """Tell whether there may be one more instrument, and warn if not."""
        return self._count.admits()

    def register(self, instrument: Any) -> None:
        """Wire a new synchronous instrument."""
        with self._wiring:
            self._count.add(1)
            self._instruments.append(instrument)
            self._wire(instrument)

    def register_asynchronous_instrument(self, instrument: Any) -> None:
        """Take note of a new observable instrument."""
        self._count.add(1)
        super().register_asynchronous_instrument(instrument)
        for storage in self._reader_storages.values():
            storage.matches(instrument)
        if self._processes is not None:
            self._processes.attend()

    def add_source(self, source: Source) -> None:
        """Let the readers also read what comes from elsewhere."""
        source.join(self._streams, self._processes, self._limit)
        with self._turn.lock:
            self._sources = (*self._sources, source)
        if self._processes is not None and source.present:
            self._processes.attend()

    def before_fork(self) -> None:
        """Prepare for a fork, which `after_fork_in_parent` and `after_fork` end."""
        self._callbacks.before_fork()
        for source in self._sources:
            source.before_fork()

    def after_fork_in_parent(self) -> None:
        """Go on after a fork."""
        for source in self._sources:
            source.after_fork_in_parent()
        self._callbacks.after_fork_in_parent()

    def publish(self) -> None:
        """Leave to the other processes what is not recorded here, but read now and then, as it is at the end."""
        if self._processes is not None and self._processes.accompanied:
            with late_warnings:
                self._turn.run(self._refresh_sources)

    def _refresh_sources(self) -> None:
        for source in self._sources:
            source.refresh()

    def add_metric_reader(self, metric_reader: MetricReader) -> None:
        """Let one more reader read; streams that others read already it shares."""
        temporality, aggregations = map(_with_our_classes, preferences(metric_reader))
        # Deltas of several processes cannot be told apart by who receives them: each sends its own.
        merged = self._processes is not None and AggregationTemporality.DELTA not in temporality.values()
        limits = Limits(self._limit, metric_reader)
        storage = Storage(self._sdk_config, temporality, aggregations, limits, self._streams, merged=merged)
        with self._turn.lock, self._wiring:
            self._reader_storages = {**self._reader_storages, metric_reader: storage}
            self._rewire()

    def remove_metric_reader(self, metric_reader: MetricReader) -> None:
        """Let a reader read no longer."""
        with self._turn.lock, self._wiring:
            storages = dict(self._reader_storages)
            storage: Any = storages.pop(metric_reader)
            self._reader_storages = storages
            storage.release()
            for instrument in self._instruments:
                for match in storage.matches(instrument):
                    if isinstance(match, SharedMatch):
                        match.stream.matches.remove(match)
            self._rewire()

    def close(self) -> None:
        """Let go of what works beside, once all readers have ended."""
        self._callbacks.close()

    def after_fork(self) -> None:
        """Begin anew in a forked child: its values are zero."""
        self._callbacks.after_fork()
        if self._processes is not None:
            self._processes.after_fork()
        self._streams.after_fork()
        for storage in self._reader_storages.values():
            storage.after_fork()
        for source in self._sources:
            source.after_fork()

    def collect(self, metric_reader: Any, timeout_millis: float = 10_000) -> Any:
        """Give a reader its data.

        Returns:
            The data, as the SDK's consumer gives it. None where a callback, a signal handler or a finalizer asks in the
            middle of a read: nothing is lost by it.
        """
        try:
            return self.visit(metric_reader, lambda storage: storage.collect(), timeout_millis)
        except ReentranceError:
            return None

    def visit(self, metric_reader: Any, read: Callable[[Storage], _T], timeout_millis: float = 10_000) -> _T:
        """Bring everything up to date for a reader, and let it be read.

        Args:
            metric_reader: The reader.
            read: Takes out of the reader's storage what is wanted. Only one reads at a time.
            timeout_millis: How long callbacks may take.

        Returns:
            What `read` gave.

        Raises:
            ReentranceError: This thread is in the middle of a read.
        """
        with late_warnings:
            return self._turn.run(partial(self._visit, metric_reader, read, timeout_millis))

    def _visit(self, metric_reader: Any, read: Callable[[Storage], _T], timeout_millis: float) -> _T:
        storage: Storage = self._reader_storages[metric_reader]
        self._refresh_sources()
        if self._processes is not None and storage.merged:
            self._processes.refresh()
            for source in self._sources:
                source.receive(self._processes.totals)
        self._streams.tidy()
        storage.tidy()
        if self._guests is not None and self._processes is not None and storage.merged:
            self._guests.wire(storage, self._processes.totals)
        for source in self._sources:
            source.wire(storage)
        self._call_back(storage, timeout_millis)
        return read(storage)

    def observe(self) -> None:
        """Run all callbacks, so that the other processes see what they observe now."""
        storages = [storage for storage in self._reader_storages.values() if storage.merged]
        instruments = tuple(self._async_instruments)
        found = self._observed(instruments, _CALLBACK_MILLIS)
        for instrument in instruments:
            matches = [match for storage in storages for match in storage.matches(instrument)]
            self._feed(matches, None, found.get(id(instrument), ()))
        self._refresh_sources()

    def _observes(self) -> bool:
        return bool(self._async_instruments) or any(source.present for source in self._sources)

    def _call_back(self, storage: Storage, timeout_millis: float) -> None:
        instruments = tuple(self._async_instruments)
        found = self._observed(instruments, timeout_millis)
        for instrument in instruments:
            self._feed(storage.matches(instrument), storage, found.get(id(instrument), ()))

    def _observed(self, instruments: Sequence[Any], timeout_millis: float) -> Mapping[int, Sequence[Measurement]]:
        return without_rivals(instruments, self._callbacks.observe(instruments, timeout_millis))

    def _feed(self, matches: list[Any], storage: Storage | None, measurements: Sequence[Measurement]) -> None:
        observed = {id(match.stream): match.stream for match in matches if isinstance(match, ObservedMatch)}
        others = storage is not None and len(matches) > len(observed)
        exemplars = self._sdk_config.exemplar_filter
        with self._observing:
            for stream in observed.values():
                stream.begin()
            for one in measurements:
                for stream in observed.values():
                    stream.take(one)
                if storage is not None and others:
                    sample = exemplars.should_sample(one.value, one.time_unix_nano, one.attributes, one.context)
                    storage.consume_measurement(one, sample)
            for stream in observed.values():
                stream.end()

    def rewire(self) -> None:
        """Connect every instrument anew, as it is now enabled or not."""
        with self._wiring:
            self._rewire()

    def _rewire(self) -> None:
        for instrument in self._instruments:
            self._wire(instrument)

    def _wire(self, instrument: Any) -> None:
        if not is_enabled(instrument):
            instrument.wire(nothing, bind_to_nothing, nothing)
            return
        storages: list[Any] = list(self._reader_storages.values())
        matches = [match for storage in storages for match in storage.matches(instrument)]
        shared = {id(match.stream): match.stream for match in matches if isinstance(match, SharedMatch)}
        others = [match for match in matches if not isinstance(match, SharedMatch)]
        settings: dict[str, Any] = {"name": instrument.name, "signed": instrument.signed, "watch": self._watch}
        writers: list[Write] = [
            create_writer(stream, offer=_offer_to(stream, self._sdk_config), **settings) for stream in shared.values()
        ]
        if others:
            writers.append(self._measure(instrument, others))

        def bind(attributes: Attributes) -> BoundWrite:
            bound: list[Any] = [
                create_bound_writer(stream, attributes, offer=_offer_to(stream, self._sdk_config), **settings)
                for stream in shared.values()
            ]
            if others:
                measure = self._measure(instrument, others)
                bound.append(partial(_with_attributes, measure, attributes))
            return join(bound) if len(bound) == 1 else _bound_to_all(bound)

        def remove(attributes: Attributes) -> None:
            for stream in shared.values():
                stream.remove(attributes)

        instrument.wire(join(writers), bind, remove)

    def _measure(self, instrument: Any, matches: list[Any]) -> Write:
        check = create_check(instrument.name, signed=instrument.signed)
        exemplars = self._sdk_config.exemplar_filter

        def write(amount: Any, attributes: Attributes = None, context: Context | None = None) -> None:
            value = check(amount)
            if value is not None:
                measurement = Measurement(value, time_ns(), instrument, context or get_current(), attributes)
                sample = exemplars.should_sample(value, measurement.time_unix_nano, attributes, measurement.context)
                for match in matches:
                    match.consume_measurement(measurement, sample)

        return write

    def _create_watch(self) -> Watch | None:
        if isinstance(self._sdk_config.exemplar_filter, AlwaysOffExemplarFilter):
            return None
        return within_span if isinstance(self._sdk_config.exemplar_filter, TraceBasedExemplarFilter) else _always


def _with_attributes(write: Write, attributes: Attributes, amount: float) -> None:
    write(amount, attributes)


def _with_our_classes(by_class: dict[type[Any], Any]) -> dict[type[Any], Any]:
    return {**by_class, **{ours: by_class[theirs] for theirs, ours in SYNCHRONOUS.items()}}


def _offer_to(stream: Stream, configuration: Any) -> Offer:
    exemplars = configuration.exemplar_filter

    def offer(amount: float, attributes: Attributes, context: Context | None, series: Series) -> None:
        current = context or get_current()
        if exemplars.should_sample(amount, time_ns(), attributes, current):
            # What stands in a reservoir must not follow the caller's dictionary.
            kept = attributes and {**attributes}
            for match in stream.matches:
                match.offer(amount, kept, current, series)

    return offer


def _bound_to_all(writers: list[BoundWrite]) -> BoundWrite:
    def write(amount: float) -> None:
        for each in writers:
            each(amount)

    return write
