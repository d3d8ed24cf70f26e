"""Where a reader can be added to a provider of somebody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader


@runtime_checkable
class ReaderHost(Protocol):
    """A provider that takes readers while it runs, as the SDK's does."""

    def add_metric_reader(self, metric_reader: MetricReader) -> None:
        """Let a reader read from now on."""
        ...

    def remove_metric_reader(self, metric_reader: MetricReader) -> None:
        """Let a reader read no longer, and shut it down."""
        ...


def read_provider(provider: MeterProvider, reader: MetricReader) -> Callable[[], None]:
    """Have a reader read a provider.

    Args:
        provider: One that has a `reader_host`.
        reader: The reader.

    Returns:
        A function that takes the reader away again.
    """
    host = reader_host(provider)
    if host is None:
        raise ValueError("the provider takes no reader")
    host.add_metric_reader(reader)
    return lambda: host.remove_metric_reader(reader)


def reader_host(provider: MeterProvider) -> ReaderHost | None:
    """Give what takes readers for a provider.

    Args:
        provider: The SDK's, or one that hands everything to one of the SDK's and has it in ``provider``, as the one
            that ``logfire.configure()`` sets does.

    Returns:
        The host; None where there is none.
    """
    if isinstance(provider, ReaderHost):
        return provider
    behind = getattr(provider, "provider", None)
    return behind if isinstance(behind, SdkMeterProvider) else None
