"""The one place that owns global state: a meter provider that can be plugged in and out.

OpenTelemetry's global provider can be set once in a process. That leaves no way to shut down and
start again, and none to keep instruments across it. So the object that goes into the global slot is
this switch: its instruments live as long as the process, and `connect` points them at whatever
provider does the work now. Before that, and after `disconnect`, recording does nothing and costs
next to nothing.

The switch is also the last fence around the application: what a provider raises while recording is
reported once and goes no further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import metrics as api
from opentelemetry.metrics import _Gauge as ApiGauge  # the API exports it under this name only

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.metrics.observers import add_callbacks, identify, reusable
from otelbridge.metrics.quota import DEFAULT_INSTRUMENT_LIMIT, Quota

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackT
    from opentelemetry.util.types import Attributes

_CAUSE = "The measurement is lost, the application goes on; see the value and the attributes of the call"


class _Nothing:
    """Stands where a real instrument will be: takes every measurement, keeps none."""

    __slots__ = ()

    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None: ...

    def record(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None: ...

    def set(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None: ...


_NOTHING = _Nothing()


class _Plug:
    """What all switch instruments share: how to make the real one, and the one in use."""

    method = ""
    """Name of the meter's method that makes the real one."""

    def __init__(self, name: str, create: Callable[[api.Meter], Any]) -> None:
        self._name = name
        self._create = create
        self._target: Any = _NOTHING

    def connect(self, meter: api.Meter | None) -> None:
        target: Any = _NOTHING
        if meter is not None:
            try:
                target = self._create(meter)
            except Exception as error:  # a bad name in some library must not stop the application's start
                warn_once(
                    (self._name, "refused"), "The instrument %r was refused, it stays silent: %s", self._name, error
                )
        self._target = target

    def bind(self, attributes: Attributes) -> Any:
        """Resolve an attribute set once with the provider connected now; None where that has no such thing."""
        bind = getattr(self._target, "bind", None)
        return None if bind is None else bind(attributes)

    def remove(self, attributes: Attributes = None) -> None:
        """Forget an attribute set with the provider connected now, where that can; see our `MeterProvider`."""
        remove = getattr(self._target, "remove", None)
        if remove is not None:
            remove(attributes)

    def _lost(self, error: Exception) -> None:
        warn_once((self._name, "raised"), "Recording to %s raised %r. %s.", self._name, error, _CAUSE)


class _Adding(_Plug):
    def add(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        try:
            self._target.add(amount, attributes, context)
        except Exception as error:  # telemetry never raises into the application
            self._lost(error)


class _SwitchCounter(_Adding, api.Counter):
    method = "create_counter"


class _SwitchUpDownCounter(_Adding, api.UpDownCounter):
    method = "create_up_down_counter"


class _SwitchHistogram(_Plug, api.Histogram):
    method = "create_histogram"

    def record(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        try:
            self._target.record(amount, attributes, context)
        except Exception as error:
            self._lost(error)


class _SwitchGauge(_Plug, ApiGauge):
    method = "create_gauge"

    def set(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        try:
            self._target.set(amount, attributes, context)
        except Exception as error:
            self._lost(error)


class _SwitchObservableCounter(_Plug, api.ObservableCounter):
    method = "create_observable_counter"


class _SwitchObservableUpDownCounter(_Plug, api.ObservableUpDownCounter):
    method = "create_observable_up_down_counter"


class _SwitchObservableGauge(_Plug, api.ObservableGauge):
    method = "create_observable_gauge"


class SwitchMeter(api.Meter):
    """A meter whose instruments follow the provider that is connected.

    Args:
        name: Name of the instrumentation scope.
        version: Its version.
        schema_url: Its schema URL.
        attributes: Its attributes.
        instruments: How many instruments there may be; None lets none of this meter's ever record.
    """

    def __init__(
        self,
        name: str,
        version: str | None,
        schema_url: str | None,
        attributes: Attributes,
        instruments: Quota | None = None,
    ) -> None:
        super().__init__(name, version=version, schema_url=schema_url)
        self._attributes = attributes
        self._instruments = instruments
        self._lock = self._instrument_ids_lock = forks.lock()
        self._meter: api.Meter | None = None
        self.generation: object = None
        """Changes with every connection; what was resolved before is then another provider's."""
        self._plugs: dict[tuple[object, ...], Any] = {}

    @property
    def active(self) -> bool:
        """Whether measurements go anywhere."""
        return self._meter is not None

    def connect(self, provider: api.MeterProvider | None) -> None:
        """Point every instrument, made and to be made, at a provider; None unplugs them."""
        with late_warnings, self._lock:
            self._meter = None if provider is None else self._meter_of(provider)
            for plug in self._plugs.values():
                plug.connect(self._meter)
            # Last: whoever sees it resolves with what is connected now.
            self.generation = object()

    def _meter_of(self, provider: api.MeterProvider) -> api.Meter | None:
        try:
            return provider.get_meter(self._name, self._version, self._schema_url, self._attributes)
        except Exception as error:  # asking for a meter must not stop the application's start either
            warn_once((self._name, "refused"), "The meter %r was refused, it stays silent: %s", self._name, error)
            return None

    def _make(self, kind: type[_Plug], *said: str, **advice: Any) -> Any:
        identity = (kind, *said, *advice.values())
        return self._plug(identity, lambda meter: getattr(meter, kind.method)(*said, **advice))

    def _observe(self, kind: type[_Plug], callbacks: Sequence[CallbackT] | None, name: str, *rest: str) -> Any:
        # Told apart by their callbacks too; the provider reads those of both.
        kept = reusable(callbacks)
        identity = (kind, name, *rest, *map(identify, kept))
        return self._plug(identity, lambda meter: add_callbacks(getattr(meter, kind.method)(name, kept, *rest), kept))

    def _plug(self, identity: tuple[Any, ...], create: Callable[[api.Meter], Any]) -> Any:
        # An identical request gets the same instrument: a caller that creates one a request must not
        # grow the process, and the SDK would give it the same storage anyway.
        with late_warnings, self._lock:
            plug = self._plugs.get(identity)
            if plug is None:
                kind, name, *_ = identity
                plug = kind(str(name), create)
                if self._instruments is not None and self._instruments.take():
                    plug.connect(self._meter)
                    self._plugs[identity] = plug
            return plug

    def create_counter(self, name: str, unit: str = "", description: str = "") -> api.Counter:
        """Create a counter; see the OpenTelemetry API."""
        return self._make(_SwitchCounter, name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> api.UpDownCounter:
        """Create an up-down counter; see the OpenTelemetry API."""
        return self._make(_SwitchUpDownCounter, name, unit, description)

    def create_gauge(self, name: str, unit: str = "", description: str = "") -> ApiGauge:
        """Create a gauge; see the OpenTelemetry API."""
        return self._make(_SwitchGauge, name, unit, description)

    def create_histogram(
        self,
        name: str,
        unit: str = "",
        description: str = "",
        *,
        explicit_bucket_boundaries_advisory: Sequence[float] | None = None,
    ) -> api.Histogram:
        """Create a histogram; see the OpenTelemetry API."""
        advisory = _boundaries(name, explicit_bucket_boundaries_advisory)
        return self._make(_SwitchHistogram, name, unit, description, explicit_bucket_boundaries_advisory=advisory)

    def create_observable_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> api.ObservableCounter:
        """Create an observable counter; see the OpenTelemetry API."""
        return self._observe(_SwitchObservableCounter, callbacks, name, unit, description)

    def create_observable_up_down_counter(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> api.ObservableUpDownCounter:
        """Create an observable up-down counter; see the OpenTelemetry API."""
        return self._observe(_SwitchObservableUpDownCounter, callbacks, name, unit, description)

    def create_observable_gauge(
        self, name: str, callbacks: Sequence[CallbackT] | None = None, unit: str = "", description: str = ""
    ) -> api.ObservableGauge:
        """Create an observable gauge; see the OpenTelemetry API."""
        return self._observe(_SwitchObservableGauge, callbacks, name, unit, description)


def _boundaries(name: str, advisory: Sequence[float] | None) -> tuple[float, ...] | None:
    if advisory is None:
        return None
    try:
        return tuple(map(float, advisory))
    except Exception:
        warn_once(
            (name, "boundaries"),
            "The histogram %r takes its boundaries as a sequence of numbers, not %.100r; it gets the default ones.",
            name,
            advisory,
        )
        return None


class SwitchMeterProvider(api.MeterProvider):
    """A meter provider that hands every measurement to the provider connected to it.

    Args:
        instrument_limit: How many instruments it keeps, and how many meters. Further ones record nothing.
    """

    def __init__(self, instrument_limit: int = DEFAULT_INSTRUMENT_LIMIT) -> None:
        self._instruments = Quota(
            instrument_limit,
            "There are %d instruments, which is the limit; further ones record nothing. Create instruments once, and "
            "tell what varies by attributes.",
        )
        self._lock = forks.lock()
        self._provider: api.MeterProvider | None = None
        self._muted: frozenset[str] = frozenset()
        self._replaced: list[tuple[str, Callable[[], object]]] = []
        self._meters: dict[tuple[object, ...], SwitchMeter] = {}

    @property
    def provider(self) -> api.MeterProvider | None:
        """The provider that does the work now, if any."""
        return self._provider

    def get_meter(
        self,
        name: str,
        version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> SwitchMeter:
        """Give the meter of an instrumentation scope; the same scope always gets the same meter."""
        key = (name, version, schema_url, _identity(attributes))
        for muted, asked in tuple(self._replaced):
            if muted == name:
                asked()
        with late_warnings, self._lock:
            meter = self._meters.get(key)
            if meter is None:
                if len(self._meters) >= self._instruments.limit:
                    self._report_meters()
                    return SwitchMeter(name, version, schema_url, attributes)
                meter = SwitchMeter(name, version, schema_url, attributes, self._instruments)
                meter.connect(self._provider_of(name))
                self._meters[key] = meter
            return meter

    def _report_meters(self) -> None:
        warn_once(
            ("switch", "meters"),
            "There are %d meters, which is the limit; what further ones measure is lost. Name a meter after a library, "
            "once.",
            self._instruments.limit,
        )

    def connect(self, provider: api.MeterProvider, muted: Collection[str] = ()) -> None:
        """Send measurements to a provider from now on.

        Args:
            provider: Where they go. Anybody's implementation of the API will do.
            muted: Names of meters that stay silent.
        """
        with late_warnings, self._lock:
            self._provider = provider
            self._muted = frozenset(muted)
            for meter in tuple(self._meters.values()):
                meter.connect(self._provider_of(meter.name))

    def mute(self, meter_name: str, asked: Callable[[], object]) -> Callable[[], None]:
        """Keep every meter of a name silent, with any provider: what it measures is measured by other means.

        Args:
            meter_name: The name.
            asked: Called when somebody asks for such a meter, to say so. Must not raise.

        Returns:
            Lets it be heard again.
        """
        entry = (meter_name, asked)

        def unmute() -> None:
            with late_warnings, self._lock:
                self._replaced.remove(entry)
                self._reconnect(meter_name)

        with late_warnings, self._lock:
            self._replaced.append(entry)
            self._reconnect(meter_name)
        return unmute

    def _reconnect(self, meter_name: str) -> None:
        for meter in tuple(self._meters.values()):
            if meter.name == meter_name:
                meter.connect(self._provider_of(meter_name))

    def disconnect(self) -> None:
        """Let measurements go nowhere again. Instruments stay and can be connected later."""
        with late_warnings, self._lock:
            self._provider = None
            for meter in tuple(self._meters.values()):
                meter.connect(None)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush the connected provider where it can be flushed, as libraries expect of a global one."""
        flush = getattr(self._provider, "force_flush", None)
        return True if flush is None else bool(flush(timeout_millis))

    def _provider_of(self, meter_name: str) -> api.MeterProvider | None:
        muted = meter_name in self._muted or any(name == meter_name for name, _ in self._replaced)
        return None if muted else self._provider


def _identity(attributes: Attributes) -> frozenset[tuple[str, object]]:
    # Values may be sequences, and those given as lists cannot be hashed.
    return frozenset((key, repr(value)) for key, value in (attributes or {}).items())


def is_switched(instrument: object) -> bool:
    """Tell whether an instrument is one of a switch.

    Args:
        instrument: Anybody's instrument.
    """
    return isinstance(instrument, _Plug)


switch = SwitchMeterProvider()
"""The switch of this process. Domains record through it; `otelbridge.bridge` connects it."""
