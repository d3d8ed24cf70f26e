"""Every stream there is, so that readers that want the same one get the same one."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from otelbridge.metrics._sdk import advised_boundaries, kind_name, view_keys, view_name
from otelbridge.metrics.identity import StreamIdentity, encode_attributes
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.merging import PER_WORKER, merge_rule, shape_of
from otelbridge.metrics.observed import ObservedStream
from otelbridge.metrics.streams import Sharing, Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.view import View

    from otelbridge.metrics.processes import Processes


class StreamRegistry:
    """Makes streams and gives them again.

    Args:
        views: The provider's views.
        processes: The group of processes this one belongs to; None keeps to itself.
    """

    def __init__(self, views: Sequence[View], processes: Processes | None) -> None:
        self._positions = {id(view): position for position, view in enumerate(views)}
        self._processes = processes
        self._streams: dict[object, Any] = {}
        self._lock = threading.RLock()

    def all(self) -> list[Any]:
        """Give every stream."""
        return list(self._streams.values())

    def share(self, instrument: Any, view: View, kind: Kind, limit: int) -> Stream:
        """Give the stream of a synchronous instrument.

        Args:
            instrument: The instrument.
            view: The view that selected it.
            kind: How measurements are aggregated.
            limit: Cardinality limit.

        Returns:
            The stream; the same one for the same arguments.
        """
        name = view_name(view) or instrument.name
        sharing = self._sharing(instrument, view, kind, observed=False)
        key = (id(instrument) if sharing is None else sharing.identity, id(view), kind, limit)
        with self._lock:
            stream = self._streams.get(key)
            if stream is None:
                stream = self._streams[key] = Stream(name, kind, view_keys(view), limit, sharing)
            return stream

    def observe(self, instrument: Any, view: View, kind: Kind, limit: int) -> ObservedStream:
        """Give the stream of an observable instrument in a group of processes.

        Args:
            instrument: The instrument.
            view: The view that selected it.
            kind: How observations are aggregated: ``sum`` or ``last``.
            limit: Cardinality limit.

        Returns:
            The stream; the same one for the same arguments.
        """
        name = view_name(view) or instrument.name
        sharing = self._sharing(instrument, view, kind, observed=True)
        if sharing is None:
            raise ValueError("an observed stream belongs to a group of processes")
        key = (sharing.identity, id(view), kind, limit)
        # Where processes are not added, each keeps its last value, sum or not.
        kept = Kind("last") if sharing.shape.marks else kind
        with self._lock:
            stream = self._streams.get(key)
            if stream is None:
                keep, adding = view_keys(view), kind.name == "sum"
                stream = self._streams[key] = ObservedStream(name, kept, keep, limit, sharing, adding=adding)
            return stream

    def _sharing(self, instrument: Any, view: View, kind: Kind, *, observed: bool) -> Sharing | None:
        if self._processes is None:
            return None
        rule = merge_rule(instrument, kind, getattr(view, "merge", None))
        scope = instrument.instrumentation_scope
        boundaries = advised_boundaries(instrument)
        identity = StreamIdentity(
            scope=scope.name,
            version=scope.version,
            schema_url=scope.schema_url,
            scope_attributes=encode_attributes(scope.attributes or {}).decode(),
            instrument=kind_name(instrument),
            name=instrument.name,
            unit=instrument.unit,
            description=instrument.description,
            boundaries=None if boundaries is None else tuple(map(float, boundaries)),
            view=self._positions.get(id(view), -1),
            kind=kind.name,
            details=json.dumps([kind.bounds, kind.extremes, kind.max_size, kind.max_scale, rule]),
        )
        shape = shape_of(kind, rule, observed=observed)
        return Sharing(self._processes, identity.encode(), shape, rule == PER_WORKER)
