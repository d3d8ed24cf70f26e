"""Upstream's reader and ours, each set up on a provider, so that a test can ask the same of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from prometheus_client import CollectorRegistry, make_asgi_app
from prometheus_client.exposition import choose_encoder

from otelbridge.metrics import MeterProvider
from otelbridge.prometheus.access import Access
from otelbridge.prometheus.negotiation import choose
from otelbridge.prometheus.reader import PrometheusReader
from otelbridge.prometheus.serving import AsgiEndpoint, MetricsSite

if TYPE_CHECKING:
    from collections.abc import Callable

UPSTREAM, ON_SDK, OURS = "upstream's reader", "our reader on the SDK's provider", "our reader on our provider"


@dataclass(frozen=True)
class Setup:
    """A provider with one reader, which shows scope labels and no ``target_info``."""

    provider: Any
    page: Callable[[str], bytes]
    """Renders what a scraper gets that sends this ``Accept`` header."""
    asgi: Any
    """The endpoint, as an ASGI application."""


def setup(name: str, **options: Any) -> Setup:
    """Set up one of the three; the options are those of the provider."""
    return _upstream(**options) if name == UPSTREAM else _ours(name, **options)


def _upstream(**options: Any) -> Setup:
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(disable_target_info=True, registry=registry)
    provider = SdkMeterProvider([reader], shutdown_on_exit=False, **options)
    return Setup(provider, lambda accept: choose_encoder(accept)[0](registry), make_asgi_app(registry))


def _ours(name: str, **options: Any) -> Setup:
    reader = PrometheusReader(disable_target_info=True)
    provider = {ON_SDK: SdkMeterProvider, OURS: MeterProvider}[name]([reader], shutdown_on_exit=False, **options)
    site = MetricsSite(reader.render, choose, Access())
    return Setup(provider, lambda accept: reader.render(accept).body, AsgiEndpoint(site, path="/metrics"))
