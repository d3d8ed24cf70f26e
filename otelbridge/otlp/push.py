"""The reader that pushes to one destination, so that a dead one does not hold up the others."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.sdk.metrics.export import AggregationTemporality

from otelbridge.concurrency import forks
from otelbridge.concurrency.turn import engaged
from otelbridge.diagnostics import warn
from otelbridge.metrics._sdk import unobserved
from otelbridge.metrics.current import Current
from otelbridge.metrics.store_reader import StoreReader
from otelbridge.otlp.deltas import Deltas
from otelbridge.otlp.encoding import Encoder
from otelbridge.otlp.increments import Increments
from otelbridge.otlp.ledger import Ledger
from otelbridge.otlp.receipts import Receipts, digest_of
from otelbridge.otlp.requests import MAX_REQUEST
from otelbridge.otlp.schedule import Schedule
from otelbridge.otlp.ticker import Ticker
from otelbridge.otlp.verdict import Outcome, failed
from otelbridge.reentrance import refuses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.metrics.view import Aggregation
    from opentelemetry.sdk.resources import Resource

    from otelbridge.metrics.current import CurrentStream
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.readers import Storage
    from otelbridge.otlp.delivery import Delivery, DeliveryState, Report
    from otelbridge.otlp.requests import Request

_AGAIN = (Outcome.RETRY, Outcome.MISDIRECTED)
_UNTRIED = failed(Outcome.RETRY, "it was not sent, since one before it did not arrive")

_T = TypeVar("_T")


class PushReader(StoreReader):
    """Pushes to one destination at its interval, and says the truth about a flush and about the end.

    On `otelbridge.metrics.provider.MeterProvider` it reads totals from the store itself, which takes a fraction of
    the time; it works on the SDK's provider, too.

    Of a group of processes one pushes at each tick, what all have counted. A flush and the end of a process push too,
    wherever they happen: totals may well arrive twice. Deltas may not, so only one process at a time computes, sends
    and notes them (`otelbridge.otlp.increments`), and any other goes on where it ended. A process without a group
    keeps that to itself. Either way a delta that was not acknowledged is sent again as it was, byte by byte, before
    anything newer is even collected, and what waits never grows. What was not acknowledged at the end of the last
    process is left in the group's directory for the next start (`otelbridge.otlp.spool`); only deltas of a process
    without a group are lost then.

    Args:
        delivery: Brings requests to the destination.
        interval: Seconds from push to push. None: it pushes only when it is asked to, in the thread of who asks.
        timeout: Seconds a push may take.
        preferred_temporality: Temporality by class of instrument.
        preferred_aggregation: Aggregation by class of instrument.
        processes: The group of processes, the same as the provider's; None for one that is alone.
        destination: What tells the destination from the others in the group's directory; see
            `otelbridge.otlp.reader.destination_keys`.
        component: Type of the exporter, as the conventions for SDK metrics name it (``otel.component.type``).
        max_request: Bytes a request may have.
    """

    def __init__(
        self,
        delivery: Delivery,
        *,
        interval: float | None,
        timeout: float,
        preferred_temporality: Mapping[type, AggregationTemporality],
        preferred_aggregation: Mapping[type, Aggregation],
        processes: Processes | None = None,
        destination: str = "destination",
        component: str = "otlp_metric_exporter",
        max_request: int = MAX_REQUEST,
    ) -> None:
        directory = None if processes is None else processes.directory
        self._totals = AggregationTemporality.DELTA not in preferred_temporality.values()
        self._ledger: Ledger | None = None
        self._temporality = dict(preferred_temporality)
        if processes is not None and directory is not None and not self._totals:
            self._ledger = Ledger(directory, destination, processes.started)
        super().__init__(
            # Deltas of a group are made of its totals.
            preferred_temporality=dict.fromkeys(self._temporality, AggregationTemporality.CUMULATIVE)
            if self._ledger
            else self._temporality,
            preferred_aggregation=dict(preferred_aggregation),
        )
        self.component = component
        """See the class."""
        self._delivery = delivery
        self._interval = interval
        self._timeout = timeout
        self._max_request = max_request
        self._processes = None if directory is None else processes
        self._destination = destination
        self._receipts = None if directory is None else Receipts(directory, destination)
        self._digest = ""
        self._begin(delay=0.0)
        forks.register(after_in_child=self.begin_anew)

    def _begin(self, delay: float) -> None:
        self._current = Current()
        self._encoder = Encoder(self._max_request)
        self._increments = self._ledger and Increments(Deltas(self._temporality), self._ledger, self._encoder)
        self._kept: Sequence[Request] = ()
        self._exported: Counter[str] = Counter()
        schedule = None if self._interval is None else Schedule(self._interval, delay=delay)
        self._ticker = Ticker(self._push, schedule, self._timeout, self._delivery.hurry, "otelbridge-push")

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
            What waits for it and gives what `force_flush` does: False at once for a callback, signal handler or
            finalizer in the middle of a read or a push.
        """
        if engaged() and refuses("force_flush()"):
            return _not_begun
        forks.notice()
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
        if engaged() and refuses("shutdown()"):
            return _not_begun
        forks.notice()
        # Before it is tried: who loses patience, or is killed, leaves it to the next start.
        if self._processes is not None and not self._ticker.stopping:
            self._processes.owe(self._destination)
        wait = self._ticker.ask(timeout_millis / 1000, last=True)

        def end() -> bool:
            arrived = wait()
            self._delivery.close()
            if self._processes is None:
                self._report_loss()
            elif arrived:
                self._processes.settle(self._destination)
            return arrived

        return end

    def begin_anew(self) -> None:
        """Start over in a forked child: what was about to be pushed is the parent's.

        By itself it pushes after a whole interval at the earliest: who only forks to become another program has done
        so by then.
        """
        if not self._ticker.stopping:
            self._begin(delay=self._interval or 0.0)

    def _set_meter_provider(self, meter_provider: Any) -> None:
        super()._set_meter_provider(meter_provider)
        if self._provider is None and self._ledger is not None:
            # What another provider has are totals by now, of this process alone.
            self._ledger = self._increments = None
            self._totals = True

    def _push(self, timeout: float, asked: bool) -> bool:
        if not asked and self._processes is not None and not self._processes.lead("push"):
            return True
        deadline = time.monotonic() + timeout
        self._digest = ""
        increments = self._increments
        arrived = self._push_all(deadline) if increments is None else self._push_increments(increments, deadline)
        if arrived and self._digest and self._receipts is not None:
            self._receipts.write(self._digest)
        return arrived

    def _push_all(self, deadline: float) -> bool:
        if self._data is not None:  # deltas of a push that was interrupted when it had just collected them
            self._taken()
        if self._kept and not self._send(self._kept, deadline):
            return False
        return self._send(self._timed(self._gather, deadline), deadline)

    def _push_increments(self, increments: Increments, deadline: float) -> bool:
        def send(requests: Sequence[Request]) -> tuple[bool, Sequence[Request]]:
            return self._send(requests, deadline), self._kept

        return increments.push(lambda: self._timed(self._visit, deadline), send, deadline)

    def _timed(self, read: Callable[[float], _T], deadline: float) -> _T:
        began = time.perf_counter()
        found = read(deadline - time.monotonic())
        self._tell(began)
        return found

    def _gather(self, timeout: float) -> Sequence[Request]:
        if self._provider is not None and self._totals:
            found = self._visit(timeout)
            return () if found is None else self._encoder.encode(*found)
        if self._collect is None:  # in no provider, or not any more  # pyright: ignore[reportUnknownMemberType]
            return ()
        self.collect(max(timeout, 0.0) * 1000)
        return self._taken()

    def _taken(self) -> Sequence[Request]:
        """Encode what was collected, and keep it if it is deltas."""
        data = self._data
        try:
            requests = () if data is None else self._encoder.encode_data(data)
        except Exception:
            self._data = None  # it would fail again
            raise
        if not self._totals:
            self._kept = requests
        self._data = None
        return requests

    def _visit(self, timeout: float) -> tuple[Resource, Sequence[CurrentStream]] | None:
        """Let the store itself be read, where there is one."""
        if self._provider is None or self._collect is None:  # pyright: ignore[reportUnknownMemberType]
            return None
        return self._provider.visit(self, self._look, max(timeout, 0.0) * 1000)

    def _look(self, storage: Storage) -> tuple[Resource, Sequence[CurrentStream]] | None:
        """Read the store; None where nothing is to be sent of it."""
        if self._receipts is not None and self._ticker.stopping:
            # Before the values are read: what is counted in between must not count as sent.
            self._digest = digest_of(storage)
        return self._current.read(storage)

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
            # A receiver may say what it likes, and counts must not fall for it.
            rejected = min(verdict.rejected, request.points) if verdict.arrived else 0
            self._exported[_WORDS[verdict.outcome]] += request.points - rejected
            if rejected:
                self._exported["rejected"] += rejected
        return left

    def _report_loss(self) -> None:
        kept, self._kept = self._kept, ()
        if kept:
            warn(
                "%d data points did not arrive at %r before the end and are lost: they were deltas, which nobody can "
                "send later.",
                sum(request.points for request in kept),
                self._delivery,
            )


def _not_begun() -> bool:
    return False


_WORDS = {
    Outcome.DELIVERED: "",
    Outcome.PARTLY: "",
    Outcome.RETRY: "unavailable",
    Outcome.MISDIRECTED: "misdirected",
    Outcome.REFUSED: "refused",
}
