"""What answers mean."""

from __future__ import annotations

import time
from email.utils import formatdate

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.otlp.redact import Redactor
from otelbridge.otlp.verdict import HttpAnswer, Outcome, judge_grpc, judge_http
from tests.otlp.faults import failure, partial

_PROTOBUF = "application/x-protobuf"
_REDACT = Redactor("http://receiver/v1/metrics", {})


def _judge(status: int = 200, body: bytes = b"", content_type: str = _PROTOBUF, **headers: str):
    return judge_http(HttpAnswer(status=status, body=body, content_type=content_type, **headers), _REDACT)


@pytest.mark.parametrize("content_type", [_PROTOBUF, "Application/X-Protobuf; charset=utf-8", ""])
def test_the_empty_message_is_an_arrival(content_type) -> None:
    verdict = _judge(content_type=content_type)
    assert (verdict.outcome, verdict.arrived, verdict.rejected) == (Outcome.DELIVERED, True, 0)


def test_rejected_points_are_counted_with_the_reason() -> None:
    verdict = _judge(body=partial(7, "too old"))
    assert (verdict.outcome, verdict.rejected, verdict.message) == (Outcome.PARTLY, 7, "too old")
    assert verdict.arrived
    assert "7 data points" in verdict.text
    assert "too old" in verdict.text


def test_a_warning_without_rejected_points_is_an_arrival() -> None:
    verdict = _judge(body=partial(0, "names are long"))
    assert (verdict.outcome, verdict.message) == (Outcome.DELIVERED, "names are long")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, Outcome.RETRY) for status in (429, 502, 503, 504)),
        *((status, Outcome.REFUSED) for status in (400, 401, 403, 404, 405, 408, 413, 415, 499, 500, 501, 505, 599)),
        *((status, Outcome.MISDIRECTED) for status in (101, 201, 202, 204, 301, 302, 303, 307, 308, 600, 999)),
    ],
)
def test_status_codes(status, outcome) -> None:
    verdict = _judge(status)
    assert verdict.outcome is outcome
    assert not verdict.arrived
    assert f"HTTP {status}" in verdict.text


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>login</html>", "text/html"),
        (b"", "text/html"),
        (b"{}", "application/json"),
        (b"<html>login</html>", _PROTOBUF),
        (b"\x0a\x00", ""),
        (None, _PROTOBUF),
    ],
)
def test_a_200_that_no_receiver_gives_is_no_arrival(body, content_type) -> None:
    assert _judge(body=body, content_type=content_type).outcome is Outcome.MISDIRECTED


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://u:s3cret@login.example:8443/s3cret?token=s3cret", " to https://login.example:8443 "),
        ("/s3cret", "Redirect is"),
        ("http://[s3cret", "Redirect is"),
        ("http://h:s3cret/", "Redirect is"),
    ],
)
def test_where_a_redirect_leads_is_shown_without_its_path(location, shown) -> None:
    text = _judge(307, location=location).text
    assert shown in text
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (failure("disk full"), _PROTOBUF),
        (b"disk full\n", "text/plain; charset=utf-8"),
        (b'{"error": "disk full"}', "application/json"),
    ],
)
def test_what_a_failure_says_is_passed_on(body, content_type) -> None:
    verdict = _judge(503, body, content_type)
    assert "disk full" in verdict.message
    assert verdict.message in verdict.text


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", None, b"\xff\xff"])
def test_a_failure_that_says_nothing_readable_is_its_status(body) -> None:
    assert _judge(502, body, "text/html").text == "HTTP 502 Bad Gateway"
    assert _judge(502, body, _PROTOBUF).text == "HTTP 502 Bad Gateway"


def test_messages_are_one_short_printable_line() -> None:
    verdict = _judge(body=partial(1, "a\n\x1b[31mFAKE\u202e line " + "x" * 10_000))
    assert verdict.message.isprintable()
    assert verdict.message.startswith("a [31mFAKE line xxx")
    assert len(verdict.message) == 200


_SENT = 1_800_000_000.0


@pytest.mark.parametrize(
    ("retry_after", "date", "seconds"),
    [
        ("2", "", 2.0),
        (" 0 ", "", 0.0),
        ("999999999", "", 3600.0),
        ("9" * 6000, "", 3600.0),
        (formatdate(_SENT + 30, usegmt=True), formatdate(_SENT, usegmt=True), 30.0),
        (formatdate(_SENT - 30, usegmt=True), formatdate(_SENT, usegmt=True), 0.0),
        (formatdate(_SENT + 99_999, usegmt=True), formatdate(_SENT, usegmt=True), 3600.0),
        ("", "", None),
        ("soon", "", None),
        ("-5", "", None),
        ("1.5", "", None),
        ("²", "", None),
        ("Sun, 99 Foo 2026 99:99:99 GMT", "", None),
    ],
)
def test_retry_after_in_both_forms(retry_after, date, seconds) -> None:
    for status in (429, 503):
        assert _judge(status, retry_after=retry_after, date=date).retry_after == seconds


def test_a_date_without_the_receivers_own_counts_from_now() -> None:
    seconds = _judge(503, retry_after=formatdate(time.time() + 600, usegmt=True)).retry_after
    assert 500 < seconds <= 600


def test_an_order_to_wait_is_for_those_who_may_come_again() -> None:
    assert _judge(400, retry_after="5").retry_after is None
    assert _judge(307, retry_after="5").retry_after is None


@given(st.integers(100, 999), st.binary(max_size=50) | st.none(), st.text(max_size=30), st.text(), st.text(), st.text())
def test_any_answer_has_a_meaning(status, body, content_type, retry_after, date, location) -> None:
    verdict = _judge(status, body, content_type, retry_after=retry_after, date=date, location=location)
    assert verdict.text.isprintable()
    assert verdict.arrived <= (status == 200)


_RETRYABLE = ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"]


@pytest.mark.parametrize("code", [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_grpc_codes(code) -> None:
    verdict = judge_grpc(code, "no", None, _REDACT)
    outcome = Outcome.RETRY if code in _RETRYABLE else Outcome.REFUSED
    assert (verdict.outcome, verdict.message, verdict.retry_after) == (outcome, "no", None)
    assert code in verdict.text


def test_exhausted_is_for_another_day_only_if_the_receiver_says_when() -> None:
    verdict = judge_grpc("RESOURCE_EXHAUSTED", "slow down", failure("slow down", 2.5), _REDACT)
    assert (verdict.outcome, verdict.retry_after) == (Outcome.RETRY, 2.5)
    assert judge_grpc("RESOURCE_EXHAUSTED", "no", failure("no"), _REDACT).outcome is Outcome.REFUSED
    assert judge_grpc("UNAVAILABLE", "no", failure("no", 99_999), _REDACT).retry_after == 3600
    assert judge_grpc("UNAVAILABLE", "no", b"\xff", _REDACT).retry_after is None
