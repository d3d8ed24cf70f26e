"""Streams that other processes of the group have, and this one has not.

Any process may be asked for the metrics of all, and not all of them need to run the same version of a program. What
another one has under a key that is unknown here is shown as its identity says, not as the views of this process would
have it.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from opentelemetry.sdk.metrics.view import (
    Aggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)

from otelbridge.diagnostics import warn_once
from otelbridge.metrics._sdk import InstrumentationScope, create_instrument
from otelbridge.metrics.foreign import is_foreign
from otelbridge.metrics.identity import StreamIdentity, decode_attributes, key_of
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.merging import PER_WORKER, shape_of
from otelbridge.metrics.observed import ObservedMatch
from otelbridge.metrics.readers import SYNCHRONOUS, SharedMatch
from otelbridge.metrics.streams import Sharing, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from otelbridge.cells.shelf import Totals
    from otelbridge.metrics.deltas import Reads
    from otelbridge.metrics.limits import Terms
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.quota import Quota
    from otelbridge.metrics.readers import Storage
    from otelbridge.metrics.registry import StreamRegistry
    from otelbridge.metrics.variants import Variant

_NAME = "guest"


class Guests:
    """The streams of other processes. Not for several threads at once."""

    def __init__(self, streams: StreamRegistry, processes: Processes, count: Quota) -> None:
        self._streams = streams
        self._processes = processes
        self._count = count
        self._guests: dict[bytes, _Guest | None] = {}
        self._settled: object = None
        self._wired: WeakSet[Storage] = WeakSet()

    def wire(self, storage: Storage, totals: Totals | None) -> None:
        """Let a reader read what there is now."""
        found = self._processes.variants.all(totals)
        settled = (found, len(self._streams.own))
        if settled != self._settled:
            self._settle(found)
            self._settled = settled
            self._wired.clear()
        if storage not in self._wired:
            guests = [guest for guest in self._guests.values() if guest is not None]
            chosen = _chosen(guests, list(self._streams.own.values()), storage)
            storage.adopt(self, {guest.instrument: guest.match for guest in chosen})
            self._wired.add(storage)

    def _settle(self, found: Mapping[bytes, Sequence[Variant]]) -> None:
        own = self._streams.own
        for key in [key for key in self._guests if key in own or key not in found]:
            self._leave(key)
        for key in found.keys() - own.keys() - self._guests.keys():
            # Of several identities all processes take the same one.
            identity = found[key][-1].identity
            if not is_foreign(identity):  # no instrument of ours
                self._guests[key] = self._make(key, identity)
        told = {(own.key.scope, own.key.name, own.key.slot): own for own in list(own.values())}
        for guest in self._guests.values():
            if guest is not None:
                key = guest.identity.key
                _report(guest.identity, told.get((key.scope, key.name, key.slot)))

    def _leave(self, key: bytes) -> None:
        guest = self._guests.pop(key)
        if guest is not None:
            self._count.add(-1)
            self._streams.drop((_NAME, key))

    def _make(self, key: bytes, code: bytes) -> _Guest | None:
        if not self._count.admits():
            return None
        try:
            identity = StreamIdentity.decode(code)
            instrument = _instrument(identity)
            stream = self._streams.add(
                (_NAME, key),
                partial(_stream, self._streams, self._processes, code, identity),
                identity.limit,
            )
        except Exception as error:  # another version of this package may have written it
            warn_once((_NAME, str(error)), "A metric of another process cannot be shown: %s", error)
            return None
        self._count.add(1)
        return _Guest(identity, instrument, stream)


class _Guest:
    """A stream, as readers see it."""

    def __init__(self, identity: StreamIdentity, instrument: Any, stream: GuestStream) -> None:
        self.identity = identity
        self.instrument = instrument
        self.stream = stream
        self._view = View(
            instrument_name=_NAME, name=identity.key.name, aggregation=_AGGREGATIONS[identity.key.kind](identity)
        )

    def match(self, instrument: Any, aggregations: Any, /, *, merged: bool, reads: Reads | None) -> Any:
        """Make what a reader reads; see `otelbridge.metrics.readers.Storage.adopt`."""
        stream: Any = self.stream
        if isinstance(instrument, SYNCHRONOUS):
            return SharedMatch(self._view, instrument, aggregations, stream, merged=merged, reads=reads)
        return ObservedMatch(self._view, instrument, aggregations, stream, gauge=self.identity.key.kind == "last")


class GuestStream(Stream):
    """A stream that has no series here.

    Args:
        streams: What knows whether this process has made the stream itself.
        key: What makes streams one.
        settings: See `Stream`.
    """

    def __init__(self, streams: StreamRegistry, key: bytes, *settings: Any, **more: Any) -> None:
        super().__init__(*settings, **more)
        self._streams = streams
        self._key = key

    def merged(self) -> list[Any]:
        """See `Stream.merged`. Once this process has made the stream itself, it is shown there."""
        return [] if self._key in self._streams.own else super().merged()


def _stream(
    streams: StreamRegistry, processes: Processes, code: bytes, identity: StreamIdentity, terms: Terms
) -> GuestStream:
    key = identity.key
    observed = key.instrument.startswith("observable")
    kind = Kind(key.kind, identity.bounds, identity.extremes, identity.max_size, identity.max_scale)
    shape = shape_of(kind, key.rule, observed=observed)
    sharing = Sharing(processes, code, shape, key.rule == PER_WORKER)
    lasting = key.kind == "sum" and key.instrument == "up_down_counter"
    terms = terms._replace(forget_after=identity.forget_after, lasting=lasting)
    # As the registry has it: where processes are not added, each keeps its last value, sum or not.
    kept = Kind("last") if shape.marks else kind
    return GuestStream(streams, key_of(code), key.name, kept, None, terms, sharing, observed=observed)


def _instrument(identity: StreamIdentity) -> Any:
    key = identity.key
    attributes = decode_attributes(key.scope_attributes.encode())
    scope = InstrumentationScope(key.scope, key.version, key.schema_url, attributes or None)
    return create_instrument(key.instrument, _NAME, scope, key.unit, identity.description)


_AGGREGATIONS: dict[str, Callable[[StreamIdentity], Aggregation]] = {
    "sum": lambda _: SumAggregation(),
    "last": lambda _: LastValueAggregation(),
    "histogram": lambda it: ExplicitBucketHistogramAggregation(it.bounds, it.extremes),
    "exponential": lambda it: ExponentialBucketHistogramAggregation(it.max_size, it.max_scale, it.extremes),
}


def _chosen(guests: Iterable[_Guest], own: Iterable[StreamIdentity], storage: Storage) -> list[_Guest]:
    """Leave out what is meant for other readers: each measurement is shown to a reader once."""
    alike: defaultdict[object, list[StreamIdentity]] = defaultdict(list)
    guests = list(guests)
    for identity in (*own, *(guest.identity for guest in guests)):
        alike[_measured(identity)].append(identity)
    return [
        guest for guest in guests if guest.identity.key.slot == _slot(alike[_measured(guest.identity)], guest, storage)
    ]


def _measured(identity: StreamIdentity) -> object:
    key = identity.key
    return (key.scope, key.version, key.schema_url, key.scope_attributes, key.instrument, key.name, key.unit)


def _slot(alike: Sequence[StreamIdentity], guest: _Guest, storage: Storage) -> int:
    """Give the slot whose streams are most like those the reader would have made."""
    slots = sorted({identity.key.slot for identity in alike})
    if len(slots) == 1:
        return slots[0]
    kind, apart = storage.preference(guest.instrument)
    likeness = {
        slot: max((each.key.kind == kind) + (each.apart == apart) for each in alike if each.key.slot == slot)
        for slot in slots
    }
    return max(slots, key=lambda slot: (likeness[slot], -slot))


def _report(guest: StreamIdentity, own: StreamIdentity | None) -> None:
    if own is None:
        return
    theirs, ours = (f"{each.key.instrument} in {each.key.unit!r} ({each.key.kind})" for each in (guest, own))
    if theirs != ours:
        warn_once(
            (own.key.scope, own.key.name, "changed"),
            "Another process of this service has %.200r as %.200s, this one as %.200s. Both are shown as far as they "
            "can stand beside each other. Give what is measured in another way another name.",
            own.key.name,
            theirs,
            ours,
        )
