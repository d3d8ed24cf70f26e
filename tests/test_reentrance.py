"""What a signal handler, a finalizer, a callback or a logging handler gets that asks in the middle of the same."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time

import pytest
from opentelemetry.metrics import Observation, get_meter
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, PeriodicExportingMetricReader

import otelbridge
from otelbridge import bridge as bridge_module
from otelbridge.cells.evidence import GROUP_VARIABLE
from otelbridge.concurrency import forks
from otelbridge.errors import ConfigError
from otelbridge.metrics.callbacks import Callbacks
from otelbridge.metrics.current import Current
from otelbridge.metrics.pipeline import Pipeline
from otelbridge.metrics.provider import MeterProvider
from otelbridge.otlp.delivery import Delivery
from otelbridge.prometheus import reader as reader_module
from otelbridge.prometheus.negotiation import choose
from otelbridge.prometheus.reader import PrometheusReader
from tests.receiver import Receiver

pytestmark = pytest.mark.endtoend

_SECONDS = 60.0
_AT_ONCE = _SECONDS / 2


@pytest.fixture(autouse=True)
def stopped(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME", "OTEL_CONFIG_FILE", GROUP_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    yield
    otelbridge.shutdown(1)


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.close()


@pytest.fixture
def begin(receiver):
    def init():
        return otelbridge.init(
            service_name="shop",
            prometheus=otelbridge.PrometheusOptions(mode="server", port=0),
            otlp=receiver.url,
            instrument=False,
        )

    return init


class _Interruption:
    """A signal whose handler asks for something once, wherever `come` is called, and keeps what it got."""

    def __init__(self, ask) -> None:
        self.got: list[object] = []
        self.seconds = 0.0
        self._ask = ask
        self._before = signal.signal(signal.SIGUSR1, self._handle)

    def come(self) -> None:
        if threading.current_thread() is threading.main_thread() and not self.got:
            signal.raise_signal(signal.SIGUSR1)

    def close(self) -> None:
        signal.signal(signal.SIGUSR1, self._before)

    def _handle(self, *_: object) -> None:
        began = time.monotonic()
        self.got.append(None)
        try:
            self.got[0] = self._ask()
        except Exception as error:
            self.got[0] = error
        self.seconds = time.monotonic() - began


@pytest.fixture
def interrupted(monkeypatch):
    """Have a signal come whenever the main thread is in the middle of a function."""
    made = []

    def interrupt(owner, name, ask) -> _Interruption:
        interruption = _Interruption(ask)
        made.append(interruption)
        usual = getattr(owner, name)

        def both(*arguments, **keywords):
            interruption.come()
            return usual(*arguments, **keywords)

        monkeypatch.setattr(owner, name, both)
        return interruption

    yield interrupt
    for each in reversed(made):  # each puts back what it found
        each.close()


_IN_A_SCRAPE = [
    pytest.param(reader_module, "write_pieces", id="writing"),
    pytest.param(Current, "read", id="reading"),
    pytest.param(Callbacks, "observe", id="observing"),
]
_ASKS = {
    "force_flush": lambda: otelbridge.force_flush(_SECONDS),
    "shutdown": lambda: otelbridge.shutdown(_SECONDS),
}


@pytest.mark.parametrize(("owner", "name"), _IN_A_SCRAPE)
def test_a_scrape_within_a_scrape_gets_the_page_before(begin, interrupted, owner, name) -> None:
    bridge = begin()
    otelbridge.business.order(1, "EUR")
    first = bridge.render()
    otelbridge.business.order(1, "EUR")
    interruption = interrupted(owner, name, bridge.render)
    second = bridge.render()
    assert interruption.got == [first]
    assert 'business_order_value_count{currency="EUR"} 2' in second


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text", "application/vnd.google.protobuf"])
def test_the_first_scrape_of_a_format_is_empty_and_valid(interrupted, accept) -> None:
    reader = PrometheusReader()
    MeterProvider([reader], shutdown_on_exit=False).get_meter("shop").create_counter("orders").add(1)
    interruption = interrupted(reader_module, "write_pieces", lambda: reader.render(accept))
    whole = reader.render(accept)
    (page,) = interruption.got
    assert page.content_type == whole.content_type == choose(accept).content_type
    assert page.body == (b"# EOF\n" if "openmetrics" in accept else b"")


@pytest.mark.parametrize("provider_class", [MeterProvider, SdkMeterProvider])
def test_a_scrape_is_whole_after_one_within_it(interrupted, provider_class) -> None:
    reader = PrometheusReader()
    counter = provider_class([reader], shutdown_on_exit=False).get_meter("shop").create_counter("orders")
    for number in range(3):
        counter.add(1)
        interrupted(reader_module, "write_pieces", reader.render)
        assert f'orders_total{{otel_scope_name="shop"}} {number + 1}' in reader.render().body.decode()


@pytest.mark.parametrize(("owner", "name"), _IN_A_SCRAPE)
@pytest.mark.parametrize("asked", _ASKS)
def test_a_flush_or_the_end_within_a_scrape_is_false_at_once(
    begin, interrupted, receiver, caplog, owner, name, asked
) -> None:
    bridge = begin()
    otelbridge.business.order(1, "EUR")
    interruption = interrupted(owner, name, _ASKS[asked])
    with caplog.at_level(logging.WARNING, "otelbridge"):
        page = bridge.render()
    assert interruption.got == [False]
    assert interruption.seconds < _AT_ONCE
    assert [record.getMessage().partition(" did nothing")[0] for record in caplog.records] == [f"{asked}()"]
    assert 'business_order_value_count{currency="EUR"} 1' in page
    # Nothing was begun: the whole job is still done.
    assert bridge.running
    before = len(receiver.requests)
    assert otelbridge.shutdown(_SECONDS)
    assert len(receiver.requests) > before
    assert not bridge.running


def test_a_warning_waits_until_the_scrape_is_over(begin, interrupted) -> None:
    bridge = begin()
    bridge.render()
    pages: list[str] = []

    class Scraping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            thread = threading.Thread(target=lambda: pages.append(bridge.render()), daemon=True)
            thread.start()
            thread.join(_AT_ONCE)

    handler = Scraping()
    logging.getLogger("otelbridge").addHandler(handler)
    try:
        interruption = interrupted(reader_module, "write_pieces", _ASKS["force_flush"])
        bridge.render()
    finally:
        logging.getLogger("otelbridge").removeHandler(handler)
    assert interruption.got == [False]
    assert len(pages) == 1


@pytest.mark.parametrize("asked", _ASKS)
def test_a_flush_or_the_end_within_a_flush_is_false_at_once(begin, interrupted, asked) -> None:
    bridge = begin()
    interruption = interrupted(Pipeline, "force_flush", _ASKS[asked])
    assert otelbridge.force_flush(_SECONDS)
    assert interruption.got == [False]
    assert bridge.running


@pytest.mark.parametrize("asked", _ASKS)
def test_a_flush_or_the_end_within_the_end_is_false_at_once(begin, interrupted, asked) -> None:
    begin()
    interruption = interrupted(Pipeline, "shutdown", _ASKS[asked])
    assert otelbridge.shutdown(_SECONDS)
    assert interruption.got == [False]
    assert otelbridge.shutdown(_SECONDS)


@pytest.mark.parametrize("asked", _ASKS)
def test_a_flush_or_the_end_within_a_start_is_false_at_once(begin, interrupted, asked) -> None:
    interruption = interrupted(bridge_module, "create_resource", _ASKS[asked])
    assert begin().running
    assert interruption.got == [False]


@pytest.mark.parametrize(
    ("owner", "name", "middle"),
    [(bridge_module, "create_resource", "init()"), (Pipeline, "shutdown", "shutdown()")],
)
def test_a_start_within_a_start_or_an_end_says_so(begin, interrupted, owner, name, middle) -> None:
    interruption = interrupted(owner, name, begin)
    bridge = begin()
    assert otelbridge.shutdown(_SECONDS)
    (error,) = interruption.got
    assert isinstance(error, ConfigError)
    assert f"init() was called in the middle of {middle}" in str(error)
    assert not bridge.running
    assert begin().running


def test_a_start_within_a_scrape_gives_what_runs(begin, interrupted) -> None:
    bridge = begin()
    interruption = interrupted(reader_module, "write_pieces", begin)
    bridge.render()
    assert interruption.got == [bridge]


def test_a_finalizer_within_a_scrape_is_answered(begin, interrupted) -> None:
    bridge = begin()
    first = bridge.render()
    got = []

    class Leaving:
        def __init__(self) -> None:
            self.myself = self

        def __del__(self) -> None:
            got.extend((bridge.render(), otelbridge.force_flush(_SECONDS), otelbridge.shutdown(_SECONDS)))

    def leave() -> None:
        Leaving()
        gc.collect()

    interrupted(reader_module, "write_pieces", leave)
    bridge.render()
    assert got == [first, False, False]


def test_a_callback_that_scrapes_and_flushes_is_answered(begin) -> None:
    bridge = begin()
    first = bridge.render()
    got = []

    def observe(_):
        got.append((bridge.render() == first, otelbridge.force_flush(_SECONDS), otelbridge.shutdown(_SECONDS)))
        return [Observation(len(got))]

    get_meter("shop").create_observable_gauge("depth", [observe])
    began = time.monotonic()
    page = bridge.render()
    assert time.monotonic() - began < _AT_ONCE
    assert got[0] == (True, False, False)
    assert "depth" in page
    assert otelbridge.force_flush(_SECONDS)


def test_the_thread_that_pushes_is_answered(begin, monkeypatch) -> None:
    bridge = begin()
    got = []
    send = Delivery.send

    def ask(*arguments, **keywords):
        got.append((bridge.render() != "", otelbridge.force_flush(_SECONDS), otelbridge.shutdown(_SECONDS)))
        return send(*arguments, **keywords)

    monkeypatch.setattr(Delivery, "send", ask)
    began = time.monotonic()
    assert otelbridge.force_flush(_SECONDS)
    assert time.monotonic() - began < _AT_ONCE
    assert {answers[1:] for answers in got} == {(False, False)}


@pytest.mark.parametrize("asked", _ASKS)
def test_a_thread_with_a_lock_that_others_need_is_answered_at_once(begin, asked) -> None:
    bridge = begin()
    with forks.lock():  # as a handler finds it that interrupts the making of an instrument
        assert not _ASKS[asked]()
    assert bridge.running
    assert otelbridge.force_flush(_SECONDS)


def test_readers_of_others_get_nothing_within_a_read_and_lose_nothing(interrupted) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    counter = provider.get_meter("shop").create_counter("orders")
    counter.add(3)
    interruption = interrupted(Callbacks, "observe", reader.get_metrics_data)
    data = reader.get_metrics_data()
    assert interruption.got == [None]
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert point.value == 3


def test_a_provider_by_itself_refuses_too(interrupted, caplog) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    interruption = interrupted(
        Callbacks, "observe", lambda: (provider.force_flush(_SECONDS * 1000), provider.shutdown(), reader.collect())
    )
    provider.get_meter("shop").create_counter("orders").add(1)
    assert reader.get_metrics_data() is not None
    assert interruption.got == [(False, None, None)]
    assert provider.force_flush()
    provider.shutdown()
    provider.shutdown()
    assert "shutdown can only be called once" in caplog.text


def test_readers_of_others_are_flushed_and_stopped_by_the_later_call(receiver, interrupted) -> None:
    exported = []

    class Exporter(MetricExporter):
        def export(self, metrics_data, timeout_millis=0, **_):
            exported.append(metrics_data)

        def force_flush(self, timeout_millis=0):
            return True

        def shutdown(self, timeout=0, **_):
            exported.append("ended")

    bridge = otelbridge.init(
        service_name="shop",
        prometheus=otelbridge.PrometheusOptions(mode="server", port=0),
        metric_readers=[PeriodicExportingMetricReader(Exporter(), 3_600_000)],
        instrument=False,
    )
    otelbridge.business.order(1, "EUR")
    interruption = interrupted(Callbacks, "observe", _ASKS["shutdown"])
    bridge.render()
    assert interruption.got == [False]
    assert exported == []
    assert otelbridge.shutdown(_SECONDS)
    assert exported[-1] == "ended"
    assert len(exported) == 2
