"""The reader behind the scrape endpoint, and the text it yields."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from otelbridge.config.options import Prometheus


@dataclass(frozen=True, slots=True)
class Exposition:
    """One answer to a scrape."""

    content_type: str
    """Media type with its parameters, as negotiated."""

    body: bytes
    """The text, UTF-8."""


class PrometheusPull:
    """A metric reader together with the registry its text is rendered from.

    Args:
        config: The pull path.
    """

    def __init__(self, config: Prometheus) -> None:
        # A registry of its own: prometheus_client's default one would keep the series of an earlier
        # reader, and show every series twice after a second start.
        self._registry = CollectorRegistry()
        self._rendering = threading.Lock()
        self.reader = PrometheusMetricReader(
            disable_target_info=not config.target_info,
            scope_info_enabled=config.scope_labels,
            registry=self._registry,
        )

    def render(self, accept: str | None = None) -> Exposition:
        """Collect and render everything. Takes time in proportion to the series: not for an event loop.

        Args:
            accept: The ``Accept`` header of the scrape; OpenMetrics is given to whom asks for it.

        Returns:
            The text and its content type.
        """
        encode, content_type = choose_encoder(accept or "")
        # One at a time, as two would share what upstream's collector has in hand.
        with self._rendering:
            try:
                body = encode(self._registry)
            except UnicodeEncodeError:  # somebody recorded a text no UTF-8 holds; the rest must not go down with it
                body = encode(_Encodable(self._registry))  # pyright: ignore[reportArgumentType]
        return Exposition(content_type, body)


class _Encodable:
    """A registry whose label values can be encoded: what cannot is shown as a question mark."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            family.samples = [
                sample._replace(labels={key: _encodable(value) for key, value in sample.labels.items()})
                for sample in family.samples
            ]
            yield family


def _encodable(text: str) -> str:
    return text.encode(errors="replace").decode()
