"""Brings requests to one receiver within a time limit, and remembers how that went."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from otelbridge.concurrency import forks
from otelbridge.diagnostics import log_waiting
from otelbridge.otlp.clock import SystemClock
from otelbridge.otlp.delivery_log import DeliveryLog
from otelbridge.otlp.verdict import Outcome, Verdict, failed, partly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from otelbridge.otlp.clock import Clock

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
# From the best outcome to the worst, to sum up the chunks of one export.
_SEVERITY = (Outcome.DELIVERED, Outcome.PARTLY, Outcome.RETRY, Outcome.MISDIRECTED, Outcome.REFUSED)


class Transport(Protocol):
    """Sends single requests: `otelbridge.otlp.http.HttpTransport`, `otelbridge.otlp.grpc.GrpcTransport`."""

    def post(self, body: bytes, timeout: float) -> Verdict:
        """Send one request within some seconds."""
        ...

    def close(self) -> None:
        """Close what is open. A later request opens it again."""
        ...


class Report(NamedTuple):
    """What became of one export."""

    verdicts: tuple[Verdict, ...]
    """The last verdict on each chunk that was tried, in order."""

    verdict: Verdict
    """All in one: the worst outcome, with the rejected points of all chunks."""

    @property
    def arrived(self) -> bool:
        """Whether the receiver acknowledged every chunk."""
        return self.verdict.arrived


class DeliveryState(NamedTuple):
    """How delivery to one receiver has gone in this process."""

    consecutive_failures: int
    """Exports that have failed since the last one that arrived."""

    seconds_since_success: float | None
    """Age of the last export that arrived; None before the first."""

    totals: Mapping[Outcome, int]
    """Exports by outcome."""

    requests: int
    """Requests sent, with those that were sent again."""

    rejected: int
    """Data points that were rejected of requests that were taken."""

    not_before: float | None
    """Seconds for which the receiver still wants to be left alone; None where it does not."""


class Delivery:
    """Sends exports to one receiver, one at a time, for any number of threads.

    Requests that may be sent again are, with pauses that double from a second to half a minute and vary by
    half, as long as the time of their export allows. What a receiver orders (``Retry-After``, ``RetryInfo``)
    holds beyond the export: until then nothing is sent.

    Args:
        transport: Sends single requests.
        name: The destination, for people; it appears in logs, so nothing secret.
        cumulative: Whether exports carry totals, so that a later one makes up for those that failed.
        subject: What is sent, for people.
        clock: Tells the time.
        draw: Gives a number from 0 up to 1, for the pauses.
    """

    def __init__(
        self,
        transport: Transport,
        name: str,
        *,
        cumulative: bool = True,
        subject: str = "Metrics",
        clock: Clock | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._transport = transport
        self._name = name
        self._cumulative = cumulative
        self._subject = subject
        self._clock = clock or SystemClock()
        self._draw = draw
        self._turn = forks.lock()
        self._queue = forks.lock()
        self._somebody_waits = forks.event()
        self.begin_anew()
        forks.register(after_in_child=self.begin_anew)

    def __repr__(self) -> str:
        return f"Delivery({self._name!r})"

    def begin_anew(self) -> None:
        """Take fresh counts: a child has sent nothing yet."""
        self._waiting = 0
        self._somebody_waits.clear()
        self._closed = False
        self._log = DeliveryLog(self._name, cumulative=self._cumulative, clock=self._clock, subject=self._subject)
        self._not_before = float("-inf")
        self._failures = self._requests = self._rejected = 0
        self._last_success: float | None = None
        self._totals: Counter[Outcome] = Counter()

    @property
    def state(self) -> DeliveryState:
        """How it has gone so far."""
        now = self._clock.now()
        return DeliveryState(
            consecutive_failures=self._failures,
            seconds_since_success=None if self._last_success is None else now - self._last_success,
            totals=dict(self._totals),
            requests=self._requests,
            rejected=self._rejected,
            not_before=self._not_before - now if self._not_before > now else None,
        )

    def send(self, chunks: Iterable[bytes], timeout: float, *, points: int = 0) -> Report:
        """Send one export.

        An export that finds another one pausing between its tries ends that pause, since it has the newer
        data. One that finds another one sending waits for its turn.

        Args:
            chunks: Encoded requests, each complete in itself. After one that cannot be sent the rest is
                left out; after one that is refused it goes on, since others may please better.
            timeout: Seconds for everything, with waiting and trying again.
            points: Data points in all chunks together, if known, for the log.

        Returns:
            What became of it, within the time.
        """
        forks.notice()
        deadline = self._clock.now() + timeout
        if not self._take_turn(timeout):
            verdict = failed(Outcome.RETRY, f"an earlier export was still under way after {timeout:g} s")
            return Report(verdicts=(), verdict=verdict)
        try:
            report = _sum_up(self._send_all(chunks, deadline))
            if report.verdicts:
                self._account(report.verdict, points)
            return report
        finally:
            if self._closed:
                self._transport.close()
            self._turn.release()
            log_waiting()

    def hurry(self) -> None:
        """End the pause of an export that waits to try again: there is newer data to send."""
        self._somebody_waits.set()

    def close(self) -> None:
        """Close the transport; if an export is under way, after its present try. Later exports have one try each."""
        self._closed = True
        self._somebody_waits.set()
        if not forks.owns(self._turn) and self._turn.acquire(blocking=False):
            try:
                self._transport.close()
            finally:
                self._turn.release()

    def _take_turn(self, timeout: float) -> bool:
        with self._queue:
            self._waiting += 1
            self._somebody_waits.set()
        try:
            # A signal handler may come in the way of its own thread.
            return not forks.owns(self._turn) and self._turn.acquire(timeout=max(timeout, 0))
        finally:
            with self._queue:
                self._waiting -= 1
                if not self._waiting and not self._closed:
                    self._somebody_waits.clear()

    def _send_all(self, chunks: Iterable[bytes], deadline: float) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for chunk in chunks:
            verdicts.append(self._send_one(chunk, deadline))
            if verdicts[-1].outcome in (Outcome.RETRY, Outcome.MISDIRECTED):
                break
        return verdicts

    def _send_one(self, body: bytes, deadline: float) -> Verdict:
        verdict = failed(Outcome.RETRY, "there was no time left to send it")
        pause = self._not_before - self._clock.now()
        if pause > 0:
            verdict = failed(Outcome.RETRY, f"the receiver wants to be left alone for another {pause:.0f} s")
        longest = _FIRST_PAUSE
        while self._pause(pause, deadline):
            verdict = self._post(body, deadline - self._clock.now())
            if verdict.outcome is not Outcome.RETRY:
                break
            pause = longest * (0.5 + self._draw())
            longest = min(2 * longest, _LONGEST_PAUSE)
            if verdict.retry_after is not None:
                # Somewhat later than ordered, so that not everybody who was told the same comes at once.
                ordered = verdict.retry_after * (1 + 0.1 * self._draw())
                self._not_before = self._clock.now() + ordered
                pause = max(pause, ordered)
        return verdict

    def _pause(self, seconds: float, deadline: float) -> bool:
        """Wait before a try, if the time allows both; say whether to try."""
        if self._clock.now() + max(seconds, 0) >= deadline:
            return False
        return seconds <= 0 or not self._clock.wait(seconds, self._somebody_waits)

    def _post(self, body: bytes, timeout: float) -> Verdict:
        self._requests += 1
        try:
            return self._transport.post(body, timeout)
        except Exception as error:
            # A mistake of the transport must not end the thread that exports. The text of an exception is
            # whoever's, and may hold a header.
            return failed(Outcome.RETRY, f"sending raised {type(error).__name__}")

    def _account(self, verdict: Verdict, points: int) -> None:
        self._totals[verdict.outcome] += 1
        self._rejected += verdict.rejected
        if verdict.arrived:
            self._failures = 0
            self._last_success = self._clock.now()
            self._log.arrived(verdict)
        else:
            self._failures += 1
            self._log.failed(verdict, points)


def _sum_up(verdicts: list[Verdict]) -> Report:
    if not verdicts:
        return Report(verdicts=(), verdict=Verdict(outcome=Outcome.DELIVERED, text="there was nothing to send"))
    worst = max(verdicts, key=lambda verdict: _SEVERITY.index(verdict.outcome))
    rejected = sum(verdict.rejected for verdict in verdicts)
    whole = partly(rejected, worst.message) if worst.outcome is Outcome.PARTLY else replace(worst, rejected=rejected)
    return Report(verdicts=tuple(verdicts), verdict=whole)
