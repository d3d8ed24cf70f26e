"""What an answer to an export means, for the data and for the next try.

OTLP 1.x, sections "OTLP/HTTP Response" and "OTLP/gRPC Response". Where the specification leaves a case to
HTTP, the rule here is that only a receiver's own word counts as an arrival.
"""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from datetime import timezone
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING

from otelbridge.otlp.answers import MalformedAnswerError, read_status, read_taken
from otelbridge.otlp.redact import origin
from otelbridge.version import __version__

if TYPE_CHECKING:
    from otelbridge.otlp.answers import Status
    from otelbridge.otlp.redact import Redactor

# OTLP exporter specification, "User Agent".
USER_AGENT = f"otelbridge-otlp-exporter-python/{__version__} Python/{platform.python_version()}"
"""How an exporter names itself."""
PROTOBUF = "application/x-protobuf"
MAX_ANSWER = 1 << 20
"""Most bytes of an answer that are read, after decompression."""
MAX_RETRY_AFTER = 3600.0
"""Longest wait in seconds that a receiver can order, so that a wrong date does not end delivery for good."""

_READABLE = ("text/plain", "application/json")
_RETRYABLE = frozenset({429, 502, 503, 504})
_CURES = {
    401: "check the credentials in the headers",
    403: "check the credentials in the headers",
    404: "check the path of the endpoint, usually /v1/metrics",
    405: "check the path of the endpoint, usually /v1/metrics",
    413: "the receiver takes no requests of this size",
    415: "the receiver takes no protobuf over HTTP",
}
_RETRYABLE_CODES = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"})
_PROXY_CURES = {
    403: "the proxy forbids it",
    404: "it is no proxy",
    405: "it is no proxy",
    407: "check the user and password in the URL of the proxy",
}
_CODE_CURES = {
    "UNAUTHENTICATED": "check the credentials in the headers",
    "PERMISSION_DENIED": "check the credentials in the headers",
    "UNIMPLEMENTED": "check that the endpoint is an OTLP receiver that takes metrics over gRPC",
}


class Outcome(Enum):
    """What became of an export."""

    DELIVERED = "delivered"
    """The receiver took everything."""

    PARTLY = "partly"
    """It took the request, but not all points in it. What it rejected must not be sent again."""

    RETRY = "retry"
    """It did not take it, or did not say. The same request may be sent again."""

    REFUSED = "refused"
    """It will not take this request, however often it is sent."""

    MISDIRECTED = "misdirected"
    """There is no receiver we can talk to: a redirect, a page, garbage, an untrusted or missing TLS. Nothing
    says that the data arrived; trying again helps once somebody has mended it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The meaning of one answer. No field holds a secret."""

    outcome: Outcome
    """What became of the data."""

    text: str
    """The same for a log, with the receiver's message."""

    rejected: int = 0
    """Data points that the receiver did not take of a request it took."""

    message: str = ""
    """What the receiver said, as one line of at most 200 printable characters."""

    retry_after: float | None = None
    """Seconds the receiver wants to be left alone, from 0 to an hour; None where it did not say."""

    @property
    def arrived(self) -> bool:
        """Whether the receiver acknowledged the request."""
        return self.outcome in (Outcome.DELIVERED, Outcome.PARTLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An HTTP response, as far as it matters. Header values are empty where a header is missing."""

    status: int
    content_type: str = ""
    retry_after: str = ""
    date: str = ""
    location: str = ""
    body: bytes | bytearray | None = b""
    """The decoded body; None for one that could not be read, which only a failure is allowed."""


def failed(outcome: Outcome, text: str, message: str = "", retry_after: float | None = None) -> Verdict:
    """Make the verdict on data that did not arrive.

    Args:
        outcome: Why not.
        text: The cause, in our words.
        message: What the receiver said, redacted.
        retry_after: Seconds to leave it alone.

    Returns:
        The verdict.
    """
    said = f"; the receiver says: {message}" if message else ""
    return Verdict(outcome=outcome, text=f"{text}{said}", message=message, retry_after=retry_after)


def partly(rejected: int, message: str) -> Verdict:
    """Make the verdict on data of which a part was rejected.

    Args:
        rejected: Data points that were not taken.
        message: What the receiver said, redacted.

    Returns:
        The verdict.
    """
    said = f"; it says: {message}" if message else ""
    text = f"the receiver rejected {rejected} data point{'' if rejected == 1 else 's'}{said}"
    return Verdict(outcome=Outcome.PARTLY, text=text, rejected=rejected, message=message)


def judge_http(answer: HttpAnswer, redact: Redactor) -> Verdict:
    """Say what an HTTP response means.

    Args:
        answer: The response.
        redact: Hides the credentials of the request in what the receiver said.

    Returns:
        The verdict. An arrival is status 200 with a body that is an ``ExportMetricsServiceResponse``.
        An empty body without a content type counts as the empty message, which it is: Prometheus answers so.
    """
    if answer.status == HTTPStatus.OK:
        return _judge_ok(answer, redact)
    name = _status_name(answer.status)
    if answer.status in _RETRYABLE:
        return failed(Outcome.RETRY, name, _said(answer, redact), _seconds(answer.retry_after, answer.date))
    if answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return failed(Outcome.MISDIRECTED, f"{name} ({_PROXY_CURES[answer.status]})")
    if HTTPStatus.BAD_REQUEST <= answer.status < 600:  # noqa: PLR2004  # the last class of status codes ends there
        cure = _CURES.get(answer.status)
        return failed(Outcome.REFUSED, f"{name} ({cure})" if cure else name, _said(answer, redact))
    to = redact(origin(answer.location))
    where = f" to {to}" if to else ""
    return failed(Outcome.MISDIRECTED, f"{name}{where} is no answer of an OTLP receiver (check the endpoint)")


def judge_tunnel(answer: HttpAnswer) -> Verdict:
    """Say what the answer of a proxy means that opens no tunnel to the receiver.

    Args:
        answer: The response to ``CONNECT``, which is the proxy's own word.

    Returns:
        The verdict. The receiver has refused nothing, so the data may be sent again.
    """
    cure = _PROXY_CURES.get(answer.status)
    text = f"no tunnel, {_status_name(answer.status)}{f' ({cure})' if cure else ''}"
    # Proxies do not agree on the status for a receiver that they cannot reach; some say 500.
    passing = answer.status in _RETRYABLE or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    outcome = Outcome.RETRY if passing else Outcome.MISDIRECTED
    return failed(outcome, text, retry_after=_seconds(answer.retry_after, answer.date))


def judge_grpc(code: str, details: str, status: bytes | None, redact: Redactor) -> Verdict:
    """Say what the failure of a gRPC call means.

    Args:
        code: Name of the status code, for instance ``UNAVAILABLE``.
        details: Its message.
        status: The trailing metadata ``grpc-status-details-bin``, if any.
        redact: Hides the credentials of the call in what the receiver said.

    Returns:
        The verdict.
    """
    delay = _details(status).retry_delay
    message = redact(details)
    cure = f" ({_CODE_CURES[code]})" if code in _CODE_CURES else ""
    # Not "the receiver says": grpcio has messages of its own.
    text = f"gRPC {code}{cure}{': ' if message else ''}{message}"
    if code in _RETRYABLE_CODES or (code == "RESOURCE_EXHAUSTED" and delay is not None):
        wait = None if delay is None else min(delay, MAX_RETRY_AFTER)
        return Verdict(outcome=Outcome.RETRY, text=text, message=message, retry_after=wait)
    return Verdict(outcome=Outcome.REFUSED, text=text, message=message)


def judge_taken(body: bytes | bytearray, redact: Redactor) -> Verdict:
    """Say what the message of a receiver that took the request means.

    Args:
        body: An ``ExportMetricsServiceResponse``, or something that should be one.
        redact: Hides the credentials of the request in what the receiver said.

    Returns:
        The verdict.
    """
    try:
        taken = read_taken(body)
    except MalformedAnswerError:
        return failed(Outcome.MISDIRECTED, "the answer is no OTLP message (check the endpoint)")
    message = redact(taken.message)
    if taken.rejected:
        return partly(taken.rejected, message)
    text = f"delivered; the receiver says: {message}" if message else "delivered"
    return Verdict(outcome=Outcome.DELIVERED, text=text, message=message)


def _judge_ok(answer: HttpAnswer, redact: Redactor) -> Verdict:
    kind = answer.content_type.partition(";")[0].strip().lower()
    if answer.body is None or (kind != PROTOBUF and (kind or answer.body)):
        described = f"content of type {redact(kind, 60)!r}" if kind else "content of no type"
        return failed(
            Outcome.MISDIRECTED, f"HTTP 200 with {described} is no answer of an OTLP receiver (check the endpoint)"
        )
    return judge_taken(answer.body, redact)


def _said(answer: HttpAnswer, redact: Redactor) -> str:
    if not answer.body:
        return ""
    if answer.content_type.partition(";")[0].strip().lower() == PROTOBUF:
        return redact(_details(answer.body).message)
    # Proxies and some receivers describe failures otherwise; a page has nothing to say in one line.
    if answer.content_type.lower().startswith(_READABLE):
        return redact(str(answer.body, "utf-8", "replace"))
    return ""


def _details(status: bytes | bytearray | None) -> Status:
    try:
        return read_status(status or b"")
    except MalformedAnswerError:
        return read_status(b"")


def _status_name(status: int) -> str:
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}"


def _seconds(retry_after: str, date: str) -> float | None:
    """Read ``Retry-After`` (RFC 9110, section 10.2.3): seconds, or a date."""
    value = retry_after.strip()
    if value.isascii() and value.isdigit():
        return min(float(value), MAX_RETRY_AFTER)
    until = _timestamp(value)
    if until is None:
        return None
    # By the sender's own clock where it is told, so that a wrong clock on either side does no harm.
    sent = _timestamp(date)
    now = time.time() if sent is None else sent
    return min(max(until - now, 0.0), MAX_RETRY_AFTER)


def _timestamp(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
