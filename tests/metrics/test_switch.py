"""The switch: instruments that outlive providers, and a fence around what providers raise."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading

import pytest
from opentelemetry import metrics as api
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelbridge.diagnostics import forget_warnings, logger
from otelbridge.metrics.switch import SwitchMeterProvider


class Backend:
    """A real SDK provider and a look at what it holds."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def values(self) -> dict[str, float]:
        data = self.reader.get_metrics_data()
        found: dict[str, float] = {}
        for resource_metrics in data.resource_metrics if data else ():
            for scope_metrics in resource_metrics.scope_metrics:
                for metric in scope_metrics.metrics:
                    for point in metric.data.data_points:
                        found[metric.name] = getattr(point, "value", None) or getattr(point, "sum", None)
        return found


@pytest.fixture(autouse=True)
def _fresh_warnings():
    forget_warnings()


@pytest.fixture
def backends():
    made: list[Backend] = []

    def make() -> Backend:
        made.append(Backend())
        return made[-1]

    yield make
    for backend in made:
        backend.provider.shutdown()


@pytest.fixture
def switch() -> SwitchMeterProvider:
    return SwitchMeterProvider()


def record_all(meter: api.Meter) -> None:
    meter.create_counter("counter").add(1)
    meter.create_up_down_counter("up_down").add(2)
    meter.create_histogram("histogram").record(3)
    meter.create_gauge("gauge").set(4)


def test_instruments_made_before_connecting_work_after(switch, backends):
    meter = switch.get_meter("library")
    counter = meter.create_counter("counter")
    histogram = meter.create_histogram("histogram", explicit_bucket_boundaries_advisory=[1, 5])
    gauge = meter.create_gauge("gauge")
    up_down = meter.create_up_down_counter("up_down")
    meter.create_observable_counter("observed", [lambda options: [Observation(5)]])
    meter.create_observable_up_down_counter("observed.up_down", [lambda options: [Observation(6)]])
    meter.create_observable_gauge("observed.gauge", [lambda options: [Observation(7)]])
    counter.add(100)
    assert not meter.active

    backend = backends()
    switch.connect(backend.provider)
    assert meter.active
    assert switch.provider is backend.provider
    counter.add(1)
    up_down.add(2)
    histogram.record(3)
    gauge.set(4)
    assert backend.values() == {
        "counter": 1,
        "up_down": 2,
        "histogram": 3,
        "gauge": 4,
        "observed": 5,
        "observed.up_down": 6,
        "observed.gauge": 7,
    }


def test_the_scope_arrives_whole(switch, backends):
    backend = backends()
    switch.get_meter("library", "1.2", "https://example.com/schema", {"team": ["a", "b"]}).create_counter("c")
    switch.connect(backend.provider)
    record_all(switch.get_meter("library", "1.2", "https://example.com/schema", {"team": ["a", "b"]}))
    scope = backend.reader.get_metrics_data().resource_metrics[0].scope_metrics[0].scope
    assert (scope.name, scope.version, scope.schema_url) == ("library", "1.2", "https://example.com/schema")
    assert dict(scope.attributes) == {"team": ("a", "b")}


def test_the_same_scope_is_the_same_meter(switch):
    assert switch.get_meter("a", "1") is switch.get_meter("a", "1")
    assert switch.get_meter("a", "1") is not switch.get_meter("a", "2")
    assert switch.get_meter("a", attributes={"k": [1]}) is switch.get_meter("a", attributes={"k": [1]})
    assert switch.get_meter("a", attributes={"k": 1}) is not switch.get_meter("a", attributes={"k": "1"})


def test_identical_requests_give_the_same_instrument(switch):
    meter = switch.get_meter("library")
    assert meter.create_counter("c", "s", "d") is meter.create_counter("c", "s", "d")
    assert meter.create_counter("c", "s", "d") is not meter.create_counter("c", "s", "other")
    assert meter.create_counter("c") is not meter.create_up_down_counter("c")
    first = meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 2])
    assert first is meter.create_histogram("h", explicit_bucket_boundaries_advisory=(1.0, 2.0))
    assert first is not meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1, 3])


def test_a_second_provider_takes_over(switch, backends):
    first, second = backends(), backends()
    counter = switch.get_meter("library").create_counter("counter")
    switch.connect(first.provider)
    counter.add(1)
    switch.connect(second.provider)
    counter.add(10)
    assert first.values() == {"counter": 1}
    assert second.values() == {"counter": 10}


def test_after_disconnecting_nothing_is_recorded_and_nothing_raises(switch, backends):
    backend = backends()
    meter = switch.get_meter("library")
    switch.connect(backend.provider)
    record_all(meter)
    switch.disconnect()
    record_all(meter)
    assert not meter.active
    assert switch.provider is None
    assert backend.values() == {"counter": 1, "up_down": 2, "histogram": 3, "gauge": 4}


def test_muted_meters_stay_silent_until_connected_otherwise(switch, backends):
    backend = backends()
    early, loud = switch.get_meter("muted"), switch.get_meter("loud")
    switch.connect(backend.provider, muted=("muted", "late"))
    for meter in (early, switch.get_meter("late")):
        assert not meter.active
        meter.create_counter("silent").add(1)
    loud.create_counter("heard").add(1)
    assert backend.values() == {"heard": 1}
    switch.connect(backend.provider)
    early.create_counter("silent").add(5)
    assert backend.values() == {"heard": 1, "silent": 5}


def test_a_meter_whose_work_others_do_is_silent_with_every_provider(switch, backends):
    early = switch.get_meter("theirs", "1")
    asked = []
    first, second = backends(), backends()
    switch.connect(first.provider)
    unmute = switch.mute("theirs", lambda: asked.append("theirs"))
    again = switch.mute("theirs", lambda: None)
    assert asked == []
    late = switch.get_meter("theirs", "2")
    assert asked == ["theirs"]
    switch.get_meter("loud").create_counter("heard").add(1)
    early.create_counter("silent").add(1)
    late.create_counter("silent").add(1)
    switch.connect(second.provider)
    early.create_counter("silent").add(1)
    unmute()
    early.create_counter("silent").add(1)
    again()
    early.create_counter("silent").add(5)
    assert first.values() == {"heard": 1}
    assert second.values() == {"silent": 5}


class Refusing(api.NoOpMeter):
    def create_counter(self, name, unit="", description=""):
        raise ValueError(f"{name} is refused")


class Failing(api.NoOpMeter):
    def create_counter(self, name, unit="", description=""):
        return FailingCounter(name)


class FailingCounter(api.NoOpCounter):
    def add(self, amount, attributes=None, context=None):
        raise RuntimeError("disk full")


class Provider(api.MeterProvider):
    def __init__(self, kind: type[api.Meter] | None) -> None:
        self.kind = kind

    def get_meter(self, name, version=None, schema_url=None, attributes=None):
        if self.kind is None:
            raise RuntimeError("no meters here")
        return self.kind(name)


@pytest.mark.parametrize(("kind", "said"), [(None, "no meters here"), (Refusing, "is refused"), (Failing, "disk full")])
def test_what_a_provider_raises_is_reported_once_and_goes_no_further(switch, backends, caplog, kind, said):
    early = switch.get_meter("library").create_counter("early")
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        switch.connect(Provider(kind))
        early.add(1)
        early.add(1)
        record_all(switch.get_meter("library"))
        record_all(switch.get_meter("library"))
    assert said in caplog.text
    assert len(caplog.records) == (1 if kind is None else 2)  # one cause a meter, or one an instrument

    backend = backends()
    switch.connect(backend.provider)
    early.add(3)
    assert backend.values() == {"early": 3}


def test_one_bad_name_costs_only_its_own_instrument(switch, backends, caplog):
    backend = backends()
    meter = switch.get_meter("library")
    meter.create_counter("no such name!").add(1)
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        switch.connect(backend.provider)
        meter.create_counter("no such name!").add(1)
        meter.create_counter("good").add(1)
    assert backend.values() == {"good": 1}
    assert "no such name!" in caplog.text


def test_boundaries_that_are_no_numbers_leave_the_default_ones(switch, backends, caplog):
    backend = backends()
    switch.connect(backend.provider)
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        switch.get_meter("library").create_histogram("h", explicit_bucket_boundaries_advisory=["x"]).record(2)
    assert backend.values() == {"h": 2}
    assert "['x']" in caplog.text


def test_generators_as_callbacks_lose_nothing_over_a_reconnection(switch, backends):
    def readings():
        yield []
        for number in (1, 2, 3):
            yield [Observation(number)]

    first, second = backends(), backends()
    switch.get_meter("library").create_observable_gauge("gauge", [readings()])
    switch.connect(first.provider)
    assert first.values() == {"gauge": 1}
    switch.disconnect()
    switch.connect(second.provider)
    assert [second.values(), second.values(), second.values()] == [{"gauge": 2}, {"gauge": 3}, {}]


def test_a_log_handler_that_counts_may_run_while_the_switch_works(switch, backends):
    backend = backends()

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            switch.get_meter("logs").create_counter("records").add(1)

    handler = Counting()
    logger.addHandler(handler)
    try:
        switch.get_meter("library").create_counter("no such name!")
        connecting = threading.Thread(target=switch.connect, args=(backend.provider,), daemon=True)
        connecting.start()
        connecting.join(60)
        assert not connecting.is_alive()
    finally:
        logger.removeHandler(handler)
    assert backend.values() == {"records": 1}


def test_threads_that_race_for_an_instrument_get_one(switch, backends):
    backend = backends()
    switch.connect(backend.provider)
    barrier = threading.Barrier(8)
    got: list[object] = []

    def work() -> None:
        barrier.wait()
        for number in range(20):
            counter = switch.get_meter("library").create_counter(f"c{number}")
            counter.add(1)
            got.append(counter)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, got))) == 20
    assert backend.values() == {f"c{number}": 8 for number in range(20)}


def test_threads_that_record_while_providers_change_never_see_an_error(switch, backends, caplog):
    first, second = backends(), backends()
    counter = switch.get_meter("library").create_counter("counter")
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            counter.add(1)

    threads = [threading.Thread(target=work) for _ in range(2)]
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        for thread in threads:
            thread.start()
        for _ in range(20):
            switch.connect(first.provider)
            switch.connect(second.provider)
            switch.disconnect()
        stop.set()
        for thread in threads:
            thread.join()
    assert caplog.records == []
    switch.connect(first.provider)
    before = first.values().get("counter", 0)
    counter.add(1)
    assert first.values()["counter"] == before + 1


def test_flushing_reaches_the_provider_that_can(switch, backends):
    assert switch.force_flush()
    switch.connect(Provider(Refusing))
    assert switch.force_flush()
    switch.connect(backends().provider)
    assert switch.force_flush(60_000)


BEHIND_THE_API = """
from opentelemetry import metrics
early = metrics.get_meter("library").create_counter("early")
metrics.get_meter("library").create_observable_gauge("gauge", [lambda options: [metrics.Observation(7)]])

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from otelbridge.metrics.switch import switch

metrics.set_meter_provider(switch)
assert metrics.get_meter_provider() is switch
early.add(100)
reader = InMemoryMetricReader()
switch.connect(MeterProvider([reader]))
early.add(1)
metrics.get_meter("library").create_histogram("late").record(2)
(scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
print(sorted((m.name, getattr(p, "value", None) or p.sum) for m in scope.metrics for p in m.data.data_points))
"""


def test_instruments_of_the_api_made_before_the_switch_is_global_follow_it():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BEHIND_THE_API], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stderr == ""
    assert done.stdout.strip() == "[('early', 1), ('gauge', 7), ('late', 2)]"
