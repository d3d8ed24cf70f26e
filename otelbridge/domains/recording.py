"""How domains record: catalogue metrics turned into instruments that accept anything and keep what is right.

Domain functions are called from application code in production, so nothing here raises: a value of the
wrong type or an unknown attribute is left out and reported once. Recorders hold instruments of the
switch, so they can be made at import time, before `init()`.
"""

from __future__ import annotations

import math
import re
import threading
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, TypeGuard, cast

from opentelemetry.metrics import Observation

from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric
from otelbridge.diagnostics import warn_once
from otelbridge.metrics.switch import switch
from otelbridge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions

    from otelbridge.metrics.switch import SwitchMeter

    AttributeValue = str | bool | int | float
    Attributes = Mapping[str, AttributeValue | None]
    Reading = float | Iterable[tuple[float, Attributes]]
    Source = Callable[[], Reading]
    Read = Callable[[CallbackOptions], Iterable[Observation]]

OTHER = "_OTHER"
"""What a value outside a closed set is recorded as, as the semantic conventions do it."""

MAX_LENGTH = 1024
"""Characters of a text attribute that are kept; OpenTelemetry leaves the limit to its users."""

# What OTLP holds in an integer. One number beyond it would cost the whole export, at every export.
_INT64 = 2**63
_SURROGATES = re.compile("[\ud800-\udfff]")


def checked_amount(metric: Metric, amount: object) -> float | None:
    """Return an amount that the metric can take, or None after reporting why it cannot.

    Args:
        metric: The metric that is recorded.
        amount: What the caller gave.

    Returns:
        The amount as an int or float; None for anything that is not a finite real number, and for a
        negative one where the metric only counts up. Decimals, fractions and the numbers of NumPy are
        taken as floats, and so are whole numbers of more than 64 bits.
    """
    if not _is_number(amount):
        warn_once(
            (metric.name, "type"),
            "%s takes a number, not %.100r of type %s; the measurement is left out.",
            metric.name,
            amount,
            type(amount).__name__,
        )
        return None
    number = _finite(amount)
    if number is None:
        warn_once((metric.name, "finite"), "%s takes a finite number, not %.100r; it is left out.", metric.name, amount)
        return None
    if number < 0 and metric.kind in (Kind.COUNTER, Kind.HISTOGRAM, Kind.OBSERVABLE_COUNTER):
        warn_once(
            (metric.name, "negative"),
            "%s cannot take the negative amount %.100r; it is left out. Record the reverse as its own event.",
            metric.name,
            amount,
        )
        return None
    return number


def _is_number(amount: object) -> TypeGuard[float | Decimal | Real]:
    try:
        return isinstance(amount, (int, float, Decimal, Real)) and not isinstance(amount, bool)
    except Exception:  # a proxy, say, that raises when it is asked what it is
        return False


def _finite(amount: float | Decimal | Real) -> float | None:
    try:
        as_float = float(amount)
    except Exception:  # an int beyond every float, a signalling NaN, a number of somebody's own making
        return None
    if not math.isfinite(as_float):
        return None
    whole = int(amount) if isinstance(amount, int) else None
    return as_float if whole is None or not _fits(whole) else whole


def _fits(whole: int) -> bool:
    return -_INT64 <= whole < _INT64


def checked_attributes(metric: Metric, attributes: Attributes | None) -> dict[str, AttributeValue]:
    """Keep the attributes that the metric declares, with values of a right type.

    Args:
        metric: The metric that is recorded.
        attributes: What the caller gave; a value of None means absent.

    Returns:
        A new dictionary. Unknown keys, wrong types and numbers no exporter can write are left out and
        reported once; a value outside a closed set becomes `OTHER`. Texts are cut at `MAX_LENGTH` and
        made encodable.
    """
    kept: dict[str, AttributeValue] = {}
    if attributes is None:
        return kept
    try:
        items = [(key, value) for key, value in attributes.items()]
    except Exception:
        warn_once(
            (metric.name, "attributes"),
            "%s takes attributes as a mapping, not %s; they are left out.",
            metric.name,
            type(attributes).__name__,
        )
        return kept
    declared = {attribute.key: attribute for attribute in metric.attributes}
    for key, value in items:
        try:
            checked = None if value is None else _checked_value(metric, declared, key, value)
        except Exception as error:  # a proxy, say, that raises when it is asked what it is
            warn_once((metric.name, "value", _shown(key)), "An attribute of %s raised %r.", metric.name, error)
            continue
        if checked is not None:
            kept[str.__str__(key)] = checked
    return kept


def _checked_value(
    metric: Metric, declared: Mapping[str, Attribute], key: str, value: AttributeValue
) -> AttributeValue | None:
    attribute = declared.get(key) if isinstance(cast("object", key), str) else None
    if attribute is None:
        warn_once(
            (metric.name, "key", _shown(key)),
            "%s has no attribute %s; it is left out. Known: %s.",
            metric.name,
            _shown(key),
            ", ".join(declared) or "none",
        )
        return None
    if not isinstance(cast("object", value), (str, bool, int, float)):
        warn_once(
            (metric.name, "value", attribute.key),
            "The attribute %s of %s takes a string, number or boolean, not %s; it is left out.",
            attribute.key,
            metric.name,
            type(value).__name__,
        )
        return None
    if attribute.closed and value not in attribute.values:
        warn_once(
            (metric.name, "closed", attribute.key),
            "%.100r is no value of %s; it is recorded as %s. Known: %s.",
            value,
            attribute.key,
            OTHER,
            ", ".join(attribute.values),
        )
        return OTHER
    return _plain(metric, attribute.key, value)


def _plain(metric: Metric, key: str, value: AttributeValue) -> AttributeValue | None:
    """Give a value every exporter can write, and writes alike; None, after a report, where there is none."""
    # An Enum of texts, say, prints its name in one place and its value in another.
    if isinstance(value, str):
        return _encodable(metric, key, str.__str__(value))
    if isinstance(value, bool):
        return value
    number = int(value) if isinstance(value, int) else float(value)
    if _fits(number) if isinstance(number, int) else math.isfinite(number):
        return number
    warn_once(
        (metric.name, "number", key),
        "The attribute %s of %s takes a finite number of at most 64 bits; another one is left out.",
        key,
        metric.name,
    )
    return None


def _encodable(metric: Metric, key: str, text: str) -> str:
    if len(text) > MAX_LENGTH:
        warn_once(
            (metric.name, "length", key),
            "The attribute %s of %s is cut at %d characters, it has %d: %.100r. Record a word of a small set.",
            key,
            metric.name,
            MAX_LENGTH,
            len(text),
            text,
        )
        text = text[:MAX_LENGTH]
    # File names and the like come with lone surrogates, which no UTF-8 holds: one would fail every scrape.
    return text if text.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def _shown(key: object) -> str:
    return repr(key[:100]) if isinstance(key, str) else f"of type {type(key).__name__}"


class Recorder:
    """Records one synchronous metric of the catalogue.

    Args:
        meter: The switch's meter of the domain.
        metric: The metric, of a synchronous kind.
    """

    __slots__ = ("_meter", "_write", "metric")

    def __init__(self, meter: SwitchMeter, metric: Metric) -> None:
        self.metric = metric
        self._meter = meter
        self._write: Callable[[float, Mapping[str, AttributeValue]], None] = _WRITERS[metric.kind](meter, metric)

    def record(self, amount: float | Decimal, attributes: Attributes | None = None) -> None:
        """Record one measurement. Never raises.

        Args:
            amount: The measurement, in the unit of the metric.
            attributes: Attributes the metric declares; None values mean absent.
        """
        if not self._meter.active:
            return
        value = checked_amount(self.metric, amount)
        if value is not None:
            self._write(value, checked_attributes(self.metric, attributes))


class Registration:
    """A source that is being observed; close it to stop.

    Args:
        close: What removes the source.
    """

    __slots__ = ("_close",)

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close

    def close(self) -> None:
        """Stop observing. Closing twice is harmless."""
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
        self._lock = threading.Lock()
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
    return reading


class DomainMeter:
    """Makes the recorders of one domain.

    Args:
        domain: The domain, as the catalogue declares it.
    """

    def __init__(self, domain: Domain) -> None:
        self._meter = switch.get_meter(domain.meter, __version__)

    @property
    def active(self) -> bool:
        """Whether measurements of this domain go anywhere. False before `init()`."""
        return self._meter.active

    def recorder(self, metric: Metric) -> Recorder:
        """Make the recorder of a synchronous metric."""
        return Recorder(self._meter, metric)

    def observed(self, metric: Metric) -> Observed:
        """Make the feed of an observable metric."""
        return Observed(self._meter, metric)


def _counter(meter: SwitchMeter, metric: Metric) -> Callable[[float, Mapping[str, AttributeValue]], None]:
    return meter.create_counter(metric.name, metric.unit, metric.brief).add


def _up_down_counter(meter: SwitchMeter, metric: Metric) -> Callable[[float, Mapping[str, AttributeValue]], None]:
    return meter.create_up_down_counter(metric.name, metric.unit, metric.brief).add


def _gauge(meter: SwitchMeter, metric: Metric) -> Callable[[float, Mapping[str, AttributeValue]], None]:
    return meter.create_gauge(metric.name, metric.unit, metric.brief).set


def _histogram(meter: SwitchMeter, metric: Metric) -> Callable[[float, Mapping[str, AttributeValue]], None]:
    bounds = metric.buckets.boundaries if metric.buckets else None
    return meter.create_histogram(
        metric.name, metric.unit, metric.brief, explicit_bucket_boundaries_advisory=bounds
    ).record


_WRITERS = {
    Kind.COUNTER: _counter,
    Kind.UP_DOWN_COUNTER: _up_down_counter,
    Kind.GAUGE: _gauge,
    Kind.HISTOGRAM: _histogram,
}


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
