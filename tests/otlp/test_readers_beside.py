"""Readers and exporters of somebody else's beside ours, through the front door."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import get_meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader

import otelbridge
from otelbridge.config.options import OtlpOptions
from otelbridge.errors import ConfigError
from tests.otlp.faults import Receiver, answer
from tests.otlp.pushing import NEVER, SLACK, last, timed


@pytest.fixture(autouse=True)
def stopped():
    yield
    otelbridge.shutdown(30)


def start(*readers, **settings):
    return otelbridge.init(prometheus="off", instrument=False, workers="separate", metric_readers=readers, **settings)


def test_an_exporter_of_the_sdk_gets_what_ours_does() -> None:
    with Receiver(answer()) as ours, Receiver(answer()) as theirs:
        theirs_reader = PeriodicExportingMetricReader(OTLPMetricExporter(theirs.url), NEVER * 1000)
        bridge = start(theirs_reader, otlp=OtlpOptions(metrics_endpoint=ours.url, interval=NEVER))
        get_meter("shop").create_counter("orders.beside").add(3)
        assert bridge.force_flush(60)
        assert otelbridge.shutdown()
        for receiver in (ours, theirs):
            assert last(exchange.body for exchange in receiver.exchanges)["orders.beside"] == 3


def test_the_same_readers_are_the_same_settings() -> None:
    reader = InMemoryMetricReader()
    bridge = start(reader, otlp=False)
    assert start(reader, otlp=False) is bridge
    with pytest.raises(ConfigError, match="metric_readers"):
        start(InMemoryMetricReader(), otlp=False)


class _Stuck(InMemoryMetricReader):
    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self.go_on.wait(60)


class _Failing(InMemoryMetricReader):
    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        raise ValueError("s3cret")


def test_one_that_hangs_or_raises_costs_its_time_and_no_more(caplog) -> None:
    stuck = _Stuck()
    with Receiver(answer()) as receiver:
        bridge = start(stuck, _Failing(), otlp=OtlpOptions(metrics_endpoint=receiver.url, interval=NEVER))
        get_meter("shop").create_counter("orders.beside").add(3)
        flush = timed(lambda: bridge.force_flush(3))
        assert not flush.result
        assert flush.seconds < SLACK
        assert last(exchange.body for exchange in receiver.exchanges)["orders.beside"] == 3
        stuck.go_on.set()
        assert otelbridge.shutdown()
    assert "Flushing a _Failing raised ValueError at test_readers_beside.py" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("readers", "match"),
    [
        ([OTLPMetricExporter()], "has a OTLPMetricExporter, which is no metric reader"),
        (InMemoryMetricReader(), "is InMemoryMetricReader, not a list"),
        ([None], "has a NoneType"),
    ],
)
def test_what_is_no_reader_is_an_error_with_the_cure(readers, match) -> None:
    with pytest.raises(ConfigError, match=match) as raised:
        otelbridge.init(metric_readers=readers)
    assert "PeriodicExportingMetricReader(exporter)" in raised.value.cure


def test_a_reader_that_is_taken_is_an_error_and_nothing_is_left_started() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    before = threading.active_count()
    with pytest.raises(ConfigError, match="a provider has already"):
        start(reader, otlp=False)
    twice = InMemoryMetricReader()
    with pytest.raises(ConfigError, match="name it once"):
        start(twice, twice, otlp=False)
    assert threading.active_count() <= before
    provider.shutdown()


def test_a_provider_of_ones_own_has_readers_of_its_own() -> None:
    with pytest.raises(ConfigError, match="belongs to that provider"):
        otelbridge.init(meter_provider=MeterProvider(shutdown_on_exit=False), metric_readers=[InMemoryMetricReader()])
