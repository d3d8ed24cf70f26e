"""How domains record: catalogue metrics turned into instruments that accept anything and keep what is right.

Domain functions are called from application code in production, so nothing here raises: a value of the
wrong type or an unknown attribute is left out and reported once. Recorders hold instruments of the
switch, so they can be made at import time, before `init()`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from decimal import Decimal
from functools import partial
from math import inf
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.metrics import Observation

from otelbridge.catalogue.model import Domain, Kind, Metric
from otelbridge.concurrency import forks
from otelbridge.diagnostics import warn_once
from otelbridge.domains.checks import checked_amount, checked_attributes, checked_return
from otelbridge.metrics.switch import switch
from otelbridge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.metrics import CallbackOptions

    from otelbridge.domains.checks import Attributes, AttributeValue
    from otelbridge.metrics.switch import SwitchMeter

    Reading = float | Iterable[tuple[float, Attributes]]
    Source = Callable[[], Reading]
    Read = Callable[[CallbackOptions], Iterable[Observation]]


class Recorder:
    """Records one synchronous metric of the catalogue.

    Attribute sets that come again are checked and resolved once: what is remembered is the provider's bound
    handle, where it has one.

    Args:
        meter: The switch's meter of the domain.
        metric: The metric, of a synchronous kind.
    """

    __slots__ = ("_generation", "_handles", "_instrument", "_meter", "_verb", "metric")

    def __init__(self, meter: SwitchMeter, metric: Metric) -> None:
        self.metric = metric
        self._meter = meter
        self._verb, self._instrument = _INSTRUMENTS[metric.kind](meter, metric)
        self._handles: dict[object, Any] = {}
        self._generation: object = None

    def record(self, amount: float | Decimal, attributes: Attributes | None = None) -> None:
        """Record one measurement. Never raises.

        Args:
            amount: The measurement, in the unit of the metric.
            attributes: Attributes the metric declares; None values mean absent.
        """
        meter = self._meter
        if not meter.active:
            return
        if type(amount) is float and 0.0 <= amount < inf:
            value: float | None = amount
        else:
            value = checked_amount(self.metric, amount)
        if value is None:
            return
        if self._generation is not meter.generation:
            self._handles = {}
            self._generation = meter.generation
        handles = self._handles
        try:
            handle = handles[(*attributes.items(),) if attributes else ()]
        except Exception:  # not met before, or nothing that can be looked up
            self._resolve(value, attributes, handles)
        else:
            getattr(handle, self._verb)(value)

    def bound(self, attributes: Attributes | None) -> Callable[[float], object]:
        """Check an attribute set once, for many measurements.

        Args:
            attributes: Attributes the metric declares; None values mean absent.

        Returns:
            Records an exact int or float that is no less than 0 where the instrument takes no less. It holds for as
            long as `DomainMeter.generation` stays the same.
        """
        kept = checked_attributes(self.metric, attributes)
        handle = self._instrument.bind(kept)
        if handle is None:
            return partial(getattr(self._instrument, self._verb), attributes=kept)
        return getattr(handle, self._verb)

    def remove(self, attributes: Attributes | None) -> None:
        """Hide what was recorded with an attribute set, until it is recorded with again. Never raises.

        Args:
            attributes: Attributes as they were given to `record`.
        """
        with suppress(Exception):  # what cannot be looked up was not remembered either
            self._handles.pop((*attributes.items(),) if attributes else (), None)
        self._instrument.remove(checked_attributes(self.metric, attributes))

    def _resolve(self, value: float, attributes: Attributes | None, handles: dict[object, Any]) -> None:
        if type(attributes) is dict:
            # What is checked and what is remembered must be the same, though another thread may change the caller's.
            attributes = cast("dict[str, Any]", attributes).copy()
        kept = checked_attributes(self.metric, attributes)
        handle = self._instrument.bind(kept) if _repeats(attributes) and len(handles) < _MAX_HANDLES else None
        if handle is None:
            getattr(self._instrument, self._verb)(value, kept)
            return
        handles[(*attributes.items(),) if attributes else ()] = handle
        getattr(handle, self._verb)(value)


def _repeats(attributes: Attributes | None) -> bool:
    # Texts only: numbers of different types are equal (1, 1.0, True) without being the same value.
    if not attributes:
        return attributes is None or isinstance(attributes, dict)
    return type(cast("object", attributes)) is dict and all(
        value is None or type(value) is str for value in attributes.values()
    )


class Registration:
    """Something that is being recorded; close it to stop.

    Args:
        close: What ends the recording.
    """

    __slots__ = ("__weakref__", "_close")

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close

    def close(self) -> None:
        """Stop recording. Closing twice is harmless."""
        self._close()


class Observed:
    """Feeds one observable metric of the catalogue from any number of sources.

    Args:
        meter: The switch's meter of the domain.
        metric: The metric, of an observable kind.
    """

    def __init__(self, meter: SwitchMeter, metric: Metric) -> None:
        self.metric = metric
        self._sources: dict[object, tuple[Source, Mapping[str, AttributeValue]]] = {}
        self._lock = forks.lock()
        _OBSERVERS[metric.kind](meter, metric, self._read)

    def observe(self, key: object, source: Source, attributes: Attributes | None = None) -> Registration:
        """Add a source, replacing one of the same key.

        Args:
            key: Identity of the source, for instance the name of a queue.
            source: Called at each collection, without arguments. Returns a number, or pairs of a number
                and the attributes that tell it apart. What it raises is reported once and its values
                are absent from that collection.
            attributes: Attributes of everything the source returns; checked now, so that a mistake in
                them is reported where it was made.

        Returns:
            A handle whose `close()` removes the source.
        """
        entry = (source, checked_attributes(self.metric, attributes))
        try:
            hash(key)
        except Exception as error:  # a name of a wrong type, most likely, and its attribute is reported already
            warn_once((self.metric.name, "key of source"), "%s is not observed: %r.", self.metric.name, error)
            return Registration(lambda: None)
        with self._lock:
            self._sources[key] = entry

        def close() -> None:
            with self._lock:
                if self._sources.get(key) is entry:
                    del self._sources[key]

        return Registration(close)

    def _read(self, _options: CallbackOptions) -> Iterable[Observation]:
        with self._lock:
            sources = list(self._sources.items())
        observations: list[Observation] = []
        for key, (source, attributes) in sources:
            try:
                for amount, own in _pairs(source()):
                    value = checked_amount(self.metric, amount)
                    if value is not None:
                        merged = checked_attributes(self.metric, {**attributes, **own})
                        observations.append(Observation(value, merged))
            except Exception as error:  # one broken source must not cost the others
                warn_once(
                    (self.metric.name, "source", str(key)[:100]),
                    "Reading %s of %r raised %r; its values are absent until it works again.",
                    self.metric.name,
                    key,
                    error,
                )
        return observations


def _pairs(reading: Reading) -> Iterable[tuple[float, Attributes]]:
    if isinstance(reading, (int, float, Decimal, Real)):
        none: Attributes = {}
        return [(reading, none)]
    return checked_return(reading, Iterable, "a number, or pairs of a number and its attributes")


class DomainMeter:
    """Makes the recorders of one domain.

    Args:
        domain: The domain, as the catalogue declares it.
    """

    def __init__(self, domain: Domain) -> None:
        self.meter = switch.get_meter(domain.meter, __version__)
        """The meter, whose `generation` changes with every connection of a provider."""

    @property
    def active(self) -> bool:
        """Whether measurements of this domain go anywhere. False before `init()`."""
        return self.meter.active

    @property
    def generation(self) -> object:
        """Changes with every connection of a provider; what was bound before is then another one's."""
        return self.meter.generation

    def recorder(self, metric: Metric) -> Recorder:
        """Make the recorder of a synchronous metric."""
        return Recorder(self.meter, metric)

    def observed(self, metric: Metric) -> Observed:
        """Make the feed of an observable metric."""
        return Observed(self.meter, metric)


def _counter(meter: SwitchMeter, metric: Metric) -> tuple[str, Any]:
    return "add", meter.create_counter(metric.name, metric.unit, metric.brief)


def _up_down_counter(meter: SwitchMeter, metric: Metric) -> tuple[str, Any]:
    return "add", meter.create_up_down_counter(metric.name, metric.unit, metric.brief)


def _gauge(meter: SwitchMeter, metric: Metric) -> tuple[str, Any]:
    return "set", meter.create_gauge(metric.name, metric.unit, metric.brief)


def _histogram(meter: SwitchMeter, metric: Metric) -> tuple[str, Any]:
    bounds = metric.buckets.boundaries if metric.buckets else None
    return "record", meter.create_histogram(
        metric.name, metric.unit, metric.brief, explicit_bucket_boundaries_advisory=bounds
    )


_INSTRUMENTS = {
    Kind.COUNTER: _counter,
    Kind.UP_DOWN_COUNTER: _up_down_counter,
    Kind.GAUGE: _gauge,
    Kind.HISTOGRAM: _histogram,
}
_MAX_HANDLES = 1000


def _observable_counter(
    meter: SwitchMeter, metric: Metric, read: Callable[[CallbackOptions], Iterable[Observation]]
) -> object:
    return meter.create_observable_counter(metric.name, [read], metric.unit, metric.brief)


def _observable_up_down_counter(
    meter: SwitchMeter, metric: Metric, read: Callable[[CallbackOptions], Iterable[Observation]]
) -> object:
    return meter.create_observable_up_down_counter(metric.name, [read], metric.unit, metric.brief)


def _observable_gauge(
    meter: SwitchMeter, metric: Metric, read: Callable[[CallbackOptions], Iterable[Observation]]
) -> object:
    return meter.create_observable_gauge(metric.name, [read], metric.unit, metric.brief)


_OBSERVERS = {
    Kind.OBSERVABLE_COUNTER: _observable_counter,
    Kind.OBSERVABLE_UP_DOWN_COUNTER: _observable_up_down_counter,
    Kind.OBSERVABLE_GAUGE: _observable_gauge,
}
