"""The synchronous instruments: the SDK's classes, with the recording path put in the place of theirs."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from otelbridge.metrics._sdk import SdkCounter, SdkGauge, SdkHistogram, SdkUpDownCounter, clean_attributes
from otelbridge.metrics.writers import nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.util.types import Attributes

    from otelbridge.metrics.writers import BoundWrite, Write


def bind_to_nothing(_attributes: Attributes) -> BoundWrite:
    """Give a handle's recording method that wants no measurements."""
    return nothing


class BoundCounter:
    """A counter or up-down counter with its attributes resolved; OpenTelemetry API specification, "Bind"."""

    __slots__ = ("__weakref__", "add")

    def __init__(self, write: BoundWrite) -> None:
        self.add = write
        """Add an amount. Never raises."""


class BoundHistogram:
    """A histogram with its attributes resolved; see `BoundCounter`."""

    __slots__ = ("__weakref__", "record")

    def __init__(self, write: BoundWrite) -> None:
        self.record = write
        """Record an amount. Never raises."""


class BoundGauge:
    """A gauge with its attributes resolved; see `BoundCounter`."""

    __slots__ = ("__weakref__", "set")

    def __init__(self, write: BoundWrite) -> None:
        self.set = write
        """Set an amount. Never raises."""


class _Wired:
    """What the synchronous instruments share: they are wired to the streams of the readers there are."""

    __slots__ = ()  # no layout of its own, so that an instrument of the SDK can become one of these

    signed = False
    """Whether negative amounts are welcome."""
    verb = "add"
    """Name of the recording method."""
    bound: type[Any] = BoundCounter
    """What `bind` gives."""

    def wire(
        self, write: Write, bind: Callable[[Attributes], BoundWrite], remove: Callable[[Attributes], None]
    ) -> None:
        """Connect the instrument, and the handles it has given, to its streams.

        Args:
            write: Records into all of them.
            bind: Makes what records into one series of each.
            remove: Forgets the series of an attribute set in each.
        """
        # On the instance, where it is found without the descriptor protocol and needs no second call.
        setattr(self, self.verb, write)
        self._bind = bind
        self._remove = remove
        for handle, attributes in list(self._handles().items()):
            setattr(handle, self.verb, bind(attributes))

    def bind(self, attributes: Attributes = None) -> Any:
        """Resolve an attribute set once, for recording without look-ups.

        Args:
            attributes: The attribute set.

        Returns:
            A handle that has nothing but the recording method, of one argument.
        """
        attributes = clean_attributes(attributes) or None
        bind = getattr(self, "_bind", None)
        handle = self.bound(nothing if bind is None else bind(attributes))
        self._handles()[handle] = attributes
        return handle

    def remove(self, attributes: Attributes = None) -> None:
        """Hide an attribute set, until it is recorded to again.

        It comes back as it was where something still has it, as a bound handle has; else it begins at zero. Readers of
        deltas are still given what they have not been given yet. Where several processes are seen as one, it is shown
        as long as another one has it, an ended one included, and its total goes on when it comes back. Aggregations of
        the user's own making forget nothing. Never raises.

        Args:
            attributes: The attribute set, as it was given to the recording method or to `bind`.
        """
        remove = getattr(self, "_remove", None)
        if remove is not None:
            remove(attributes)

    def _handles(self) -> weakref.WeakKeyDictionary[Any, Attributes]:
        return self.__dict__.setdefault("_bound_handles", weakref.WeakKeyDictionary())


class Counter(SdkCounter, _Wired):
    """A counter."""


class UpDownCounter(SdkUpDownCounter, _Wired):
    """An up-down counter."""

    signed = True


class Histogram(SdkHistogram, _Wired):
    """A histogram."""

    verb = "record"
    bound = BoundHistogram


class Gauge(SdkGauge, _Wired):
    """A gauge."""

    signed = True
    verb = "set"
    bound = BoundGauge


SYNCHRONOUS: dict[type[Any], type[Any]] = {
    SdkCounter: Counter,
    SdkUpDownCounter: UpDownCounter,
    SdkHistogram: Histogram,
    SdkGauge: Gauge,
}
"""Our class for each of the SDK's, by which readers key their preferences."""
