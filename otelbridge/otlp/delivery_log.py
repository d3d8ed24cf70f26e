"""What the application's log hears of a delivery: few lines, however long the trouble lasts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.diagnostics import warn

if TYPE_CHECKING:
    from otelbridge.otlp.clock import Clock
    from otelbridge.otlp.verdict import Verdict

_REPEAT = 3600.0
# A receiver that comes and goes would otherwise cost two lines each time.
_QUIET = 600.0


class DeliveryLog:
    """Reports when delivery stops, once an hour while it is stopped, and when it works again.

    Args:
        name: The destination, for people; nothing secret.
        cumulative: Whether exports carry totals, so that a later one makes up for those that failed.
        clock: Tells the time.
        subject: What is sent, for people.
    """

    def __init__(self, name: str, *, cumulative: bool, clock: Clock, subject: str = "Metrics") -> None:
        self._name = name
        self._subject = subject
        self._cumulative = cumulative
        self._clock = clock
        self._since: float | None = None
        self._exports = self._points = self._unreported = 0
        self._announced = False
        self._last_stop = self._last_line = self._last_rejection = float("-inf")
        self._rejected = 0

    def failed(self, verdict: Verdict, points: int) -> None:
        """Take note of an export that did not arrive.

        Args:
            verdict: Why.
            points: Data points it carried; 0 if unknown.
        """
        now = self._clock.now()
        if self._since is None:
            self._since, self._exports, self._points = now, 0, 0
        self._exports += 1
        self._points += points
        if not self._announced and now - self._last_stop >= _QUIET:
            self._announced, self._last_stop, self._last_line = True, now, now
            self._report_stop(verdict)
        elif self._announced and now - self._last_line >= _REPEAT:
            self._last_line = now
            warn(
                "%s have not arrived at %s for %s (%s): %s.",
                self._subject,
                self._name,
                _duration(now - self._since),
                self._amount(),
                verdict.text,
            )

    def arrived(self, verdict: Verdict) -> None:
        """Take note of an export that arrived.

        Args:
            verdict: What the receiver said to it.
        """
        if self._since is not None:
            if self._announced:
                warn(
                    "%s arrive at %s again after %s: %s.",
                    self._subject,
                    self._name,
                    _duration(self._clock.now() - self._since),
                    self._loss(),
                )
            else:
                self._unreported += 1
            self._since, self._announced = None, False
        if verdict.rejected or verdict.message:
            self._report_rejection(verdict)

    def _report_stop(self, verdict: Verdict) -> None:
        before = f", after {self._unreported} shorter interruptions" if self._unreported else ""
        self._unreported = 0
        warn(
            "%s do not arrive at %s%s: %s. Every export tries again; the next line comes in an hour, or when it works.",
            self._subject,
            self._name,
            before,
            verdict.text,
        )

    def _report_rejection(self, verdict: Verdict) -> None:
        self._rejected += verdict.rejected
        now = self._clock.now()
        if now - self._last_rejection < _REPEAT:
            return
        self._last_rejection = now
        total = f" ({self._rejected} since the last report)" if self._rejected > verdict.rejected else ""
        self._rejected = 0
        warn("%s at %s: %s%s. The next line about it comes in an hour.", self._subject, self._name, verdict.text, total)

    def _amount(self) -> str:
        exports = f"{self._exports} export{'' if self._exports == 1 else 's'}"
        things = "points" if self._subject == "Metrics" else self._subject.lower()
        return f"{exports} with {self._points} {things}" if self._points else exports

    def _loss(self) -> str:
        if self._cumulative:
            return f"{self._amount()} came late, the totals are complete"
        return f"{self._amount()} did not arrive"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest if not hours else 0, "s"))
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount) or "0 s"
