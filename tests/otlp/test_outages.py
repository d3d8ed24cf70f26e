"""The delivery table, from the reader that pushes to real receivers: every fault, short, for minutes and for a day.

What each answer means is proven in test_verdict.py, each transport's own faults in test_http_transport.py and
test_grpc_transport.py, retries and log lines in test_delivery.py. Here they are put together.
"""

from __future__ import annotations

import contextlib
import socket

import pytest

from otelbridge.metrics.provider import MeterProvider
from tests.components import free_port
from tests.otlp import faults
from tests.otlp.faults import FakeClock, GrpcReceiver, Receiver, answer, grpc_answer, grpc_failure
from tests.otlp.pushing import SLACK, points, sums, timed, timeless_reader

pytestmark = pytest.mark.endtoend

# What is pushed is (arrives or not, what becomes of the points): "" for taken.
TAKEN, REJECTED = (True, ""), (True, "rejected")
RETRIED, ASTRAY, REFUSED = (False, "unavailable"), (False, "misdirected"), (False, "refused")


@contextlib.contextmanager
def _nothing_listens():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))  # so that nothing else comes to listen there
        yield f"http://127.0.0.1:{holder.getsockname()[1]}/v1/metrics"


def _at(listener, scheme: str = "http"):
    @contextlib.contextmanager
    def listening():
        with listener() as port:
            yield f"{scheme}://127.0.0.1:{port}/v1/metrics"

    return listening


def _receiving(behaviour, **settings):
    @contextlib.contextmanager
    def receiving():
        with Receiver(behaviour, **settings) as receiver:
            yield receiver.url

    return receiving


def _tls_to_a_plain_port():
    with Receiver(answer()) as receiver:
        yield receiver.url.replace("http:", "https:")


# Those that keep silent take all of the time there is, which has to be real.
SILENT = {
    "accepts, never answers": (_receiving(faults.hang), RETRIED),
    "takes no connection out": (_at(faults.silent_listener), RETRIED),
    "full backlog": (_at(faults.full_listener), RETRIED),
    "one header byte now and then": (_receiving(faults.drip), RETRIED),
    "one body byte now and then": (_receiving(faults.drip_body), RETRIED),
    "latency beyond the time": (_receiving(faults.late(5)), RETRIED),
    "TLS to a port that says nothing": (_at(faults.silent_listener, "https"), RETRIED),
}
HTTP = {
    "200": (_receiving(answer()), TAKEN),
    "nothing listens": (_nothing_listens, RETRIED),
    "reset": (_receiving(faults.reset), RETRIED),
    "reset midway": (_receiving(faults.reset_midway), RETRIED),
    "hangs up": (_receiving(faults.hang_up), RETRIED),
    "body cut short": (_receiving(faults.cut_short), RETRIED),
    **{str(code): (_receiving(answer(code)), RETRIED) for code in (429, 502, 503, 504)},
    "429 with an order": (_receiving(answer(429, Retry_After="2")), RETRIED),
    "503 with a long order": (_receiving(answer(503, Retry_After="100")), RETRIED),
    **{str(code): (_receiving(answer(code)), REFUSED) for code in (400, 401, 404, 413, 500)},
    **{str(code): (_receiving(answer(code, Location="http://127.0.0.1:1/")), ASTRAY) for code in (301, 307)},
    "200 with a page": (_receiving(answer(200, b"<html>login</html>", "text/html")), ASTRAY),
    "200 with garbage": (_receiving(answer(200, b"\xff\xff")), ASTRAY),
    "partial success": (_receiving(answer(200, faults.partial(1, "too old"))), REJECTED),
    "in slices": (_receiving(faults.sliced), REJECTED),
    "slow close": (_receiving(faults.slow_close), TAKEN),
    "latency": (_receiving(faults.late(0.05)), TAKEN),
    "name that does not resolve": (lambda: contextlib.nullcontext("http://no-such-host.invalid/"), RETRIED),
    "TLS to a plain port": (contextlib.contextmanager(_tls_to_a_plain_port), ASTRAY),
    "gzip bomb": (_receiving(answer(200, faults.zipped_zeros(200 << 20), Content_Encoding="gzip")), ASTRAY),
    "1 GB": (_receiving(faults.endless_body(1 << 30)), ASTRAY),
    "endless headers": (_receiving(faults.endless_headers), ASTRAY),
    "not HTTP": (_receiving(faults.not_http), ASTRAY),
}


def _calling(behaviour):
    @contextlib.contextmanager
    def calling():
        with GrpcReceiver(behaviour) as receiver:
            yield receiver.url

    return calling


def _never(_body, context) -> bytes:
    while context.is_active():
        pass_time.wait(0.02)
    return b""


pass_time = faults.threading.Event()
GRPC_SILENT = {
    "accepts, never answers": (_calling(_never), RETRIED),
    "takes no connection out": (_at(faults.silent_listener), RETRIED),
    "full backlog": (_at(faults.full_listener), RETRIED),
}
GRPC = {
    "OK": (_calling(grpc_answer()), TAKEN),
    "nothing listens": (_nothing_listens, RETRIED),
    "UNAVAILABLE": (_calling(grpc_failure("UNAVAILABLE")), RETRIED),
    "UNAVAILABLE with an order": (_calling(grpc_failure("UNAVAILABLE", "no", 100)), RETRIED),
    "RESOURCE_EXHAUSTED": (_calling(grpc_failure("RESOURCE_EXHAUSTED")), REFUSED),
    "RESOURCE_EXHAUSTED with an order": (_calling(grpc_failure("RESOURCE_EXHAUSTED", "no", 2)), RETRIED),
    **{code: (_calling(grpc_failure(code)), REFUSED) for code in ("UNAUTHENTICATED", "INVALID_ARGUMENT", "INTERNAL")},
    "partial success": (_calling(grpc_answer(faults.partial(1, "too old"))), REJECTED),
    "garbage": (_calling(grpc_answer(b"\xff\xff")), ASTRAY),
    "gzip bomb": (_calling(faults.grpc_bomb(50 << 20)), REFUSED),
    "name that does not resolve": (lambda: contextlib.nullcontext("http://no-such-host.invalid"), RETRIED),
    "resets": (_receiving(answer(), greets=faults.reset), RETRIED),
    "not HTTP/2": (_receiving(answer(), greets=faults.not_http), RETRIED),
}
ROWS = [
    *((f"HTTP: {name}", *row, "http/protobuf", 30_000) for name, row in HTTP.items()),
    *((f"HTTP: {name}", *row, "http/protobuf", 100) for name, row in SILENT.items()),
    *((f"gRPC: {name}", *row, "grpc", 30_000) for name, row in GRPC.items()),
    *((f"gRPC: {name}", *row, "grpc", 100) for name, row in GRPC_SILENT.items()),
]


@pytest.mark.parametrize(
    ("receiver", "wanted", "protocol", "millis"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_ten_minutes_of_every_fault(receiver, wanted, protocol, millis, caplog) -> None:
    arrives, became = wanted
    clock = FakeClock()
    with receiver() as url:
        pushing = timeless_reader(url, clock, protocol=protocol, timeout=30)
        provider = MeterProvider([pushing], shutdown_on_exit=False)
        provider.get_meter("test").create_counter("orders").add(1)
        for minute in range(10):
            clock.time = max(clock.time, 1000.0 + 60 * minute)
            assert pushing.force_flush(millis) is arrives
        end = timed(lambda: pushing.shutdown(max(millis, 500)))
        provider.shutdown()
    assert end.result is arrives
    assert end.seconds < 0.5 + SLACK
    # One point each time, also where the receiver says that it rejected more.
    assert {word: points for word, points in pushing.exported.items() if points} == {became: 11}
    assert len(caplog.records) <= 3
    assert bool(caplog.records) == (wanted != TAKEN)


class Outage:
    """A receiver that is away for a while, as a port where nothing listens or as one that is overloaded."""

    def __init__(self, clock: FakeClock, *, listens: bool) -> None:
        self.clock = clock
        self.port = free_port()
        self.receiver = Receiver(answer(503), port=self.port) if listens else None
        self.url = f"http://127.0.0.1:{self.port}/v1/metrics"

    def end(self) -> Receiver:
        """Come back, at the same place."""
        if self.receiver is not None:
            self.receiver.__exit__()
        return Receiver(answer(), port=self.port)


@pytest.mark.parametrize("minutes", [10, 24 * 60], ids=["10 min", "24 h"])
@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
@pytest.mark.parametrize("listens", [False, True], ids=["gone", "overloaded"])
def test_nothing_is_lost_over_an_outage(listens, temporality, minutes, caplog) -> None:
    clock = FakeClock()
    outage = Outage(clock, listens=listens)
    # An overloaded receiver answers each try, of which there are some in each push, and a day has many.
    step = 60 if minutes == 10 or not listens else 600
    pushing = timeless_reader(outage.url, clock, temporality=temporality)
    provider = MeterProvider([pushing], shutdown_on_exit=False)
    counter = provider.get_meter("test").create_counter("orders")
    sizes = provider.get_meter("test").create_histogram("sizes")
    pushes = minutes * 60 // step
    for turn in range(pushes):
        counter.add(3, {"kind": str(turn % 3)})
        sizes.record(2)
        clock.time = max(clock.time, 1000.0 + step * turn)
        assert not pushing.force_flush(10_000)
    with outage.end() as receiver:
        clock.time += 60
        counter.add(1, {"kind": "new"})
        assert pushing.force_flush(10_000)
        assert pushing.shutdown(10_000)
        bodies = [exchange.body for exchange in receiver.exchanges]
    provider.shutdown()
    by_kind: dict[str, list[int]] = {}
    for where, value in points(bodies)["orders"]:
        by_kind.setdefault(where["kind"], []).append(value)
    total = sum(map(sum, by_kind.values())) if temporality == "delta" else sum(map(max, by_kind.values()))
    assert total == 3 * pushes + 1
    recorded = points(bodies)["sizes"]
    counted = [value for _, value in recorded]
    assert (counted[-1] if temporality == "cumulative" else tuple(map(sum, zip(*counted, strict=True)))) == (
        pushes,
        2 * pushes,
    )
    assert len(caplog.records) <= (3 if minutes == 10 else 27)


def test_what_was_taken_and_not_acknowledged_comes_again_as_it_was() -> None:
    def take_and_hang_up(exchange) -> None:
        raise ConnectionAbortedError

    clock = FakeClock()
    with Receiver(*[take_and_hang_up] * 9, answer()) as receiver:
        pushing = timeless_reader(receiver.url, clock, temporality="delta")
        provider = MeterProvider([pushing], shutdown_on_exit=False)
        counter = provider.get_meter("test").create_counter("orders")
        counter.add(5)
        adds = 1
        while not pushing.force_flush(3_000):
            counter.add(5)
            adds += 1
            clock.time += 60
        bodies = [exchange.body for exchange in receiver.exchanges]
        assert pushing.shutdown()
        provider.shutdown()
    first = [body for body in bodies if body == bodies[0]]
    assert len(first) == 10
    assert sums(set(bodies)) == {"orders": 5 * adds}
