"""What tests of the neighbour share: a registry, a provider that shows it, and pages made comparable."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from otelbridge.metrics.provider import MeterProvider
from otelbridge.neighbour.source import Neighbour
from otelbridge.prometheus.reader import PrometheusReader

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Shown:
    """A provider that shows a registry."""

    def __init__(
        self,
        registry: Any,
        *,
        patience: float = 2.0,
        reader: PrometheusReader | None = None,
        hide_secrets: bool = False,
    ) -> None:
        self.reader = reader or PrometheusReader(disable_target_info=True, scope_info_enabled=False)
        self.neighbour = Neighbour(registry, patience=patience)
        self.provider = MeterProvider([self.reader], Resource({}), shutdown_on_exit=False, hide_secrets=hide_secrets)
        self.provider.add_source(self.neighbour)

    def text(self) -> str:
        """The page in Prometheus' text format."""
        return self.reader.render().body.decode()

    def openmetrics(self) -> str:
        """The page in OpenMetrics."""
        return self.reader.render(OPENMETRICS).body.decode()


@contextmanager
def showing(registry: Any, **settings: Any) -> Iterator[Shown]:
    """Show a registry, and stop at the end."""
    shown = Shown(registry, **settings)
    try:
        yield shown
    finally:
        shown.provider.shutdown()
        shown.neighbour.close()


def samples(page: str, *, strict: bool = False) -> Samples:
    """The samples of a page. Labels without value are no labels to Prometheus."""
    families = list(read_openmetrics(page) if strict else read_text(page))
    found: Samples = {}
    for family in families:
        for sample in family.samples:
            key = (
                sample.name,
                tuple(sorted((name, _bound(name, text)) for name, text in sample.labels.items() if text)),
            )
            assert key not in found, key
            found[key] = sample.value
    return found


def _bound(name: str, text: str) -> str:
    # Bounds are numbers: 1 and 1.0 are one.
    return repr(float(text)) if name in ("le", "quantile") and text != "x" else text


def types(page: str, *, strict: bool = False) -> dict[str, tuple[str, str, str]]:
    """Type, help and unit of each family."""
    families = list(read_openmetrics(page) if strict else read_text(page))
    return {family.name: (family.type, family.documentation, family.unit) for family in families}
