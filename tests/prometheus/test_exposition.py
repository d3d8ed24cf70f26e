"""The pages against the real thing: every format is scraped by a real Prometheus and read by promtool."""

from __future__ import annotations

import functools
import math
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from otelbridge.catalogue.naming import Strategy
from otelbridge.metrics import MeterProvider
from otelbridge.prometheus.exposition import write
from otelbridge.prometheus.families import FamilyBook, FamilyOptions
from otelbridge.prometheus.negotiation import Format, Syntax
from otelbridge.prometheus.reader import PrometheusReader
from otelbridge.prometheus.translation import Escaping, Translation
from tests.prometheus.collected import (
    Samples,
    collected,
    counter,
    exemplar,
    exponential,
    gauge,
    histogram,
    histograms,
    number,
    text_samples,
    up_down,
)
from tests.prometheus.scraper import PROTOBUF, PROTOCOLS, TEXTS, Prometheus, promtool_takes, scraped, unlike

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.metrics.export import MetricsData

pytestmark = pytest.mark.components

UTF8_PROTOCOLS = (PROTOBUF, "PrometheusText1.0.0", "OpenMetricsText1.0.0")

_NATIVE = exponential(3, {-20: 3, 0: 10, 1: 0, 7: 5, 8: 2}, {2: 4}, zero=6, total=31.5, attributes={"route": "/native"})


def _shop() -> MetricsData:
    now = time.time_ns()
    return collected(
        counter("orders", number(7, {"kind": "web"}, [exemplar(2, now, {"customer": "é {x}"})]), unit="{order}"),
        up_down("queue.size", number(-3), description='Two\nlines, a \\ and "quotes".'),
        gauge("load", number(0.25), unit="1"),
        gauge("odd.numbers", number(math.nan, {"n": "nan"}), number(-math.inf, {"n": "inf"}), number(10**30, {"n": 1})),
        histograms(
            "wait", histogram([1, 2, 3, 4], (0.1, 1.0, 1e7), 12.5, {"le": "mine"}, [exemplar(0.5, now)]), unit="s"
        ),
        histograms("size", _NATIVE, unit="By"),
        histograms("fine", exponential(20, {0: 3, 2**18: 5}, total=9.0)),
        histograms("coarse", exponential(-10, {0: 3, -1: 5}, total=9.0)),
        histograms("empty", exponential(0, {}, total=0)),
        resource={"service.name": "shop", "empty": ""},
    )


_ODD_TEXTS = [
    "x" * 5000,
    "",
    "\0",
    "a\nb",
    "a\rb",
    'q"q',
    "b\\b",
    "\\n",
    "\u2028",
    "# EOF",
    "{}",
    "a=b,c",
    "é日本",
    "\udc80",
    "x" * 5000,
]


def _odd() -> MetricsData:
    marked = [number(at, {"text": text, "at": str(at)}) for at, text in enumerate(_ODD_TEXTS)]
    keyed = [number(at, {text: "v", "at": str(at)}) for at, text in enumerate(_ODD_TEXTS)]
    reserved = {"__name__": "evil", "__x": "y", "job": "j", "instance": "i", "le": "1", "quantile": "2", "1a": "digit"}
    return collected(
        *(counter(f"named{text}", number(1), description=text) for text in _ODD_TEXTS),
        *(gauge(text, number(1), unit=text) for text in _ODD_TEXTS),
        up_down("marked", *marked),
        up_down("keyed", *keyed),
        up_down(
            "reserved",
            number(1, reserved),
            number(2, {"a.b": 1, "a_b": 2}),
            number(4, {"v": 1}),
            number(8, {"v": True}),
        ),
        counter("exemplified_total", number(1, exemplars=[exemplar(1, time.time_ns(), {"user.id": "u", "n\0": "\0"})])),
        counter("clash", number(1)),
        gauge("clash", number(2)),
        gauge("clash.created", number(2)),
        histograms("clash.more", histogram([1, 1], (1.0,), 3.0, reserved), histogram([1, 1], (-1.0,), -3.0)),
        gauge("clash.more.count", number(2)),
        gauge("clash.more.created", number(2)),
        gauge("target.info", number(2)),
        resource={"service.name": "odd \udc80 name", "le": "1", "__name__": "evil"},
    )


_PAGES = {
    "shop": (_shop, Strategy.UNDERSCORES_WITH_SUFFIXES),
    "odd": (_odd, Strategy.UNDERSCORES_WITH_SUFFIXES),
    "utf8": (_odd, Strategy.UTF8),
}


_SPAN = NonRecordingSpan(SpanContext(0xABC, 0xD, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)))


@functools.cache
def _recorded(_: Format) -> PrometheusReader:
    """The reader of a provider of ours to which was recorded within a span; each format's, as a page ends exemplars."""
    reader = PrometheusReader()
    views = [View(instrument_name="latency", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], views=views, exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False)
    meter = provider.get_meter("lib")
    with use_span(_SPAN):
        for number in range(1, 101):
            meter.create_histogram("latency", "s").record(number / 100)
            meter.create_histogram("wait", "s").record(number / 100)
            meter.create_counter("calls").add(1)
    return reader


def _page(name: str, form: Format) -> bytes:
    if name == "recorded":
        return _recorded(form).render(form).body
    make, strategy = _PAGES[name]
    book = FamilyBook(Translation.settle(strategy, form.escaping), FamilyOptions(scope_labels=True))
    return write(book.families(make()), form)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraped(tmp_path_factory.mktemp("scraped"), _page, _jobs()) as prometheus:
        yield prometheus


def _jobs() -> list[tuple[str, str]]:
    return [
        *(("shop", protocol) for protocol in PROTOCOLS),
        *(("odd", protocol) for protocol in PROTOCOLS),
        *(("utf8", protocol) for protocol in PROTOCOLS),
        *(("recorded", protocol) for protocol in PROTOCOLS),
    ]


@pytest.mark.parametrize("job", [f"{page}-{protocol}" for page, protocol in _jobs()])
def test_prometheus_takes_every_page(job: str, prometheus: Prometheus) -> None:
    target = prometheus.targets()[job]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert prometheus.value(f'scrape_samples_scraped{{job="{job}"}}') > 10


# What OpenMetrics forbids: sum and count of histograms with negative bounds, and a gauge that is called as the
# start time of a histogram would be.
_NOT_IN_OPENMETRICS = {
    "shop": {("size_bytes_sum", "/native"), ("size_bytes_count", "/native")},
    "odd": {("clash_more_sum", None), ("clash_more_count", None), ("clash_more_created", None)},
}


@pytest.mark.parametrize("protocol", TEXTS)
@pytest.mark.parametrize("page", ["shop", "odd"])
def test_prometheus_stores_what_the_text_says(page: str, protocol: str, prometheus: Prometheus) -> None:
    stored = prometheus.stored(f"{page}-{protocol}")
    said = text_samples(_page(page, Format()))
    lost = {(name, dict(labels).get("route")) for name, labels in said.keys() - stored.keys()}
    assert lost == (_NOT_IN_OPENMETRICS[page] if protocol.startswith("OpenMetrics") else set())
    assert stored.keys() <= said.keys()
    assert unlike(stored, said) == {}


@pytest.mark.parametrize("protocol", UTF8_PROTOCOLS)
def test_prometheus_stores_names_as_they_are_when_it_asks_for_them(protocol: str, prometheus: Prometheus) -> None:
    # Prometheus says nothing of names when it asks for protobuf, and so gets what anybody can read.
    form = Format() if protocol == PROTOBUF else Format(Syntax.TEXT, "1.0.0", Escaping.ALLOW_UTF8)
    stored = _without_total(prometheus.stored(f"utf8-{protocol}"))
    said = _without_total(text_samples(_page("utf8", form)))
    assert ("namedé日本" in {name for name, _ in stored}) is (protocol != PROTOBUF)
    assert {name for name, _ in said.keys() - stored.keys()} <= {"clash.more_sum", "clash.more_count"}
    assert stored.keys() <= said.keys()
    assert unlike(stored, said) == {}


def _without_total(found: Samples) -> Samples:
    # The parser of prometheus_client gives every counter this ending, also one that has none.
    return {(name.removesuffix("_total"), labels): value for (name, labels), value in found.items()}


@pytest.mark.parametrize("page", ["shop", "odd"])
def test_prometheus_stores_the_same_from_protobuf(page: str, prometheus: Prometheus) -> None:
    stored = prometheus.stored(f"{page}-{PROTOBUF}")
    said = text_samples(_page(page, Format()))
    native = ("size_bytes", "fine", "empty")
    assert {name for name, _ in said.keys() - stored.keys()} <= {
        name + suffix for name in native for suffix in ("_bucket", "_sum", "_count")
    }
    assert stored.keys() <= said.keys()
    assert unlike(stored, said) == {}


@pytest.mark.parametrize(("name", "count", "total"), [("size_bytes", 30, 31.5), ("fine", 8, 9.0), ("empty", 0, 0.0)])
def test_an_exponential_histogram_becomes_a_native_one(
    name: str, count: int, total: float, prometheus: Prometheus
) -> None:
    series = f'{name}{{job="shop-{PROTOBUF}"}}'
    (result,) = prometheus.query(series)
    assert "histogram" in result
    assert prometheus.value(f"histogram_count({series})") == count
    assert prometheus.value(f"histogram_sum({series})") == total
    assert prometheus.query(f'{name}_bucket{{job="shop-{PROTOBUF}"}}') == []


def test_quantiles_of_native_histograms_lie_in_the_right_bucket(prometheus: Prometheus) -> None:
    def quantile(share: float, name: str) -> float:
        return prometheus.value(f'histogram_quantile({share}, {name}{{job="shop-{PROTOBUF}"}})')

    # 4 below zero, 6 at zero, 3 above 2**-2.5, 10 above 1, 7 above 2**0.875.
    assert -(2 ** (3 / 8)) <= quantile(0.05, "size_bytes") <= -(2 ** (2 / 8))
    assert abs(quantile(0.3, "size_bytes")) <= 1e-128
    assert 1 < quantile(0.5, "size_bytes") <= 2 ** (1 / 8)
    assert 2 ** (7 / 8) < quantile(0.9, "size_bytes") <= 2
    # At a scale of 20, made coarser to 8.
    assert 2 ** (64 / 256) < quantile(0.99, "fine") <= 2 ** (65 / 256)


@pytest.mark.parametrize("protocol", TEXTS)
def test_quantiles_of_folded_histograms_lie_in_the_right_bucket(protocol: str, prometheus: Prometheus) -> None:
    assert (
        2 ** (-19 / 8)
        < prometheus.value(f'histogram_quantile(0.5, size_bytes_bucket{{job="shop-{protocol}"}})')
        <= 2 ** (1 / 8)
    )


@pytest.mark.parametrize("protocol", ["OpenMetricsText1.0.0", PROTOBUF])
def test_prometheus_stores_exemplars(protocol: str, prometheus: Prometheus) -> None:
    trace = {"trace_id": f"{0xABC:032x}", "span_id": f"{0xD:016x}"}
    order = prometheus.exemplars(f'orders_total{{job="shop-{protocol}"}}')[0]
    assert order["labels"] == {**trace, "customer": "é {x}"}
    assert float(order["value"]) == 2
    wait = prometheus.exemplars(f'wait_seconds_bucket{{job="shop-{protocol}"}}')[0]
    assert wait["labels"] == trace
    assert float(wait["value"]) == 0.5


def test_prometheus_stores_exemplars_with_names_as_they_are(prometheus: Prometheus) -> None:
    for job, key in (("utf8-OpenMetricsText1.0.0", "user.id"), ("odd-OpenMetricsText1.0.0", "user_id")):
        assert prometheus.exemplars(f'exemplified_total{{job="{job}"}}')[0]["labels"][key] == "u"


def test_a_nul_in_an_exemplar_does_not_cost_the_page(prometheus: Prometheus) -> None:
    for job, key in (("utf8-OpenMetricsText1.0.0", "n\N{REPLACEMENT CHARACTER}"), ("odd-OpenMetricsText1.0.0", "n_")):
        labels = prometheus.exemplars(f'exemplified_total{{job="{job}"}}')[0]["labels"]
        assert labels[key] == "\N{REPLACEMENT CHARACTER}"


def test_what_is_recorded_becomes_a_native_histogram_with_its_quantile(prometheus: Prometheus) -> None:
    series = f'latency_seconds{{job="recorded-{PROTOBUF}"}}'
    assert prometheus.value(f"histogram_count({series})") == 100
    assert prometheus.value(f"histogram_sum({series})") == pytest.approx(50.5)
    assert prometheus.value(f"histogram_quantile(0.9, {series})") == pytest.approx(0.9, rel=0.03)


@pytest.mark.parametrize("protocol", ["OpenMetricsText1.0.0", PROTOBUF])
@pytest.mark.parametrize("name", ["calls_total", "wait_seconds_bucket"])
def test_what_is_recorded_in_a_span_is_stored_with_its_trace(name: str, protocol: str, prometheus: Prometheus) -> None:
    found = prometheus.exemplars(f'{name}{{job="recorded-{protocol}"}}')
    assert {each["labels"]["trace_id"] for each in found} == {f"{0xABC:032x}"}


@pytest.mark.parametrize("page", ["shop", "odd", "recorded"])
def test_promtool_reads_every_page(page: str) -> None:
    promtool_takes(_page(page, Format()))
