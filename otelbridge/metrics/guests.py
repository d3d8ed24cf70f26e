"""Instruments that other processes of the group have made and this one has not, or not yet.

Any process may be asked for the metrics of all. So it makes the instruments it finds in the cells of the
others, which gives their streams the same views and readers as its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from otelbridge.diagnostics import warn_once
from otelbridge.metrics._sdk import InstrumentationScope, create_instrument, kind_name
from otelbridge.metrics.foreign import is_foreign
from otelbridge.metrics.identity import StreamIdentity, decode_attributes
from otelbridge.metrics.instruments import SYNCHRONOUS

if TYPE_CHECKING:
    from otelbridge.cells.shelf import Totals


class Host(Protocol):
    """Takes instruments in and out."""

    def admit(self) -> bool:
        """Tell whether there may be one more instrument."""
        ...

    def register(self, instrument: Any) -> None:
        """Wire a synchronous instrument."""
        ...

    def read(self, instrument: Any) -> None:
        """Let the readers read an observable one."""
        ...

    def unregister(self, instrument: Any) -> None:
        """Let nobody read an instrument any longer."""
        ...


class Guests:
    """The instruments of other processes.

    Args:
        host: Takes them in and out.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._met: set[bytes] = set()
        self._present: dict[object, Any] = {}
        self._known: set[object] = set()

    def receive(self, totals: Totals | None) -> None:
        """Make the instruments of streams seen for the first time.

        Args:
            totals: What the other processes have; None when there is none.
        """
        for identity in () if totals is None else totals.places.keys() - self._met:
            self._met.add(identity)
            if is_foreign(identity):  # no instrument of ours
                continue
            try:
                self._make(StreamIdentity.decode(identity))
            except Exception as error:  # another version of this package may have written it
                warn_once(("guest", str(error)), "A metric of another process cannot be shown: %s", error)

    def leave(self, instrument: Any) -> None:
        """Make room for an instrument of this process' own.

        Args:
            instrument: The instrument.
        """
        key = _key_of(instrument)
        self._known.add(key)
        guest = self._present.pop(key, None)
        if guest is not None and guest is not instrument:
            self._host.unregister(guest)

    def _make(self, identity: StreamIdentity) -> None:
        attributes = decode_attributes(identity.scope_attributes.encode())
        scope = InstrumentationScope(identity.scope, identity.version, identity.schema_url, attributes or None)
        instrument = create_instrument(
            identity.instrument, identity.name, scope, identity.unit, identity.description, identity.boundaries
        )
        key = _key_of(instrument)
        # Two streams may be of one instrument: two views select it, or two readers have other limits.
        if key in self._known or key in self._present or not self._host.admit():
            return
        ours = SYNCHRONOUS.get(instrument.__class__)
        if ours is None:
            self._host.read(instrument)
        else:
            instrument.__class__ = ours
            self._host.register(instrument)
        self._present[key] = instrument


def _key_of(instrument: Any) -> object:
    return (
        instrument.instrumentation_scope,
        kind_name(instrument),
        instrument.name,
        instrument.unit,
        instrument.description,
    )
