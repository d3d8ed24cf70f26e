"""The reader that pushes to one destination, so that a dead one does not hold up the others."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricReader
from opentelemetry.sdk.resources import Resource

from otelbridge.diagnostics import logger
from otelbridge.metrics._sdk import unobserved
from otelbridge.metrics.current import Current
from otelbridge.metrics.provider import MeterProvider
from otelbridge.otlp.encoding import Encoder
from otelbridge.otlp.forks import ForkAware
from otelbridge.otlp.requests import MAX_REQUEST
from otelbridge.otlp.schedule import Schedule
from otelbridge.otlp.ticker import Ticker
from otelbridge.otlp.verdict import Outcome, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.metrics.export import MetricsData
    from opentelemetry.sdk.metrics.view import Aggregation

    from otelbridge.metrics.processes import Processes
    from otelbridge.otlp.delivery import Delivery, DeliveryState, Report
    from otelbridge.otlp.requests import Request

_AGAIN = (Outcome.RETRY, Outcome.MISDIRECTED)
_UNTRIED = failed(Outcome.RETRY, "it was not sent, since one before it did not arrive")


class PushReader(MetricReader, ForkAware):
    """Pushes to one destination at its interval, and says the truth about a flush and about the end.

    On `otelbridge.metrics.provider.MeterProvider` it reads totals from the store itself, which takes a fraction of
    the time; it works on the SDK's provider, too.

    Of a group of processes one pushes at each tick, the totals of all. A flush and the end of a process push too,
    wherever they happen: totals may well arrive twice. Deltas may not, so with them each process pushes its own, as
    an instance of its own. A delta that was not acknowledged is sent again as it was, byte by byte, before anything
    newer is even collected; so nothing is lost but what is left at the end of the process, and what waits never grows.

    Args:
        delivery: Brings requests to the destination.
        interval: Seconds from push to push.
        timeout: Seconds a push may take.
        preferred_temporality: Temporality by class of instrument.
        preferred_aggregation: Aggregation by class of instrument.
        processes: The group of processes; None for one that is alone.
        component: Type of the exporter, as the conventions for SDK metrics name it (``otel.component.type``).
        max_request: Bytes a request may have.
    """

    def __init__(
        self,
        delivery: Delivery,
        *,
        interval: float,
        timeout: float,
        preferred_temporality: Mapping[type, AggregationTemporality],
        preferred_aggregation: Mapping[type, Aggregation],
        processes: Processes | None = None,
        component: str = "otlp_metric_exporter",
        max_request: int = MAX_REQUEST,
    ) -> None:
        MetricReader.__init__(
            self,
            preferred_temporality=dict(preferred_temporality),
            preferred_aggregation=dict(preferred_aggregation),
        )
        self.component = component
        """See the class."""
        self._delivery = delivery
        self._interval = interval
        self._timeout = timeout
        self._max_request = max_request
        self._totals = AggregationTemporality.DELTA not in preferred_temporality.values()
        grouped = processes is not None and bool(processes.group)
        self._processes = processes if grouped and self._totals else None
        self._apart = grouped and not self._totals
        self._provider: MeterProvider | None = None
        self._data: MetricsData | None = None
        self._begin(delay=0.0)
        ForkAware.__init__(self)

    def _begin(self, delay: float) -> None:
        self._current = Current()
        self._encoder = Encoder(self._max_request)
        self._kept: Sequence[Request] = ()
        self._exported: Counter[str] = Counter()
        self._ticker = Ticker(
            self._push, Schedule(self._interval, delay=delay), self._timeout, self._delivery.hurry, "otelbridge-push"
        )

    @property
    def state(self) -> DeliveryState:
        """How delivery has gone in this process."""
        return self._delivery.state

    @property
    def exported(self) -> Mapping[str, int]:
        """Data points of finished exports by what became of them; those that arrived under an empty text.

        The others are ``unavailable``, ``misdirected``, ``refused``, and ``rejected`` where the receiver took the
        rest of their request.
        """
        return dict(self._exported)

    @property
    def waiting(self) -> int:
        """Data points of deltas that were sent and not acknowledged, and will be sent again."""
        return sum(request.points for request in self._kept)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Push what is recorded now.

        Args:
            timeout_millis: How long to wait for it.

        Returns:
            Whether the destination acknowledged it in time; True where there was nothing to push.
        """
        return self.begin_flush(timeout_millis)()

    def begin_flush(self, timeout_millis: float) -> Callable[[], bool]:
        """Begin to push what is recorded now.

        Args:
            timeout_millis: How long it may take.

        Returns:
            What waits for it and gives what `force_flush` does.
        """
        self.notice_fork()
        return self._ticker.ask(timeout_millis / 1000)

    # The SDK's tells nobody.
    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]  # noqa: ARG002
        """Push once more and stop. Further calls give what the first one gave.

        Args:
            timeout_millis: How long to wait for it.
            **kwargs: As the SDK has it; ignored.

        Returns:
            As `force_flush`.
        """
        return self.begin_shutdown(timeout_millis)()

    def begin_shutdown(self, timeout_millis: float) -> Callable[[], bool]:
        """Begin to push once more and to stop; see `begin_flush`."""
        self.notice_fork()
        wait = self._ticker.ask(timeout_millis / 1000, last=True)

        def end() -> bool:
            arrived = wait()
            self._delivery.close()
            self._report_loss()
            return arrived

        return end

    def begin_anew(self) -> None:
        """Start over in a forked child: what was about to be pushed is the parent's.

        By itself it pushes after a whole interval at the earliest: who only forks to become another program has done
        so by then.
        """
        if not self._ticker.stopping:
            self._begin(delay=self._interval)

    def _set_meter_provider(self, meter_provider: Any) -> None:
        super()._set_meter_provider(meter_provider)  # pyright: ignore[reportUnknownMemberType]
        self._provider = meter_provider if isinstance(meter_provider, MeterProvider) else None

    def _receive_metrics(
        self,
        metrics_data: MetricsData,
        timeout_millis: float = 10_000,  # noqa: ARG002  # the base class's
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        self._data = metrics_data

    def _push(self, timeout: float, asked: bool) -> bool:
        if not asked and self._processes is not None and not self._processes.lead("push"):
            return True
        deadline = time.monotonic() + timeout
        if self._kept and not self._send(self._kept, deadline):
            return False
        return self._send(self._gather(deadline - time.monotonic()), deadline)

    def _gather(self, timeout: float) -> Sequence[Request]:
        if self._collect is None:  # in no provider, or not any more  # pyright: ignore[reportUnknownMemberType]
            return ()
        millis = max(timeout, 0.0) * 1000
        if self._provider is not None and self._totals:
            return self._encoder.encode(*self._provider.visit(self, self._current.read, millis))
        self._data = None
        self.collect(millis)
        data, self._data = self._data, None
        if data is None:
            return ()
        return self._encoder.encode_data(_as_instance(data) if self._apart else data)

    def _send(self, requests: Sequence[Request], deadline: float) -> bool:
        if not self._totals:
            self._kept = requests
        points = sum(request.points for request in requests)
        with unobserved():
            report = self._delivery.send(
                (request.body for request in requests), deadline - time.monotonic(), points=points
            )
        left = self._account(requests, report)
        if not self._totals:
            self._kept = left
        return report.arrived

    def _account(self, requests: Sequence[Request], report: Report) -> list[Request]:
        """Count what became of the points; give the requests that may be sent again."""
        left: list[Request] = []
        untried = (_UNTRIED,) * (len(requests) - len(report.verdicts))
        for request, verdict in zip(requests, (*report.verdicts, *untried), strict=True):
            if verdict.outcome in _AGAIN:
                left.append(request)
            rejected = verdict.rejected if verdict.arrived else 0
            self._exported[_WORDS[verdict.outcome]] += request.points - rejected
            if rejected:
                self._exported["rejected"] += rejected
        return left

    def _report_loss(self) -> None:
        kept, self._kept = self._kept, ()
        if kept:
            logger.warning(
                "%d data points did not arrive at %r before the end and are lost: they were deltas, which nobody can "
                "send later.",
                sum(request.points for request in kept),
                self._delivery,
            )


_WORDS = {
    Outcome.DELIVERED: "",
    Outcome.PARTLY: "",
    Outcome.RETRY: "unavailable",
    Outcome.MISDIRECTED: "misdirected",
    Outcome.REFUSED: "refused",
}

_instances: dict[int, str] = {}


def _as_instance(data: MetricsData) -> MetricsData:
    # By pid, since a forked child is another instance.
    instance = Resource({"service.instance.id": _instances.setdefault(os.getpid(), str(uuid.uuid4()))})
    return replace(
        data, resource_metrics=[replace(one, resource=one.resource.merge(instance)) for one in data.resource_metrics]
    )
