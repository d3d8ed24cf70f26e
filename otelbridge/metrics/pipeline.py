"""The provider with its readers, as one thing that is started, flushed and stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, AlwaysOnExemplarFilter, TraceBasedExemplarFilter

from otelbridge.diagnostics import logger
from otelbridge.metrics.limits import DEFAULT_LIMIT, DEFAULT_SERIES_LIMIT
from otelbridge.metrics.provider import MeterProvider

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource

    from otelbridge.config.options import ExemplarFilter
    from otelbridge.metrics.processes import Processes

_EXEMPLAR_FILTERS = {
    "always_on": AlwaysOnExemplarFilter,
    "always_off": AlwaysOffExemplarFilter,
    "trace_based": TraceBasedExemplarFilter,
}


class Pipeline:
    """A meter provider and the readers that take its data out.

    Args:
        resource: The service.
        views: Views, the most important first.
        pull: Readers that are read when somebody asks. A flush leaves them alone.
        push: Readers that send by themselves.
        exemplar_filter: Which measurements may become exemplars.
        cardinality_limit: How many attribute sets a stream keeps apart.
        series_limit: How many all streams keep apart together.
        processes: The group of processes that are seen as one; None keeps to this one.
    """

    def __init__(
        self,
        resource: Resource,
        views: Sequence[View],
        pull: Sequence[MetricReader],
        push: Sequence[MetricReader],
        exemplar_filter: ExemplarFilter,
        *,
        cardinality_limit: int = DEFAULT_LIMIT,
        series_limit: int = DEFAULT_SERIES_LIMIT,
        processes: Processes | None = None,
    ) -> None:
        self._push = tuple(push)
        self._stopped = False
        self.provider = MeterProvider(
            metric_readers=(*pull, *push),
            resource=resource,
            views=views,
            exemplar_filter=_EXEMPLAR_FILTERS[exemplar_filter](),
            shutdown_on_exit=False,
            cardinality_limit=cardinality_limit,
            series_limit=series_limit,
            processes=processes,
        )

    def force_flush(self, timeout: float) -> bool:
        """Push what is recorded now.

        Args:
            timeout: Seconds for each destination.

        Returns:
            Whether every push reader says it did.
        """
        pushed = [reader.force_flush(timeout * 1000) for reader in self._push]
        return all(pushed)

    def shutdown(self, timeout: float) -> bool:
        """Push once more and stop every reader. Stopping twice is harmless.

        Args:
            timeout: Seconds for all of it.

        Returns:
            Whether every reader stopped without an error.
        """
        if self._stopped:
            return True
        self._stopped = True
        try:
            self.provider.shutdown(timeout * 1000)
        except Exception as error:  # the SDK raises when a reader fails; an exiting application must not
            logger.warning("Stopping the metric readers failed: %s", error)
            return False
        return True
