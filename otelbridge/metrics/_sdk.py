"""Everything taken from the SDK and the API that they do not offer under a public name.

Checked against opentelemetry-api and -sdk 1.45.1. `tests/metrics/test_sdk.py` fails when a release moves
one of these, so that this file is the only one to mend.
"""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from time import time_ns
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import trace as trace_api
from opentelemetry.context import (
    _RUNTIME_CONTEXT,
    _SUPPRESS_INSTRUMENTATION_KEY,
    attach,
    detach,
    get_current,
    set_value,
)
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.metrics import _Gauge as ApiGauge
from opentelemetry.metrics import _internal as _api
from opentelemetry.metrics import get_meter_provider
from opentelemetry.metrics._internal import _ProxyMeterProvider  # pyright: ignore[reportPrivateUsage]
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics import _Gauge as Gauge  # pyright: ignore[reportPrivateUsage]
from opentelemetry.sdk.metrics import _internal  # pyright: ignore[reportPrivateUsage]
from opentelemetry.sdk.metrics._internal import aggregation as _aggregation
from opentelemetry.sdk.metrics._internal import metric_reader_storage as _storage
from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.exponent_mapping import ExponentMapping
from opentelemetry.sdk.metrics._internal.exponential_histogram.mapping.logarithm_mapping import LogarithmMapping
from opentelemetry.sdk.metrics._internal.measurement import Measurement as SdkMeasurement
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.view import DefaultAggregation, View
from opentelemetry.sdk.resources import _get_process_dependent_resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider
from opentelemetry.trace.propagation import _SPAN_KEY

from otelbridge.concurrency import forks
from otelbridge.diagnostics import delay_logs, warn_once
from otelbridge.metrics.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Container, Generator
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.metrics import Counter as SdkApiCounter
    from opentelemetry.metrics import Histogram as SdkApiHistogram
    from opentelemetry.metrics import (
        Instrument,
        MeterProvider,
    )
    from opentelemetry.metrics import UpDownCounter as SdkApiUpDownCounter
    from opentelemetry.sdk.metrics import ExemplarReservoir
    from opentelemetry.sdk.metrics._internal.instrument import _Instrument  # pyright: ignore[reportPrivateUsage]
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import Aggregation
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AnyValue

    from otelbridge.catalogue.model import MergeRule
    from otelbridge.metrics.secrets import Hide

    # The parts of the SDK's untyped private classes that we lean on.

    class SdkCounter(SdkApiCounter): ...

    class SdkUpDownCounter(SdkApiUpDownCounter): ...

    class SdkHistogram(SdkApiHistogram): ...

    class SdkGauge(ApiGauge): ...

    class SdkMeter(_api.Meter):
        _instrument_registration_lock: Any
        _instrument_ids_lock: Any
        _instrument_ids: dict[str, Any]
        _instrumentation_scope: InstrumentationScope

        def __init__(self, scope: Any, consumer: Any, *, _meter_config: Any) -> None: ...

    class ViewInstrumentMatch:
        _name: str
        _view: View
        _description: str
        _instrument: Any
        _instrument_class_aggregation: dict[type[Any], Any]
        _aggregation: object
        _attributes_aggregation: dict[object, Any]
        _lock: Any

        def __init__(self, view: View, instrument: Any, instrument_class_aggregation: Any) -> None: ...

        def conflicts(self, other: ViewInstrumentMatch) -> bool: ...

        def consume_measurement(self, measurement: Any, should_sample_exemplar: bool = True) -> None: ...

        def collect(
            self, collection_aggregation_temporality: Any, collection_start_nanos: int
        ) -> Sequence[Any] | None: ...

    class BaseStorage:
        _lock: Any
        _sdk_config: Any
        _instrument_class_aggregation: dict[type[Any], Any]
        _instrument_class_temporality: dict[type[Any], Any]
        _instrument_view_instrument_matches: dict[Any, list[Any]]

        def __init__(self, sdk_config: Any, temporality: Any, aggregations: Any) -> None: ...

        def _check_view_instrument_compatibility(self, view: View, instrument: Any) -> bool: ...

        def consume_measurement(self, measurement: Any, should_sample_exemplar: bool = True) -> None: ...

        def collect(self) -> Any: ...

    class SynchronousMeasurementConsumer:
        _lock: Any
        _sdk_config: Any
        _reader_storages: dict[Any, Any]
        _async_instruments: list[Any]

        def __init__(self, sdk_config: Any, metric_readers: Any) -> None: ...

        def register_asynchronous_instrument(self, instrument: Any) -> None: ...

        def collect(self, metric_reader: Any, timeout_millis: float = 10_000) -> Any: ...

else:
    from opentelemetry.sdk.metrics._internal import Meter as SdkMeter
    from opentelemetry.sdk.metrics._internal import _Counter as SdkCounter
    from opentelemetry.sdk.metrics._internal import _Gauge as SdkGauge
    from opentelemetry.sdk.metrics._internal import _Histogram as SdkHistogram
    from opentelemetry.sdk.metrics._internal import _UpDownCounter as SdkUpDownCounter
    from opentelemetry.sdk.metrics._internal._view_instrument_match import _ViewInstrumentMatch as ViewInstrumentMatch
    from opentelemetry.sdk.metrics._internal.measurement_consumer import SynchronousMeasurementConsumer

    BaseStorage = _storage.MetricReaderStorage

# What the SDK says while one of our locks is held.
delay_logs(
    "opentelemetry.attributes",
    "opentelemetry.metrics._internal",
    "opentelemetry.metrics._internal.instrument",
    "opentelemetry.sdk.metrics._internal",
    *(
        f"opentelemetry.sdk.metrics._internal.{name}"
        for name in ("_view_instrument_match", "aggregation", "export", "instrument", "measurement")
    ),
    "opentelemetry.sdk.metrics._internal.metric_reader_storage",
    "opentelemetry.sdk.metrics._internal.view",
)

# The classes a meter makes, which the SDK's public ones refuse to.
_INSTRUMENTS: dict[str, Any] = {
    name: getattr(_internal, class_)
    for name, class_ in {
        "counter": "_Counter",
        "up_down_counter": "_UpDownCounter",
        "histogram": "_Histogram",
        "gauge": "_Gauge",
        "observable_counter": "_ObservableCounter",
        "observable_up_down_counter": "_ObservableUpDownCounter",
        "observable_gauge": "_ObservableGauge",
    }.items()
}

INSTRUMENT_KINDS = tuple(_INSTRUMENTS)
"""The names `kind_name` gives."""

# What is only handed on, besides what is made here.
__all__ = [
    "ApiGauge",
    "Gauge",
    "InstrumentationScope",
    "SdkCounter",
    "SdkGauge",
    "SdkHistogram",
    "SdkUpDownCounter",
    "SynchronousMeasurementConsumer",
]


def global_meter_provider() -> MeterProvider | None:
    """Give the global meter provider, or None while nobody has set one."""
    provider = get_meter_provider()
    return None if isinstance(provider, _ProxyMeterProvider) else provider


def global_tracer_provider() -> TracerProvider | None:
    """Give the global tracer provider, or None while nobody has set one."""
    provider = get_tracer_provider()
    return None if isinstance(provider, ProxyTracerProvider) else provider


def processes_spans(provider: SdkTracerProvider) -> bool:
    """Tell whether a tracer provider of the SDK hands its spans to anybody."""
    processors: Any = provider._active_span_processor
    # A processor of the owner's making is taken for one that does.
    return bool(getattr(processors, "_span_processors", True))


def clean_attributes(attributes: object) -> dict[str, AnyValue]:
    """Clean attributes by the rules of the SDK; what is equal to a reader becomes equal, whoever comes first.

    Subclasses of texts and numbers, enumerations among them, become the text or number they are, and minus zero
    becomes zero. A key that is no text becomes one, unless there is a text of that name.

    Args:
        attributes: What the caller gave; None means none. It is read once: another thread may change it meanwhile.

    Returns:
        A new dictionary with what may be an attribute; empty, and reported once, where it is no mapping.
    """
    if attributes is None:
        return {}
    try:
        if attributes.__class__ is dict:
            return _clean_mapping(cast("dict[object, object]", attributes).copy())
        if isinstance(attributes, Mapping):
            return _clean_mapping(dict(cast("Mapping[object, object]", attributes)))
        problem = "Attributes are a mapping, not %.100r; left out."
    except Exception as error:  # a mapping or value of the caller's own making may raise anything
        problem, attributes = "Attributes cannot be read; left out. Reading them raised %.100r.", error
    warn_once(("attributes", type(attributes).__name__), problem, attributes)
    return {}


def _clean_mapping(given: Mapping[object, object]) -> dict[str, Any]:
    cleaned: dict[str, Any] = {}
    for key, value in given.items():
        if not key:
            warn_once(("attributes", "empty key"), "The attribute key %.100r is no text, or empty; left out.", key)
        elif isinstance(key, str):
            cleaned[_text(key)] = _clean(value)
        else:
            text = _foreign(key, "key")
            if text is not None:
                cleaned.setdefault(text, _clean(value))
    return cleaned


def _clean(value: Any) -> Any:
    if value.__class__ is str:
        return _text(value)
    for kind, clean in _CLEANERS:
        if isinstance(value, kind):
            return clean(value)
    return _foreign(value, "value")


def _text(value: str) -> str:
    # Half a surrogate pair cannot be written as UTF-8: one such label would make every scrape and export fail.
    text = str.__str__(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _foreign(value: object, what: str) -> str | None:
    """Give the text of what cannot be an attribute; None where it has none that says anything."""
    kind = type(value)
    warn_once(
        ("attributes", what, kind.__name__),
        "An attribute has a %s of type %s, which becomes a text. Give texts, numbers, or sequences of them.",
        what,
        kind.__name__,
    )
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return None
    try:
        return _text(str(value))
    except Exception:  # an object of the caller's own making may raise anything
        return None


_CLEANERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((bool, type(None)), lambda value: value),
    (int, int.__int__),
    (float, lambda value: float.__float__(value) + 0.0),
    (str, _text),
    (bytes, lambda value: b"".join((value,))),
    (Sequence, lambda value: tuple(_clean(each) for each in value)),
    (Mapping, lambda value: _clean_mapping(dict(value))),
)
"""What may be an attribute value. Exact types, since methods of a subclass would decide how they are shown."""


class Measurement(SdkMeasurement):
    """What was measured, for the SDK's aggregations, with attributes as ours have them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", clean_attributes(self.attributes))


def attribute_key(attributes: Mapping[str, AnyValue]) -> object:
    """Give the identity of a cleaned attribute set: whatever its order, and apart for True, 1 and 1.0."""
    return _hash_attributes(attributes)


def advised_boundaries(instrument: object) -> Sequence[float] | None:
    """Give the bucket boundaries an instrument was created with, if any."""
    advisory = getattr(instrument, "_advisory", None)
    return getattr(advisory, "explicit_bucket_boundaries", None)


_WILD = frozenset("*?[")
"""What makes a name a pattern (`fnmatch`)."""


class YieldingView(View):
    """A view that steps aside for others.

    The SDK makes one stream for every view that matches, so a default view and the user's would both
    report. This one matches only what none of the views before it has claimed.

    Args:
        before: The views that come first.
        unadvised_only: Whether to leave alone the instruments that bring boundaries of their own.
        instrument_type: As for `otelbridge.metrics.view.View`, as all that follow.
        instrument_name: Likewise.
        instrument_unit: Likewise.
        attribute_keys: Likewise.
        aggregation: Likewise.
        merge: Likewise.
        hide: Gives the attributes of a series without values that may not be shown; None leaves it to the provider.
    """

    def __init__(
        self,
        before: Sequence[View],
        *,
        unadvised_only: bool = False,
        instrument_type: type[Instrument] | None = None,
        instrument_name: str | None = None,
        instrument_unit: str | None = None,
        attribute_keys: set[str] | None = None,
        aggregation: Aggregation | None = None,
        merge: MergeRule | None = None,
        hide: Hide | None = None,
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            instrument_type=instrument_type,
            instrument_name=instrument_name,
            instrument_unit=instrument_unit,
            attribute_keys=attribute_keys,
            aggregation=aggregation,
        )
        self._before = tuple(before)
        self._name_alone = _literal(instrument_name.lower() if instrument_name else None)
        self._unit_alone = _literal(instrument_unit)
        # What follows from the names alone spares patterns, which take long to make.
        unit_settled = instrument_unit is None or self._unit_alone is not None
        self._settled = self._name_alone is not None and unit_settled and instrument_type is not None
        self._unadvised_only = unadvised_only
        self.merge: MergeRule | None = merge
        """How several worker processes become one."""
        self.hide = hide
        """See the class."""

    def _match(self, instrument: _Instrument) -> bool:
        # There are as many views as metrics, and each is asked about each instrument: mostly this is all it takes.
        if self._name_alone not in (None, instrument.name) or self._unit_alone not in (None, instrument.unit):
            return False
        type_: Any = self._instrument_type
        return (
            (isinstance(instrument, type_) if self._settled else super()._match(instrument))
            and not (self._unadvised_only and advised_boundaries(instrument))
            and not any(view._match(instrument) for view in self._before)
        )


def _literal(pattern: str | None) -> str | None:
    """Give a pattern that stands for itself alone."""
    return pattern if pattern is not None and not _WILD & set(pattern) else None


def kind_of(match: ViewInstrumentMatch) -> Kind | None:
    """Tell which of our kinds the aggregation of a match is.

    Returns:
        The kind; None where only the SDK can aggregate (drop, the user's own).
    """
    aggregation: Any = match._aggregation
    if type(aggregation) is _aggregation._SumAggregation:
        return Kind("sum")
    if type(aggregation) is _aggregation._LastValueAggregation:
        return Kind("last")
    if type(aggregation) is _aggregation._ExplicitBucketHistogramAggregation:
        return Kind("histogram", tuple(map(float, aggregation._boundaries)), aggregation._record_min_max)
    if type(aggregation) is _aggregation._ExponentialBucketHistogramAggregation:
        extremes = aggregation._record_min_max
        return Kind("exponential", extremes=extremes, max_size=aggregation._max_size, max_scale=aggregation._max_scale)
    return None


def reservoir_of(match: ViewInstrumentMatch) -> ExemplarReservoir:
    """Make an exemplar reservoir as the view of a match wants it."""
    make: Any = match._view._exemplar_reservoir_factory
    build = make(type(match._aggregation))
    if isinstance(match._aggregation, _aggregation._ExponentialBucketHistogramAggregation):
        # As the SDK has it: of a size that follows the buckets, within limits.
        return build(size=min(20, match._aggregation._max_size))
    if isinstance(match._aggregation, _aggregation._ExplicitBucketHistogramAggregation):
        return build(boundaries=match._aggregation._boundaries)
    return build()


def create_aggregation(match: ViewInstrumentMatch, attributes: Mapping[str, AnyValue]) -> Any:
    """Make one more aggregation of a match, as the SDK does for a new attribute set."""
    aggregation: Any = match._view._aggregation
    if isinstance(aggregation, DefaultAggregation):
        aggregation = match._instrument_class_aggregation[match._instrument.__class__]
    factory: Any = match._view._exemplar_reservoir_factory
    return aggregation._create_aggregation(match._instrument, attributes, factory, time_ns())


def notice_restart(aggregation: Any, temporality: AggregationTemporality, now: int) -> None:
    """Let what callbacks observe of a sum that only grows begin anew where it fell, before it is collected.

    Metrics data model, "Resets and Gaps". What fell began again since the last collection, from nothing.

    Args:
        aggregation: An aggregation of the SDK that has taken the observations of this collection.
        temporality: What the collection asks for.
        now: Time of the collection, in nanoseconds since the epoch.
    """
    if not isinstance(aggregation, _aggregation._SumAggregation) or not aggregation._instrument_is_monotonic:
        return
    if aggregation._instrument_aggregation_temporality is AggregationTemporality.DELTA or aggregation._value is None:
        return
    fell = aggregation._value < aggregation._previous_value
    if temporality is AggregationTemporality.DELTA:
        aggregation._previous_value = 0 if fell else aggregation._previous_value
        return
    # Of cumulative sums the SDK keeps neither the value nor the time of the last collection.
    if fell:
        aggregation._start_time_unix_nano = aggregation._previous_collection_start_nano
    aggregation._previous_value, aggregation._previous_collection_start_nano = aggregation._value, now


def attributes_of(aggregation: Any) -> Mapping[str, AnyValue]:
    """Give the attribute set of an aggregation of the SDK."""
    return aggregation._attributes or {}


def on_first_span(tell: Callable[[], None]) -> None:
    """Learn of the first span that is in a context of this process, or may have been before.

    Args:
        tell: Called before the context is attached. It may be called more than once.
    """
    if type(_RUNTIME_CONTEXT) is not ContextVarsRuntimeContext or trace_api._TRACER_PROVIDER is not None:
        tell()
        return
    if _SPAN_KEY in get_current():
        tell()
        return
    attach_unseen = _RUNTIME_CONTEXT.attach

    def attach_seen(context: Context) -> Token[Context]:
        if _SPAN_KEY in context:
            tell()
            # Nothing is left to learn. Others may have put theirs in the place of this.
            if vars(_RUNTIME_CONTEXT).get("attach") is attach_seen:
                vars(_RUNTIME_CONTEXT).pop("attach", None)
        return attach_unseen(context)

    vars(_RUNTIME_CONTEXT)["attach"] = attach_seen


@contextmanager
def unobserved() -> Generator[None]:
    """Keep instrumentations from recording what is done inside: an export must not make spans of its own."""
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        detach(token)


class MetricReaderStorage(BaseStorage):
    """The SDK's storage of one reader, with a say in how a view and an instrument become a stream."""

    def __init__(self, sdk_config: Any, temporality: Any, aggregations: Any) -> None:
        super().__init__(sdk_config, temporality, aggregations)
        self._names: dict[tuple[object, str], dict[Any, Any]] = {}
        # There are as many views as metrics: asking those of the instrument's name alone makes a start shorter.
        self._views: dict[str | None, list[View]] = {None: []}
        for view in sdk_config.views:
            self._views.setdefault(getattr(view, "_name_alone", None), []).append(view)

    def create_match(self, view: View, instrument: Any) -> ViewInstrumentMatch:
        """Make the match of a view and an instrument."""
        raise NotImplementedError

    def _get_or_init_view_instrument_match(self, instrument: Any) -> list[Any]:
        with self._lock:
            known = self._instrument_view_instrument_matches.get(instrument)
            if known is None:
                known = []
                self._handle_view_instrument_match(instrument, known)
                if not known:
                    known.append(self.create_match(_storage._DEFAULT_VIEW, instrument))
                self._instrument_view_instrument_matches[instrument] = known
                self._name(instrument, known)
            return known

    def _handle_view_instrument_match(self, instrument: Any, view_instrument_matches: list[Any]) -> None:
        view_instrument_matches.extend(
            self.create_match(view, instrument)
            for view in (*self._views[None], *self._views.get(instrument.name, ()))
            if view._match(instrument) and self._check_view_instrument_compatibility(view, instrument)
        )

    def _name(self, instrument: Any, matches: list[Any]) -> None:
        """Report two streams of one name; specification, "Duplicate instrument registration" and "View"."""
        # Names are unique within a scope; two libraries may well measure the same thing.
        for match in matches:
            if isinstance(match._aggregation, _aggregation._DropAggregation):
                continue
            scope = instrument.instrumentation_scope
            others = self._names.setdefault((scope, match._name), {})
            first = next(iter(others), None)
            others[match] = instrument
            if first is None:
                continue
            if others[first] is instrument:
                warn_once(
                    (scope.name, match._name, "views"),
                    "Several views of %s in the scope %s export it as %s. A backend may take them for one. Name them "
                    "apart, or leave one.",
                    _described(first),
                    scope.name,
                    match._name,
                )
            else:
                warn_once(
                    (scope.name, match._name, "duplicate"),
                    "Two instruments of the scope %s are exported as %s: %s, and %s. A backend may take them for one. "
                    "Give them the same kind, unit and description, or rename one by a view.",
                    scope.name,
                    match._name,
                    _described(first),
                    _described(match),
                )


def _described(match: Any) -> str:
    instrument = match._instrument
    return f"the {kind_name(instrument)} {instrument.name!r} (unit {instrument.unit!r}, {match._description!r})"


def registered_readers() -> tuple[Any, set[Any]]:
    """Give the lock and the set of all readers that some provider of the process has."""
    providers: Any = SdkMeterProvider
    return providers._all_metric_readers_lock, providers._all_metric_readers


def adopt_locks(provider: SdkMeterProvider) -> None:
    """Renew in forked children the locks that all providers share, and the one that ends a provider."""
    for owner, name in (
        (provider._shutdown_once, "_lock"),
        (SdkMeterProvider, "_all_metric_readers_lock"),
        (_api._METER_PROVIDER_SET_ONCE, "_lock"),
        (_api._PROXY_METER_PROVIDER, "_lock"),
        (ExponentMapping, "_mappings_lock"),
        (LogarithmMapping, "_mappings_lock"),
    ):
        forks.adopt(getattr(owner, name))


def process_resource() -> Resource:
    """Give what a forked child has of its own in its resource."""
    return _get_process_dependent_resource()


def register_reader(reader: MetricReader, provider: Any, collect: Any) -> None:
    """Tell a reader its provider and how it is served."""
    reader._set_collect_callback(collect)
    reader._set_meter_provider(provider)


def preferences(reader: MetricReader) -> tuple[dict[type[Any], Any], dict[type[Any], Any]]:
    """Give a reader's temporality and its aggregations, both by instrument class."""
    return reader._instrument_class_temporality, reader._instrument_class_aggregation


def view_keys(view: View) -> Container[str] | None:
    """Give the attribute keys a view keeps; None keeps all."""
    return view._attribute_keys


def filter_keys(view: View, keep: Container[str] | None, exclude: Container[str]) -> None:
    """Let a view keep the attribute keys that are in one collection and not in another."""
    view._attribute_keys = _Difference(keep, exclude)  # pyright: ignore[reportAttributeAccessIssue]


def describe_keys(view: View) -> str:
    """Write which attribute keys a view keeps: the same text for the same keys, and none where it keeps all."""
    keys: Any = view._attribute_keys
    if keys is None:
        return ""
    return keys.describe() if isinstance(keys, _Difference) else json.dumps(sorted(keys))


class _Difference:
    """The keys in one collection that are not in another; all that the SDK asks of it is what it contains."""

    def __init__(self, keep: Container[str] | None, exclude: Container[str]) -> None:
        self._keep = keep
        self._exclude = exclude

    def __contains__(self, key: str) -> bool:
        return key not in self._exclude and (self._keep is None or key in self._keep)

    def describe(self) -> str:
        """Write it, see `describe_keys`."""
        keep: Any = self._keep
        exclude: Any = self._exclude
        return json.dumps([keep if keep is None else sorted(keep), sorted(exclude)])


def default_view() -> View:
    """Give the view of instruments that no view selects."""
    return _storage._DEFAULT_VIEW


def view_name(view: View) -> str | None:
    """Give the name a view renames to, if any."""
    return view._name


def view_description(view: View) -> str | None:
    """Give the description a view puts in the place of the instrument's, if any."""
    return view._description


def is_enabled(instrument: Any) -> bool:
    """Tell whether the meter of an instrument is switched on."""
    return instrument._is_enabled()


def kind_name(instrument: object) -> str:
    """Name the kind of an instrument of the SDK, for instance ``counter``."""
    return _kind_of_class(type(instrument))


@cache  # each question to one of these abstract classes takes microseconds, and every stream of every start asks
def _kind_of_class(kind: type) -> str:
    return next(name for name, type_ in _INSTRUMENTS.items() if issubclass(kind, type_))


def create_instrument(kind: str, name: str, scope: InstrumentationScope, unit: str, description: str) -> Any:
    """Make an instrument that belongs to no meter.

    Raises:
        KeyError: There is no such kind of instrument.
        Exception: The SDK refuses the name or the unit.
    """
    return _INSTRUMENTS[kind](name, scope, None, unit=unit, description=description)


def is_registered(meter: SdkMeter, kind: str, name: str, unit: str, description: str) -> bool:
    """Tell whether a meter has made an instrument already, so that asking again gives the same one."""
    return ",".join([name.strip().lower(), _INSTRUMENTS[kind].__name__, unit, description]) in meter._instrument_ids


def real_instrument(instrument: Instrument) -> object:
    """Give what an instrument of the API's proxies records to; any other instrument as it is.

    Args:
        instrument: An instrument, which may have been made before there was a global meter provider.
    """
    return getattr(instrument, "_real_instrument", instrument)
