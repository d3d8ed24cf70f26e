"""Records what otelbridge says about itself, while somebody reads: nothing of it is on the recording path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otelbridge.catalogue import self as catalogue
from otelbridge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter

    from otelbridge.catalogue.model import Metric
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.provider import MeterProvider

    Read = Callable[[], Iterable[Observation]]
    """What is observed now."""

_MAX_NAMES = 100


def observe_itself(provider: MeterProvider, processes: Processes | None) -> None:
    """Record the metrics of the domain ``self`` for as long as a provider works."""
    meter = provider.get_meter(catalogue.DOMAIN.meter, __version__)
    observe(meter, catalogue.OVERFLOW, lambda: _overflow(provider.overflowing()))
    observe(meter, catalogue.SERIES, lambda: [Observation(provider.held)])
    if processes is not None:
        observe(meter, catalogue.DEGRADED, lambda: _degraded(processes.reason))
        observe(meter, catalogue.LIVE, lambda: [Observation(processes.live + 1)])
        observe(meter, catalogue.FOLDED, lambda: [Observation(processes.folded)])


def watch_collections(meter: Meter, component: str, name: str) -> Callable[[float], None]:
    """Give what records how many seconds a reader takes for a collection."""
    metric = catalogue.COLLECTION_DURATION
    histogram = meter.create_histogram(metric.name, metric.unit, metric.brief)
    attributes = {"otel.component.name": name, "otel.component.type": component}
    return lambda seconds: histogram.record(seconds, attributes)


def observe(meter: Meter, metric: Metric, read: Read) -> None:
    """Record an observable metric of the catalogue."""

    def callback(_options: CallbackOptions) -> Iterable[Observation]:
        return read()

    create: Callable[..., object] = getattr(meter, f"create_{metric.kind.value}")
    create(metric.name, [callback], metric.unit, metric.brief)


def _overflow(streams: dict[str, int]) -> list[Observation]:
    names = sorted(streams)
    observed = [Observation(streams[name], {"otelbridge.metric.name": name}) for name in names[:_MAX_NAMES]]
    rest = sum(streams[name] for name in names[_MAX_NAMES:])
    return [*observed, Observation(rest, {"otelbridge.metric.name": "_OTHER"})] if rest else observed


def _degraded(reason: str) -> list[Observation]:
    return [Observation(int(bool(reason)), {"otelbridge.process.degraded.reason": reason or "none"})]
