"""Everything taken from the SDK and the API that they do not offer under a public name.

Checked against opentelemetry-api and -sdk 1.45.1. `tests/metrics/test_sdk.py` fails when a release moves
one of these, so that this file is the only one to mend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import get_meter_provider
from opentelemetry.metrics._internal import _ProxyMeterProvider  # pyright: ignore[reportPrivateUsage]
from opentelemetry.sdk.metrics import _Gauge as Gauge  # pyright: ignore[reportPrivateUsage]
from opentelemetry.sdk.metrics.view import View
from opentelemetry.trace import ProxyTracerProvider, get_tracer_provider

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.metrics import Instrument, MeterProvider
    from opentelemetry.sdk.metrics._internal.instrument import _Instrument  # pyright: ignore[reportPrivateUsage]
    from opentelemetry.sdk.metrics.view import Aggregation
    from opentelemetry.trace import TracerProvider

__all__ = ["Gauge", "YieldingView", "advised_boundaries", "global_meter_provider", "global_tracer_provider"]


def global_meter_provider() -> MeterProvider | None:
    """Give the global meter provider, or None while nobody has set one."""
    provider = get_meter_provider()
    return None if isinstance(provider, _ProxyMeterProvider) else provider


def global_tracer_provider() -> TracerProvider | None:
    """Give the global tracer provider, or None while nobody has set one."""
    provider = get_tracer_provider()
    return None if isinstance(provider, ProxyTracerProvider) else provider


def advised_boundaries(instrument: object) -> Sequence[float] | None:
    """Give the bucket boundaries an instrument was created with, if any."""
    advisory = getattr(instrument, "_advisory", None)
    return getattr(advisory, "explicit_bucket_boundaries", None)


class YieldingView(View):
    """A view that steps aside for others.

    The SDK makes one stream for every view that matches, so a default view and the user's would both
    report. This one matches only what none of the views before it has claimed.

    Args:
        before: The views that come first.
        unadvised_only: Whether to leave alone the instruments that bring boundaries of their own.
        instrument_type: As for `View`.
        instrument_name: As for `View`.
        instrument_unit: As for `View`.
        attribute_keys: As for `View`.
        aggregation: As for `View`.
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
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            instrument_type=instrument_type,
            instrument_name=instrument_name,
            instrument_unit=instrument_unit,
            attribute_keys=attribute_keys,
            aggregation=aggregation,
        )
        self._before = tuple(before)
        self._unadvised_only = unadvised_only

    def _match(self, instrument: _Instrument) -> bool:
        return (
            super()._match(instrument)
            and not (self._unadvised_only and advised_boundaries(instrument))
            and not any(view._match(instrument) for view in self._before)
        )
