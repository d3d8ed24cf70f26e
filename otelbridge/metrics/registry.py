"""Every stream there is, so that readers that want the same one get the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.sdk.metrics import ObservableCounter, UpDownCounter

from otelbridge.concurrency import forks
from otelbridge.metrics._sdk import describe_keys, kind_name, view_description, view_keys, view_name
from otelbridge.metrics.identity import StreamIdentity, StreamKey, encode_attributes, key_of
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.limits import Terms
from otelbridge.metrics.merging import PER_WORKER, merge_rule, shape_of
from otelbridge.metrics.observed import ObservedStream
from otelbridge.metrics.quota import Quota
from otelbridge.metrics.secrets import as_they_are
from otelbridge.metrics.streams import Sharing, Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.metrics.view import View

    from otelbridge.metrics.limits import Limit
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.secrets import Hide

_Made = TypeVar("_Made", bound=Stream)


class StreamRegistry:
    """Makes streams and gives them again.

    Args:
        processes: The group of processes this one belongs to; None keeps to itself.
        series_limit: How many attribute sets all streams keep apart together.
        hide: Hides what may not be shown of an attribute set.
    """

    def __init__(self, processes: Processes | None, series_limit: int, hide: Hide = as_they_are) -> None:
        self.processes = processes
        """The group of processes."""
        self.hide = hide
        """Hides what may not be shown of an attribute set."""
        self.own: dict[bytes, StreamIdentity] = {}
        """The identity of each stream of an instrument of this process, by its key."""
        self._streams: dict[object, Any] = {}
        self._lock = forks.lock()
        self._slots: dict[object, int] = {}
        self.held = Quota(
            series_limit,
            "This process has reached its limit of %d attribute sets in all; further ones are counted together under "
            "otel.metric.overflow=true, each in its own metric. Leave attributes out by views, or raise series_limit.",
        )
        """How many attribute sets all streams may keep apart together."""
        self._shown = Quota(
            series_limit,
            "The processes of this service have more than %d attribute sets in all; further ones are shown together "
            "under otel.metric.overflow=true. Leave attributes out by views, or raise series_limit.",
        )

    def all(self) -> list[Any]:
        """Give every stream."""
        return list(self._streams.values())

    def add(self, key: object, make: Callable[[Terms], _Made], limit: int) -> _Made:
        """Keep a stream that is not of an instrument of ours."""
        with self._lock:
            stream = self._streams[key] = make(Terms(limit, self.held, self._shown))
            return stream

    def drop(self, key: object) -> None:
        """Keep a stream no longer that was given to `add`."""
        with self._lock:
            stream = self._streams.pop(key, None)
        if stream is not None:
            stream.close()

    def tidy(self) -> None:
        """Hide what is idle, in every stream."""
        for stream in self.all():
            stream.tidy()

    def publish(self) -> None:
        """Write every cell again; see `Stream.publish`."""
        for stream in self.all():
            stream.publish()

    def after_fork(self) -> None:
        """Begin anew in a forked child."""
        for stream in self.all():
            stream.after_fork()

    def share(self, instrument: Any, view: View, kind: Kind, limit: Limit) -> Stream:
        """Give the stream of a synchronous instrument: the same one for the same arguments."""
        key = (id(instrument), id(view), kind, limit.sets)
        with self._lock:
            stream = self._streams.get(key)
            if stream is None:
                sharing = self._sharing(instrument, view, kind, limit, observed=False)
                name, keep = view_name(view) or instrument.name, view_keys(view)
                terms = self._terms(view, limit, lasting=kind.name == "sum" and isinstance(instrument, UpDownCounter))
                stream = self._streams[key] = Stream(name, kind, keep, terms, sharing, hide=self.hide_of(view))
            return stream

    def observe(self, instrument: Any, view: View, kind: Kind, limit: Limit) -> ObservedStream:
        """Give the stream of an observable instrument in a group of processes, likewise."""
        key = (id(instrument), id(view), kind, limit.sets)
        with self._lock:
            stream = self._streams.get(key)
            if stream is None:
                sharing = self._sharing(instrument, view, kind, limit, observed=True)
                if sharing is None:
                    raise ValueError("an observed stream belongs to a group of processes")
                # Where processes are not added, each keeps its last value, sum or not.
                kept = Kind("last") if sharing.shape.marks else kind
                name, keep = view_name(view) or instrument.name, view_keys(view)
                stream = self._streams[key] = ObservedStream(
                    name,
                    kept,
                    keep,
                    self._terms(view, limit, lasting=False),
                    sharing,
                    adding=kind.name == "sum",
                    monotonic=isinstance(instrument, ObservableCounter),
                    hide=self.hide_of(view),
                )
            return stream

    def hide_of(self, view: View) -> Hide:
        """Give what hides what may not be shown of an attribute set: as the view says, and in any stream."""
        by_view: Hide | None = getattr(view, "hide", None)
        return self.hide if by_view is None else lambda attributes: self.hide(by_view(attributes))

    def _terms(self, view: View, limit: Limit, *, lasting: bool) -> Terms:
        return Terms(limit.sets, self.held, self._shown, getattr(view, "forget_after", None), lasting)

    def _sharing(self, instrument: Any, view: View, kind: Kind, limit: Limit, *, observed: bool) -> Sharing | None:
        if self.processes is None:
            return None
        rule = merge_rule(instrument, kind, getattr(view, "merge", None))
        scope = instrument.instrumentation_scope
        slot = self._slots.get((id(instrument), id(view)), 0)  # readers come in the same order in every process
        self._slots[id(instrument), id(view)] = slot + 1
        key = StreamKey(
            scope=scope.name,
            version=scope.version,
            schema_url=scope.schema_url,
            scope_attributes=encode_attributes(scope.attributes or {}).decode(),
            instrument=kind_name(instrument),
            name=view_name(view) or instrument.name,
            unit=instrument.unit,
            kind=kind.name,
            keep=describe_keys(view),
            rule=rule,
            slot=slot,
        )
        identity = StreamIdentity(
            key=key,
            description=view_description(view) or instrument.description,
            bounds=kind.bounds,
            extremes=kind.extremes,
            max_size=kind.max_size,
            max_scale=kind.max_scale,
            limit=limit.sets,
            apart=limit.apart,
            forget_after=getattr(view, "forget_after", None),
        )
        code = identity.encode()
        while key_of(code) in self.own:  # two views that do the same, or two instruments that a view makes alike
            key = key._replace(occurrence=key.occurrence + 1)
            identity = identity._replace(key=key)
            code = identity.encode()
        self.own[key_of(code)] = identity
        return Sharing(self.processes, code, shape_of(kind, rule, observed=observed), rule == PER_WORKER)
