"""Connects instruments, streams and readers."""

from __future__ import annotations

import threading
from functools import partial
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.context import get_current
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, TraceBasedExemplarFilter

from otelbridge.metrics._sdk import (
    Measurement,
    SynchronousMeasurementConsumer,
    is_enabled,
    preferences,
    tracing,
    view_keys,
    view_name,
)
from otelbridge.metrics.instruments import SYNCHRONOUS
from otelbridge.metrics.readers import SharedMatch, Storage
from otelbridge.metrics.streams import Stream
from otelbridge.metrics.writers import create_bound_writer, create_check, create_writer, join, nothing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.util.types import Attributes

    from otelbridge.metrics.kinds import Kind
    from otelbridge.metrics.series import Series
    from otelbridge.metrics.writers import BoundWrite, Offer, Watch, Write


def _always() -> bool:
    return True


class Consumer(SynchronousMeasurementConsumer):
    """The SDK's measurement consumer, with one store for all readers.

    Args:
        configuration: The SDK's configuration: resource, views, exemplar filter.
        readers: The readers there are at the start.
        limit: Cardinality limit of a stream.
    """

    def __init__(self, configuration: Any, readers: Iterable[MetricReader], limit: int) -> None:
        super().__init__(configuration, ())
        self._limit = limit
        self._streams: dict[tuple[int, int, Kind], Stream] = {}
        self._instruments: list[Any] = []
        self._watch = self._create_watch()
        # Not the SDK's lock, which is held while callbacks run: a callback may create instruments.
        self._wiring = threading.RLock()
        for reader in readers:
            self.add_metric_reader(reader)

    def register(self, instrument: Any) -> None:
        """Wire a new synchronous instrument."""
        with self._wiring:
            self._instruments.append(instrument)
            self._wire(instrument)

    def add_metric_reader(self, metric_reader: MetricReader) -> None:
        """Let one more reader read; streams that others read already it shares."""
        temporality, aggregations = map(_with_our_classes, preferences(metric_reader))
        storage = Storage(self._sdk_config, temporality, aggregations, self._limit, self._share)
        with self._lock, self._wiring:
            self._reader_storages = {**self._reader_storages, metric_reader: storage}
            self._rewire()

    def remove_metric_reader(self, metric_reader: MetricReader) -> None:
        """Let a reader read no longer."""
        with self._lock, self._wiring:
            storages = dict(self._reader_storages)
            storage: Any = storages.pop(metric_reader)
            self._reader_storages = storages
            for instrument in self._instruments:
                for match in storage.matches(instrument):
                    if isinstance(match, SharedMatch):
                        match.stream.matches.remove(match)
            self._rewire()

    def after_fork(self) -> None:
        """Begin anew in a forked child: its locks are free, its values zero."""
        self._lock = threading.Lock()
        self._wiring = threading.RLock()
        for stream in self._streams.values():
            stream.after_fork()
        for storage in self._reader_storages.values():
            storage.after_fork()

    def rewire(self) -> None:
        """Connect every instrument anew, as it is now enabled or not."""
        with self._wiring:
            self._rewire()

    def _rewire(self) -> None:
        for instrument in self._instruments:
            self._wire(instrument)

    def _wire(self, instrument: Any) -> None:
        if not is_enabled(instrument):
            instrument.wire(nothing, _bind_to_nothing)
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

        instrument.wire(join(writers), bind)

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

    def _share(self, instrument: Any, view: View, kind: Kind) -> Stream:
        key = (id(instrument), id(view), kind)
        stream = self._streams.get(key)
        if stream is None:
            name = view_name(view) or instrument.name
            stream = self._streams[key] = Stream(name, kind, view_keys(view), self._limit)
        return stream

    def _create_watch(self) -> Watch | None:
        if isinstance(self._sdk_config.exemplar_filter, AlwaysOffExemplarFilter):
            return None
        return tracing if isinstance(self._sdk_config.exemplar_filter, TraceBasedExemplarFilter) else _always


def _bind_to_nothing(_attributes: Attributes) -> BoundWrite:
    return nothing


def _with_attributes(write: Write, attributes: Attributes, amount: float) -> None:
    write(amount, attributes)


def _with_our_classes(by_class: dict[type[Any], Any]) -> dict[type[Any], Any]:
    return {**by_class, **{ours: by_class[theirs] for theirs, ours in SYNCHRONOUS.items()}}


def _offer_to(stream: Stream, configuration: Any) -> Offer:
    exemplars = configuration.exemplar_filter

    def offer(amount: float, attributes: Attributes, context: Context | None, series: Series) -> None:
        current = context or get_current()
        if exemplars.should_sample(amount, time_ns(), attributes, current):
            for match in stream.matches:
                match.offer(amount, attributes, current, series)

    return offer


def _bound_to_all(writers: list[BoundWrite]) -> BoundWrite:
    def write(amount: float) -> None:
        for each in writers:
            each(amount)

    return write
