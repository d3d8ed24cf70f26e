"""The reader that pushes: what a flush and the end say, and what reaches the receiver."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)

from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.provider import MeterProvider
from tests.components import free_port
from tests.otlp import faults
from tests.otlp.faults import Receiver, answer, run
from tests.otlp.pushing import NEVER, PROVIDERS, SLACK, eventually, last, pipeline, points, reader, sums, timed

pytestmark = pytest.mark.endtoend

ROOT = Path(__file__).parents[2]
PYTHONS = sorted({sys.executable, *(str(each) for each in ROOT.glob(".venv-3.1?/bin/python"))})


def bodies(receiver: Receiver) -> list[bytes]:
    return [exchange.body for exchange in receiver.exchanges]


@pytest.fixture(params=PROVIDERS)
def provider_class(request):
    forget_warnings()
    return PROVIDERS[request.param]


def test_a_flush_pushes_what_is_recorded_now(provider_class) -> None:
    with Receiver(answer()) as receiver:
        pushing = reader(receiver.url)
        provider = provider_class([pushing], shutdown_on_exit=False)
        assert pushing.force_flush() is True
        counter = provider.get_meter("test").create_counter("orders")
        counter.add(3, {"kind": "web"})
        assert pushing.force_flush()
        counter.add(4, {"kind": "web"})
        assert provider.force_flush()
        assert points(bodies(receiver)) == {"orders": [({"kind": "web"}, 3), ({"kind": "web"}, 7)]}
        provider.shutdown()


def test_it_pushes_at_its_interval(provider_class) -> None:
    with Receiver(answer()) as receiver:
        provider = provider_class([reader(receiver.url, interval=0.05)], shutdown_on_exit=False)
        provider.get_meter("test").create_counter("orders").add(3)
        eventually(lambda: len(receiver.exchanges) >= 3)
        provider.shutdown()
        assert last(bodies(receiver)) == {"orders": 3}


def test_the_end_pushes_once_more_and_says_whether_it_arrived(provider_class) -> None:
    with Receiver(answer()) as receiver:
        pushing = reader(receiver.url)
        provider = provider_class([pushing], shutdown_on_exit=False)
        provider.get_meter("test").create_counter("orders").add(3)
        assert pushing.shutdown() is True
        assert last(bodies(receiver)) == {"orders": 3}
        provider.shutdown()


def test_a_reader_in_no_provider_has_nothing_to_push() -> None:
    with Receiver(answer()) as receiver:
        pushing = reader(receiver.url)
        assert pushing.force_flush()
        assert pushing.shutdown()
        assert not receiver.exchanges


def test_the_end_told_twice_pushes_once(provider_class) -> None:
    with Receiver(answer(), answer(503)) as receiver:
        pushing = reader(receiver.url)
        provider = provider_class([pushing], shutdown_on_exit=False)
        provider.get_meter("test").create_counter("orders").add(3)
        assert [pushing.shutdown(), pushing.shutdown()] == [True, True]
        assert len(receiver.exchanges) == 1
        provider.shutdown()


def test_an_end_that_did_not_arrive_says_so_each_time() -> None:
    pushing = reader(f"http://127.0.0.1:{free_port()}/")
    provider = MeterProvider([pushing], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("orders").add(3)
    assert [pushing.shutdown(300), pushing.shutdown(300)] == [False, False]
    provider.shutdown()


def test_after_the_end_a_flush_is_false_and_sends_nothing(provider_class) -> None:
    with Receiver(answer()) as receiver:
        pushing = reader(receiver.url, interval=0.05)
        provider = provider_class([pushing], shutdown_on_exit=False)
        counter = provider.get_meter("test").create_counter("orders")
        counter.add(3)
        assert pushing.shutdown()
        counter.add(3)
        before = len(receiver.exchanges)
        assert pushing.force_flush() is False
        time.sleep(0.15)
        assert len(receiver.exchanges) == before
        provider.shutdown()


@pytest.mark.parametrize("behaviour", [faults.hang, faults.drip, faults.reset, answer(503), answer(400), answer(307)])
def test_what_did_not_arrive_is_false_in_time(provider_class, behaviour) -> None:
    with Receiver(behaviour) as receiver:
        pushing = reader(receiver.url)
        provider = provider_class([pushing], shutdown_on_exit=False)
        provider.get_meter("test").create_counter("orders").add(3)
        flush = timed(lambda: pushing.force_flush(300))
        end = timed(lambda: pushing.shutdown(300))
        assert (flush.result, end.result) == (False, False)
        assert max(flush.seconds, end.seconds) < SLACK
        provider.shutdown()


def test_what_arrives_within_the_time_is_true(provider_class) -> None:
    with Receiver(answer(503), faults.late(0.3)) as receiver:
        pushing = reader(receiver.url)
        provider = provider_class([pushing], shutdown_on_exit=False)
        provider.get_meter("test").create_counter("orders").add(3)
        assert pushing.force_flush(20_000)
        assert len(receiver.exchanges) == 2
        provider.shutdown()


def test_the_end_does_not_wait_for_retries_of_what_is_older() -> None:
    with Receiver(*[answer(503)] * 2, answer()) as receiver:
        pushing = reader(receiver.url, interval=0.05, timeout=60.0)
        provider = MeterProvider([pushing], shutdown_on_exit=False)
        counter = provider.get_meter("test").create_counter("orders")
        counter.add(3)
        eventually(lambda: receiver.exchanges)
        counter.add(4)
        assert timed(lambda: pushing.shutdown(30_000)).result
        assert last(bodies(receiver)) == {"orders": 7}
        provider.shutdown()


def test_many_threads_flush_while_others_record(provider_class) -> None:
    with Receiver(answer()) as receiver:
        pushing = reader(receiver.url, interval=0.02)
        provider = provider_class([pushing], shutdown_on_exit=False)
        counter = provider.get_meter("test").create_counter("orders")
        said: list[bool] = []

        def work() -> None:
            for _ in range(20):
                counter.add(1)
                said.append(pushing.force_flush(20_000))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said == [True] * 160
        values = [value for _, value in points(bodies(receiver))["orders"]]
        assert values == sorted(values)
        assert values[-1] == 160
        provider.shutdown()


def test_ends_asked_for_by_many_threads_all_tell_the_same() -> None:
    with Receiver(faults.late(0.2)) as receiver:
        pushing = reader(receiver.url)
        provider = MeterProvider([pushing], shutdown_on_exit=False)
        provider.get_meter("test").create_counter("orders").add(3)
        said: list[bool] = []
        threads = [threading.Thread(target=lambda: said.append(pushing.shutdown(20_000))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert said == [True] * 8
        provider.shutdown()


def _raises(_options):
    raise ValueError("s3cret")


def _ends(_options):
    raise SystemExit("s3cret")


def _begins_and_raises(_options):
    yield Observation(1)
    raise ValueError("s3cret")


NONSENSE = {
    "raises": _raises,
    "raises midway": _begins_and_raises,
    "raises SystemExit": _ends,
    "returns nothing": lambda _options: None,
    "returns a number": lambda _options: 7,
    "returns texts": lambda _options: ["a", "b"],
    "observes a text": lambda _options: [Observation("a")],
    "observes nothing": lambda _options: [Observation(None)],
    "observes no number": lambda _options: [Observation(float("nan"))],
    "observes what is too large": lambda _options: [Observation(10**400)],
    "observes strange attributes": lambda _options: [Observation(1, {"a": object()})],
    "observes attributes that are none": lambda _options: [Observation(1, 3)],
}


@pytest.mark.parametrize("callback", NONSENSE)
def test_what_a_callback_does_wrong_costs_only_itself(callback, caplog) -> None:
    forget_warnings()
    with Receiver(answer()) as receiver:
        provider = MeterProvider([reader(receiver.url, interval=0.05)], shutdown_on_exit=False)
        meter = provider.get_meter("test")
        meter.create_observable_gauge("before", [lambda _options: [Observation(1)]])
        meter.create_observable_gauge("wrong", [NONSENSE[callback]])
        meter.create_observable_gauge("after", [lambda _options: [Observation(2)]])
        counter = meter.create_counter("orders")
        counter.add(3)
        eventually(lambda: len(receiver.exchanges) >= 3)
        counter.add(4)
        provider.shutdown()
        found = last(bodies(receiver))
        assert (found["before"], found["after"], found["orders"]) == (1, 2, 7)
    assert len(caplog.records) <= 1
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("grouped", [False, True])
def test_a_callback_that_blocks_keeps_nobody(grouped, caplog, tmp_path) -> None:
    forget_warnings()
    go_on = threading.Event()
    processes = _group(tmp_path) if grouped else None
    with Receiver(answer()) as receiver:
        pushing = reader(receiver.url, interval=0.2, timeout=2.0)
        beside = InMemoryMetricReader()
        provider = MeterProvider([pushing, beside], shutdown_on_exit=False, processes=processes)
        meter = provider.get_meter("test")
        meter.create_observable_gauge("before", [lambda _options: [Observation(1)]])
        meter.create_observable_gauge("blocked", [lambda _options: go_on.wait(60) and [Observation(9)]])
        meter.create_observable_gauge("after", [lambda _options: [Observation(2)]])
        counter = meter.create_counter("orders")
        counter.add(3)
        eventually(lambda: len(receiver.exchanges) >= 4)
        found = last(bodies(receiver))
        assert (found["before"], found["after"], found["orders"], "blocked" in found) == (1, 2, 3, False)
        assert beside.get_metrics_data() is not None
        counter.add(4)
        assert pushing.force_flush(20_000)
        assert last(bodies(receiver))["orders"] == 7
        go_on.set()
        eventually(lambda: pushing.force_flush(20_000) and last(bodies(receiver)).get("blocked") == 9)
        assert pushing.shutdown()
        provider.shutdown()
    (said,) = [record.getMessage() for record in caplog.records if "blocked" in record.getMessage()]
    assert "left out until it does" in said


def _group(tmp_path):
    from otelbridge.metrics.processes import Processes

    return Processes("test", tmp_path)


class _Exporter(MetricExporter):
    def __init__(self) -> None:
        super().__init__()
        self.exported = []

    def export(self, metrics_data, timeout_millis: float = 10_000, **kwargs):
        self.exported.append(metrics_data)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs) -> None: ...


def test_an_exporter_of_somebody_else_beside(provider_class) -> None:
    exporter = _Exporter()
    with Receiver(answer()) as receiver:
        readers = [reader(receiver.url), PeriodicExportingMetricReader(exporter, 3_600_000)]
        provider = provider_class(readers, shutdown_on_exit=False)
        provider.get_meter("test").create_counter("orders").add(3)
        assert provider.force_flush()
        provider.shutdown()
        assert last(bodies(receiver)) == {"orders": 3}
    (metric,) = exporter.exported[0].resource_metrics[0].scope_metrics[0].metrics
    assert metric.data.data_points[0].value == 3


def test_a_dead_destination_slows_no_other() -> None:
    with Receiver(faults.hang) as dead, Receiver(answer()) as alive:
        both = pipeline(reader(dead.url, interval=0.05, timeout=60.0), reader(alive.url, interval=0.05))
        counter = both.provider.get_meter("test").create_counter("orders")
        counter.add(3)
        eventually(lambda: dead.exchanges and len(alive.exchanges) >= 5)
        assert len(dead.exchanges) == 1
        counter.add(4)
        flush = timed(lambda: both.force_flush(3))
        end = timed(lambda: both.shutdown(3))
        assert last(bodies(alive)) == {"orders": 7}
    assert (flush.result, end.result) == (False, False)
    assert max(flush.seconds, end.seconds) < SLACK


def test_all_begin_before_one_is_waited_for() -> None:
    with Receiver(faults.hang) as dead, Receiver(answer()) as alive:
        both = pipeline(reader(dead.url), reader(alive.url))
        both.provider.get_meter("test").create_counter("orders").add(3)
        thread = threading.Thread(target=both.force_flush, args=(2,))
        thread.start()
        eventually(lambda: alive.exchanges)
        assert thread.is_alive()
        thread.join()
        both.shutdown(0.3)


def test_what_became_of_the_points_is_counted() -> None:
    behaviours = [answer(400), answer(307), answer(200, faults.partial(1)), answer()]
    with Receiver(*behaviours) as receiver:
        pushing = reader(receiver.url)
        provider = MeterProvider([pushing], shutdown_on_exit=False)
        counter = provider.get_meter("test").create_counter("orders")
        for number in range(5):
            counter.add(1, {"number": number})
        assert [pushing.force_flush(60_000) for _ in behaviours] == [False, False, True, True]
        assert pushing.exported == {"refused": 5, "misdirected": 5, "rejected": 1, "": 9}
        assert (pushing.waiting, pushing.state.consecutive_failures) == (0, 0)
        provider.shutdown()


def test_deltas_wait_until_they_are_taken_byte_by_byte() -> None:
    # A connection that was kept and breaks is replaced at once, so it takes two.
    behaviours = [answer(503), faults.reset, faults.reset, answer(307), answer()]
    with Receiver(*behaviours) as receiver:
        pushing = reader(receiver.url, temporality="delta")
        provider = MeterProvider([pushing], shutdown_on_exit=False)
        counter = provider.get_meter("test").create_counter("orders")
        counter.add(1)
        for waiting in (1, 1, 1):
            assert not pushing.force_flush(400)
            assert pushing.waiting == waiting
            counter.add(1)
        assert pushing.force_flush(60_000)
        *tries, rest = bodies(receiver)
        assert len(tries) == 5
        assert len(set(tries)) == 1
        assert sums([tries[-1], rest]) == {"orders": 4}
        assert pushing.waiting == 0
        assert pushing.shutdown()
        provider.shutdown()


def test_deltas_that_did_not_arrive_before_the_end_are_reported(caplog) -> None:
    pushing = reader(f"http://127.0.0.1:{free_port()}/", temporality="delta")
    provider = MeterProvider([pushing], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("orders").add(1)
    assert not pushing.shutdown(300)
    provider.shutdown()
    assert "1 data points did not arrive" in caplog.text


_FORK = """
import os, sys
from tests.otlp.pushing import PROVIDERS, reader
pushing = reader(sys.argv[1], interval=0.05 if sys.argv[3] == "ticking" else 3600)
provider = PROVIDERS[sys.argv[2]]([pushing], shutdown_on_exit=False)
counter = provider.get_meter("test").create_counter("orders")
counter.add(1)
assert pushing.force_flush()
for _ in range(3):
    child = os.fork()
    if not child:
        counter.add(10)
        print("child", pushing.force_flush(), pushing.shutdown(), pushing.exported.get(""), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
counter.add(1)
print("parent", pushing.force_flush(), pushing.shutdown(), flush=True)
"""


@pytest.mark.parametrize("ticking", ["ticking", "asked"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_forked_child_pushes_for_itself_and_leaves_its_parent_alone(provider, ticking) -> None:
    with Receiver(answer()) as receiver:
        lines = run(_FORK, receiver.url, provider, ticking, PYTHONPATH=str(ROOT)).splitlines()
        connections = {exchange.number for exchange in receiver.exchanges}
        found = last(bodies(receiver))
    assert [line.split()[:3] for line in lines] == [["child", "True", "True"]] * 3 + [["parent", "True", "True"]]
    assert len(connections) == 4
    assert found == {"orders": 2}


_FORK_DURING_A_PUSH = """
import os, sys, threading
from tests.otlp.pushing import MeterProvider, eventually, reader
pushing = reader(sys.argv[1], interval=0.05, timeout=60.0)
provider = MeterProvider([pushing], shutdown_on_exit=False)
counter = provider.get_meter("test").create_counter("orders")
counter.add(1)
threading.Event().wait(0.5)
child = os.fork()
if not child:
    counter.add(10)
    print(pushing.force_flush(300), pushing.shutdown(300), flush=True)
    os._exit(0)
os.waitpid(child, 0)
os._exit(0)
"""


def test_a_child_forked_during_a_push_ends_in_time() -> None:
    with Receiver(faults.hang) as receiver:
        ended = timed(lambda: run(_FORK_DURING_A_PUSH, receiver.url, PYTHONPATH=str(ROOT)))
    assert ended.result.split() == ["False", "False"]
    assert ended.seconds < 30


_AT_EXIT = """
import atexit, sys
from opentelemetry.metrics import Observation
from tests.otlp.pushing import MeterProvider, reader
pushing = reader(sys.argv[1])
provider = MeterProvider([pushing], shutdown_on_exit=False)
counter = provider.get_meter("test").create_counter("orders")
provider.get_meter("test").create_observable_gauge("depth", [lambda _: [Observation(5)]])

def end():
    counter.add(1)
    print(pushing.force_flush(60_000), flush=True)
    counter.add(1)
    print(pushing.shutdown(60_000), flush=True)

atexit.register(end)
"""


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_last_push_of_a_process_arrives(protocol, python, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", python)
    script = _AT_EXIT.replace("reader(sys.argv[1])", f"reader(sys.argv[1], protocol={protocol!r})")
    if protocol == "grpc":
        with faults.GrpcReceiver(faults.grpc_answer()) as receiver:
            said = run(script, receiver.url, PYTHONPATH=str(ROOT))
            received = [body for body, _ in receiver.calls]
    else:
        with Receiver(answer()) as receiver:
            said = run(script, receiver.url, PYTHONPATH=str(ROOT))
            received = bodies(receiver)
    assert said.split() == ["True", "True"]
    assert [value for _, value in points(received)["orders"]] == [1, 2]
    assert last(received)["depth"] == 5


@pytest.mark.parametrize("python", PYTHONS)
def test_a_process_ends_in_time_though_the_receiver_says_nothing(python, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", python)
    with Receiver(faults.hang) as receiver:
        ended = timed(lambda: run(_AT_EXIT.replace("60_000", "300"), receiver.url, PYTHONPATH=str(ROOT)))
    assert ended.result.split() == ["False", "False"]
    assert ended.seconds < 30


def test_nothing_is_left_after_the_end() -> None:
    with Receiver(answer()) as receiver:
        before = (threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
        for _ in range(5):
            pushing = reader(receiver.url, interval=NEVER)
            provider = MeterProvider([pushing], shutdown_on_exit=False)
            provider.get_meter("test").create_counter("orders").add(1)
            assert pushing.force_flush()
            assert pushing.shutdown()
            provider.shutdown()
        eventually(lambda: not receiver._open)
        eventually(
            lambda: threading.active_count() <= before[0] and len(list(Path("/proc/self/fd").iterdir())) <= before[1]
        )


@pytest.mark.parametrize("how", ["encode_data", "send"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_deltas_of_a_push_that_was_interrupted_come_with_the_next(monkeypatch, how, raised) -> None:
    with Receiver(answer()) as receiver:
        # In the thread of who asks, where a signal handler may raise.
        pushing = reader(receiver.url, temporality="delta", interval=None)
        provider = MeterProvider([pushing], shutdown_on_exit=False)
        counter = provider.get_meter("test").create_counter("orders")

        def interrupted(*_: object, **__: object) -> None:
            monkeypatch.undo()
            raise raised

        for amount in (1, 10, 100):
            counter.add(amount)
            monkeypatch.setattr(pushing._encoder if how == "encode_data" else pushing._delivery, how, interrupted)
            assert not pushing.force_flush(5000)
            counter.add(1000)
            assert pushing.force_flush(5000)
        assert sums(bodies(receiver)) == {"orders": 3111}
        provider.shutdown()
