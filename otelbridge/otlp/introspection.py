"""Records what became of pushes, while somebody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otelbridge.catalogue import self as catalogue
from otelbridge.metrics.introspection import observe, watch_collections
from otelbridge.otlp.push import PushReader
from otelbridge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.metrics import MeterProvider


def named_pushes(readers: Iterable[object]) -> dict[str, PushReader]:
    """Give the readers that push, by ``otel.component.name``.

    Args:
        readers: The readers of a provider, in their order.
    """
    pushing = [reader for reader in readers if isinstance(reader, PushReader)]
    return {f"{reader.component}/{number}": reader for number, reader in enumerate(pushing)}


def observe_pushes(provider: MeterProvider, readers: Iterable[object]) -> None:
    """Record the metrics of the domain ``self`` that are about pushes.

    Args:
        provider: The provider that is recorded to.
        readers: Its readers; those that push are observed.
    """
    named = named_pushes(readers)
    if named:
        meter = provider.get_meter(catalogue.DOMAIN.meter, __version__)
        observe(meter, catalogue.EXPORTED, lambda: _exported(named))
        observe(meter, catalogue.PUSH_AGE, lambda: _ages(named))
        for name, reader in named.items():
            reader.watch(watch_collections(meter, reader.component, name))


def _exported(named: dict[str, PushReader]) -> Iterator[Observation]:
    for name, reader in named.items():
        for error, points in reader.exported.items():
            failure = {"error.type": error} if error else {}
            yield Observation(points, {"otel.component.name": name, **failure})


def _ages(named: dict[str, PushReader]) -> Iterator[Observation]:
    for name, reader in named.items():
        age = reader.state.seconds_since_success
        if age is not None:
            yield Observation(age, {"otel.component.name": name})
