"""Retries, pauses, counts and log lines of a delivery, on a clock that passes quickly."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.config.options import Otlp
from otelbridge.otlp.delivery import Delivery
from otelbridge.otlp.grpc import GrpcTransport
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.verdict import Outcome, Verdict, failed, partly
from tests.components import free_port
from tests.otlp import faults
from tests.otlp.faults import FakeClock, GrpcReceiver, Receiver, answer

OK = Verdict(outcome=Outcome.DELIVERED, text="delivered")
BUSY = failed(Outcome.RETRY, "HTTP 503 Service Unavailable")
REFUSED = failed(Outcome.REFUSED, "HTTP 400 Bad Request")
MISDIRECTED = failed(Outcome.MISDIRECTED, "HTTP 307")


def wait_order(seconds: float) -> Verdict:
    return failed(Outcome.RETRY, "HTTP 429 Too Many Requests", retry_after=seconds)


class Scripted:
    """A transport that gives verdicts in order, the last one from then on, each after some seconds."""

    def __init__(self, clock: FakeClock, *verdicts: Verdict | Exception, lasts: float = 0.0) -> None:
        self.clock, self.verdicts, self.lasts = clock, list(verdicts), lasts
        self.posts: list[tuple[float, bytes, float]] = []
        self.closed = 0

    def post(self, body: bytes, timeout: float) -> Verdict:
        self.posts.append((self.clock.time, body, timeout))
        self.clock.time += min(self.lasts, timeout)
        verdict = self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    def close(self) -> None:
        self.closed += 1


def make(*verdicts: Verdict | Exception, lasts: float = 0.0, **settings) -> tuple[Delivery, Scripted, FakeClock]:
    clock = FakeClock()
    transport = Scripted(clock, *verdicts, lasts=lasts)
    return (
        Delivery(transport, "http://receiver/v1/metrics", clock=clock, draw=lambda: 0.5, **settings),
        transport,
        clock,
    )


def test_what_arrives_at_once_is_sent_once() -> None:
    delivery, transport, _ = make(OK)
    report = delivery.send([b"1", b"2"], 10)
    assert (report.arrived, report.verdict.outcome, len(report.verdicts)) == (True, Outcome.DELIVERED, 2)
    assert [(body, timeout) for _, body, timeout in transport.posts] == [(b"1", 10), (b"2", 10)]


def test_pauses_double_and_stay_within_the_time() -> None:
    delivery, transport, clock = make(BUSY)
    assert not delivery.send([b""], 10).arrived
    assert [when - 1000 for when, _, _ in transport.posts] == [0, 1, 3, 7]
    assert clock.now() <= 1010
    clock.waits.clear()
    delivery.send([b""], 1000)
    assert clock.waits[:8] == [1, 2, 4, 8, 16, 30, 30, 30]


@given(st.floats(0, 1, exclude_max=True), st.floats(0.01, 100), st.floats(0, 20))
def test_nothing_lasts_longer_than_its_time(draw, timeout, lasts) -> None:
    clock = FakeClock()
    transport = Scripted(clock, BUSY, lasts=lasts)
    delivery = Delivery(transport, "r", clock=clock, draw=lambda: draw)
    assert not delivery.send([b""], timeout).arrived
    assert clock.now() <= 1000 + timeout + 1e-6
    for pause, longest in zip(clock.waits, (1, 2, 4, 8, 16), strict=False):
        assert 0.5 * longest <= pause <= 1.5 * longest


def test_a_retry_that_succeeds_is_a_success() -> None:
    delivery, transport, _ = make(BUSY, BUSY, OK)
    assert delivery.send([b""], 10).arrived
    assert len(transport.posts) == 3
    assert (delivery.state.totals, delivery.state.requests) == ({Outcome.DELIVERED: 1}, 3)


@pytest.mark.parametrize("verdict", [REFUSED, MISDIRECTED])
def test_what_is_not_to_be_sent_again_is_not(verdict) -> None:
    delivery, transport, _ = make(verdict)
    assert delivery.send([b""], 10).verdict == verdict
    assert len(transport.posts) == 1


def test_an_order_to_wait_is_kept_within_an_export() -> None:
    delivery, transport, _ = make(wait_order(2), OK)
    assert delivery.send([b""], 10).arrived
    assert transport.posts[1][0] == pytest.approx(1002.1)


def test_an_order_to_wait_is_kept_across_exports() -> None:
    delivery, transport, clock = make(wait_order(100), OK)
    assert delivery.send([b""], 10).verdict.retry_after == 100
    assert clock.now() == 1000
    clock.time += 60
    report = delivery.send([b""], 10)
    assert (report.arrived, len(transport.posts)) == (False, 1)
    assert "left alone for another 45 s" in report.verdict.text
    assert delivery.state.not_before == pytest.approx(45)
    clock.time += 40
    assert delivery.send([b""], 10).arrived
    assert transport.posts[1][0] >= 1100
    assert delivery.state.not_before is None


def test_an_order_to_come_at_once_still_grows_the_pauses() -> None:
    delivery, transport, _ = make(wait_order(0))
    delivery.send([b""], 10)
    assert [when - 1000 for when, _, _ in transport.posts] == [0, 1, 3, 7]


@pytest.mark.parametrize(
    ("verdicts", "sent", "outcome"),
    [
        ([OK, REFUSED, OK], 3, Outcome.REFUSED),
        ([OK, MISDIRECTED, OK], 2, Outcome.MISDIRECTED),
        ([OK, BUSY], 5, Outcome.RETRY),
        ([partly(3, "old"), OK, partly(4, "new")], 3, Outcome.PARTLY),
    ],
)
def test_chunks(verdicts, sent, outcome) -> None:
    delivery, transport, _ = make(*verdicts)
    report = delivery.send([b"1", b"2", b"3"], 10)
    assert len(transport.posts) == sent
    assert report.verdict.outcome is outcome
    if outcome is Outcome.PARTLY:
        assert (report.verdict.rejected, "7 data points" in report.verdict.text) == (7, True)


def test_chunks_share_the_time() -> None:
    delivery, transport, clock = make(OK, lasts=4)
    report = delivery.send(iter([b"1", b"2", b"3", b"4"]), 10)
    assert not report.arrived
    assert [timeout for _, _, timeout in transport.posts] == [10, 6, 2]
    assert "no time left" in report.verdict.text
    assert clock.now() == 1010


def test_nothing_to_send_is_no_failure_and_no_export() -> None:
    delivery, transport, _ = make(BUSY)
    assert delivery.send([], 10).arrived
    assert (transport.posts, delivery.state.totals) == ([], {})


def test_a_transport_that_raises_is_a_failure_that_shows_no_text(caplog) -> None:
    delivery, _, _ = make(ValueError("Invalid header value b's3cret'"))
    report = delivery.send([b""], 10)
    assert (report.arrived, "ValueError" in report.verdict.text) == (False, True)
    assert "s3cret" not in caplog.text + repr(report)


def test_state() -> None:
    delivery, _, clock = make(OK, REFUSED, MISDIRECTED, partly(3, "old"), partly(4, "old"), REFUSED)
    assert (delivery.state.seconds_since_success, delivery.state.consecutive_failures) == (None, 0)
    for failures, age in ((0, 0), (1, 60), (2, 120), (0, 0), (0, 0), (1, 60)):
        clock.time += 60
        delivery.send([b""], 10)
        assert (delivery.state.consecutive_failures, delivery.state.seconds_since_success) == (failures, age)
    assert delivery.state.totals == {
        Outcome.DELIVERED: 1,
        Outcome.REFUSED: 2,
        Outcome.MISDIRECTED: 1,
        Outcome.PARTLY: 2,
    }
    assert (delivery.state.rejected, delivery.state.requests) == (7, 6)


def outage(caplog, minutes: int, *verdicts: Verdict, interval: int = 60, **settings) -> list[str]:
    """Log lines of so many minutes in which exports meet verdicts in turn, then 20 in which they arrive."""
    delivery, transport, clock = make(OK, **settings)
    for turn in range((minutes + 20) * 60 // interval):
        transport.verdicts = [verdicts[turn % len(verdicts)] if turn < minutes * 60 // interval else OK]
        clock.time = 1000.0 + turn * interval
        delivery.send([b""], 10, points=100)
    return [record.getMessage() for record in caplog.records]


def test_ten_minutes_are_two_lines(caplog) -> None:
    stop, resume = outage(caplog, 10, BUSY)
    assert stop == (
        "Metrics do not arrive at http://receiver/v1/metrics: HTTP 503 Service Unavailable. Every export tries again; "
        "the next line comes in an hour, or when it works."
    )
    assert resume == (
        "Metrics arrive at http://receiver/v1/metrics again after 9 min 53 s: 10 exports with 1000 points came late, "
        "the totals are complete."
    )


def test_a_day_is_a_line_an_hour(caplog) -> None:
    lines = outage(caplog, 24 * 60, BUSY)
    assert 24 <= len(lines) <= 26
    assert "have not arrived at http://receiver/v1/metrics for 1 h" in lines[1]
    assert "again after 23 h 59 min" in lines[-1]


def test_what_is_no_total_is_lost_and_said_so(caplog) -> None:
    assert outage(caplog, 2, BUSY, cumulative=False)[-1].endswith("2 exports with 200 points did not arrive.")


@pytest.mark.parametrize("interval", [1, 10, 60])
@pytest.mark.parametrize("pattern", [[BUSY, OK], [OK, BUSY], [BUSY, BUSY, OK], [BUSY] * 5 + [partly(1, "old")]])
def test_a_receiver_that_comes_and_goes_is_three_lines_in_ten_minutes(caplog, pattern, interval) -> None:
    lines = outage(caplog, 10, *pattern, interval=interval)
    in_outage = [line for line in lines if "shorter interruptions" not in line]
    assert 1 <= len(in_outage) <= 3


def test_short_interruptions_that_were_not_reported_are_counted(caplog) -> None:
    lines = outage(caplog, 30, BUSY, OK)
    assert any("after 4 shorter interruptions" in line for line in lines)
    assert len(lines) <= 6


def test_rejections_are_said_once_an_hour_with_their_number(caplog) -> None:
    lines = outage(caplog, 100, partly(3, "too old"))
    assert lines == [
        "Metrics at http://receiver/v1/metrics: the receiver rejected 3 data points; it says: too old. The next line "
        "about it comes in an hour.",
        "Metrics at http://receiver/v1/metrics: the receiver rejected 3 data points; it says: too old (180 since the "
        "last report). The next line about it comes in an hour.",
    ]


def test_a_warning_of_the_receiver_is_passed_on_once(caplog) -> None:
    warning = Verdict(outcome=Outcome.DELIVERED, text="delivered; the receiver says: long names", message="long names")
    lines = outage(caplog, 10, warning)
    assert len(lines) == 1
    assert "long names" in lines[0]


REAL_OUTAGES = {
    "nothing listens": None,
    "resets": faults.reset,
    "hangs up": faults.hang_up,
    "503": answer(503, faults.failure("busy")),
    "429 with an order": answer(429, Retry_After="100"),
    "401": answer(401),
    "307": answer(307, Location="http://127.0.0.1:1/"),
    "page": answer(200, b"<html>login</html>", "text/html"),
    "garbage": answer(200, b"\xff\xff"),
    "partial success": answer(200, faults.partial(7, "too old")),
    "endless headers": faults.endless_headers,
}


@pytest.mark.parametrize("interval", [10, 60])
@pytest.mark.parametrize("fault", REAL_OUTAGES)
def test_ten_minutes_of_every_real_fault_are_three_lines(caplog, fault, interval) -> None:
    behaviour = REAL_OUTAGES[fault]
    clock = FakeClock()
    with Receiver(behaviour or answer()) as receiver:
        url = receiver.url if behaviour else f"http://127.0.0.1:{free_port()}/"
        delivery = Delivery(HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url)), url, clock=clock)
        for turn in range(0, 600, interval):
            clock.time = max(clock.time, 1000.0 + turn)
            assert delivery.send([b""], 10).arrived == (fault == "partial success")
        delivery.close()
    assert 1 <= len(caplog.records) <= 3


GRPC_OUTAGES = {
    "UNAVAILABLE": faults.grpc_failure("UNAVAILABLE"),
    "UNAUTHENTICATED": faults.grpc_failure("UNAUTHENTICATED"),
    "with an order": faults.grpc_failure("RESOURCE_EXHAUSTED", "slow down", 100),
    "partial success": faults.grpc_answer(faults.partial(7, "too old")),
}


@pytest.mark.parametrize("fault", GRPC_OUTAGES)
def test_ten_minutes_of_every_real_fault_over_grpc_are_three_lines(caplog, fault) -> None:
    clock = FakeClock()
    with GrpcReceiver(GRPC_OUTAGES[fault]) as receiver:
        transport = GrpcTransport(Otlp(metrics_endpoint=receiver.url, traces_endpoint=receiver.url))
        delivery = Delivery(transport, receiver.url, clock=clock)
        for turn in range(0, 600, 10):
            clock.time = max(clock.time, 1000.0 + turn)
            assert delivery.send([b""], 10).arrived == (fault == "partial success")
        delivery.close()
    assert 1 <= len(caplog.records) <= 3


@pytest.mark.parametrize(
    "behaviour", [faults.hang, faults.drip, faults.reset, answer(503), answer(429, Retry_After="9")]
)
def test_retries_and_pauses_end_in_time(behaviour) -> None:
    with Receiver(behaviour) as receiver:
        url = receiver.url
        delivery = Delivery(HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url, timeout=3600)), url)
        begun = time.monotonic()
        assert not delivery.send([b"1", b"2"], 0.8).arrived
        assert time.monotonic() - begun < 0.8 + 30
        delivery.close()


def test_only_one_export_is_under_way_at_a_time() -> None:
    with Receiver(faults.late(0.3)) as receiver:
        url = receiver.url
        delivery = Delivery(HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url)), url)
        first = threading.Thread(target=delivery.send, args=([b"1"], 60))
        first.start()
        while not receiver.exchanges:
            time.sleep(0.01)
        report = delivery.send([b"2"], 0.05)
        assert (report.arrived, report.verdicts) == (False, ())
        assert "still under way" in report.verdict.text
        assert delivery.send([b"3"], 60).arrived
        first.join()
        assert [exchange.body for exchange in receiver.exchanges] == [b"1", b"3"]
        delivery.close()


def test_newer_data_end_a_pause_of_older() -> None:
    with Receiver(answer(503), answer()) as receiver:
        url = receiver.url
        delivery = Delivery(HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url)), url, draw=lambda: 0.9)
        reports = []
        first = threading.Thread(target=lambda: reports.append(delivery.send([b"1"], 60)))
        first.start()
        while not receiver.exchanges:
            time.sleep(0.01)
        assert delivery.send([b"2"], 30).arrived
        first.join(30)
        assert [report.arrived for report in reports] == [False]
        assert [exchange.body for exchange in receiver.exchanges] == [b"1", b"2"]
        delivery.close()


def test_closing_ends_a_pause_and_closes_after_the_export() -> None:
    with Receiver(answer(503)) as receiver:
        url = receiver.url
        delivery = Delivery(HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url)), url)
        thread = threading.Thread(target=delivery.send, args=([b""], 3600))
        thread.start()
        while not receiver.exchanges:
            time.sleep(0.01)
        delivery.close()
        thread.join(60)
        assert not thread.is_alive()


def test_after_close_an_export_has_one_try() -> None:
    delivery, transport, _ = make(BUSY)
    delivery.close()
    assert not delivery.send([b""], 60).arrived
    assert (len(transport.posts), transport.closed) == (1, 2)


def test_many_threads_lose_no_count() -> None:
    with Receiver(answer()) as receiver:
        url = receiver.url
        delivery = Delivery(HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url)), url)
        threads = [threading.Thread(target=lambda: [delivery.send([b"x"], 30) for _ in range(20)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (delivery.state.totals, delivery.state.requests) == ({Outcome.DELIVERED: 160}, 160)
        assert (len(receiver.exchanges), receiver.connections) == (160, 1)
        delivery.close()


_FORK = """
import os, sys, threading, time
from otelbridge.config.options import Otlp
from otelbridge.otlp.delivery import Delivery
from otelbridge.otlp.http import HttpTransport
url = sys.argv[1]
delivery = Delivery(HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url)), url)
delivery.send([b"parent"], 60)
busy = threading.Thread(target=delivery.send, args=([b"busy"], 60))
busy.start()
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
child = os.fork()
if not child:
    print("child", dict(delivery.state.totals), delivery.send([b"child"], 60).arrived, flush=True)
    os._exit(0)
os.waitpid(child, 0)
busy.join()
print("parent", sum(delivery.state.totals.values()))
delivery.close()
"""


def test_a_child_begins_with_nothing_and_does_not_wait_for_its_parents_export(tmp_path) -> None:
    arrived, answered = tmp_path / "arrived", threading.Event()

    def answer_after_the_child(exchange) -> None:
        arrived.touch()
        answered.wait(60)
        answer()(exchange)

    def answer_the_child(exchange) -> None:
        answer()(exchange)
        answered.set()

    with Receiver(answer(), answer_after_the_child, answer_the_child) as receiver:
        printed = faults.run(_FORK, receiver.url, str(arrived), PYTHONWARNINGS="ignore")
        numbers = sorted((exchange.body, exchange.number) for exchange in receiver.exchanges)
    assert printed.splitlines() == ["child {} True", "parent 2"]
    assert numbers == [(b"busy", 1), (b"child", 2), (b"parent", 1)]
