"""Exemplar reservoirs of a view, on the SDK's provider and on ours."""

from __future__ import annotations

import pytest
from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, SimpleFixedSizeExemplarReservoir
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View
from opentelemetry.sdk.trace import TracerProvider

from otelbridge.metrics import MeterProvider


class _First(SimpleFixedSizeExemplarReservoir):
    """Keeps the first measurement of an interval, as no reservoir of the SDK does."""

    def __init__(self, **_options) -> None:
        super().__init__(1)
        self._taken = False

    def offer(self, value, time_unix_nano, attributes, context) -> None:
        if not self._taken:
            self._taken = True
            self._reservoir_storage[0].offer(value, time_unix_nano, attributes, context)

    def _reset(self) -> None:
        super()._reset()
        self._taken = False


def _reservoirs(_aggregation: type):
    return _First


@pytest.mark.parametrize(
    ("provider_class", "bound"), [(sdk.MeterProvider, False), (MeterProvider, False), (MeterProvider, True)]
)
@pytest.mark.parametrize(
    ("kind", "verb"), [("counter", "add"), ("up_down_counter", "add"), ("histogram", "record"), ("gauge", "set")]
)
def test_the_reservoir_of_the_view_keeps_the_exemplars(provider_class, bound: bool, kind: str, verb: str) -> None:
    reader = InMemoryMetricReader()
    views = [View(instrument_name="m", exemplar_reservoir_factory=_reservoirs, attribute_keys={"kept"})]
    provider = provider_class([reader], views=views, exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False)
    instrument = getattr(provider.get_meter("lib"), f"create_{kind}")("m")
    attributes = {"kept": "k", "dropped": "d"}
    write = getattr(instrument.bind(attributes), verb) if bound else getattr(instrument, verb)
    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("s"):
        for interval in (10, 20):
            for number in range(5):
                write(interval + number) if bound else write(interval + number, attributes)
            metric = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0]
            (point,) = metric.data.data_points
            assert [each.value for each in point.exemplars] == [interval]
            assert dict(point.exemplars[0].filtered_attributes) == {"dropped": "d"}
    provider.shutdown()
