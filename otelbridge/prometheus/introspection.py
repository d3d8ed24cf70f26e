"""Records what scrapes take, while somebody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

from otelbridge.catalogue import self as catalogue
from otelbridge.metrics.introspection import observe, watch_collections
from otelbridge.version import __version__

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from otelbridge.prometheus.reader import PrometheusReader

_COMPONENT = "prometheus_http_text_metric_exporter"


def observe_scrapes(provider: MeterProvider, reader: PrometheusReader) -> None:
    """Record the metrics of the domain ``self`` that are about scrapes.

    Args:
        provider: The provider that is recorded to.
        reader: What renders the pages.
    """
    meter = provider.get_meter(catalogue.DOMAIN.meter, __version__)
    reader.watch(watch_collections(meter, _COMPONENT, f"{_COMPONENT}/0"))
    observe(meter, catalogue.LEFT_OUT, lambda: [Observation(reader.left_out)])
