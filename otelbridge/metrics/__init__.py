"""The data plane: the provider and its streams, views, the resource, and the switch instruments hang on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otelbridge.metrics.provider import MeterProvider

__all__ = ["MeterProvider"]


def __getattr__(name: str) -> object:
    """Load the provider, and with it the SDK, when it is first used (PEP 562)."""
    if name == "MeterProvider":
        from otelbridge.metrics.provider import MeterProvider

        return MeterProvider
    raise AttributeError(f"module 'otelbridge.metrics' has no attribute {name!r}")
