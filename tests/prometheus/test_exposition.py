"""The pages against the real thing: every format is scraped by a real Prometheus and read by promtool."""

from __future__ import annotations

import contextlib
import math
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from otelbridge.catalogue.naming import Strategy
from otelbridge.prometheus.exposition import write
from otelbridge.prometheus.families import FamilyBook, FamilyOptions
from otelbridge.prometheus.negotiation import Format, Syntax, choose
from otelbridge.prometheus.translation import Escaping, Translation
from otelbridge.stack import StackError, locate
from tests.components import free_port, missing
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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.sdk.metrics.export import MetricsData

pytestmark = pytest.mark.components

PROTOBUF = "PrometheusProto"
TEXTS = ("PrometheusText0.0.4", "PrometheusText1.0.0", "OpenMetricsText0.0.1", "OpenMetricsText1.0.0")
PROTOCOLS = (PROTOBUF, *TEXTS)
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
        counter("exemplified_total", number(1, exemplars=[exemplar(1, time.time_ns(), {"user.id": "u"})])),
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


def _page(name: str, form: Format) -> bytes:
    make, strategy = _PAGES[name]
    book = FamilyBook(Translation.settle(strategy, form.escaping), FamilyOptions(scope_labels=True))
    return write(book.families(make()), form)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the name is the base class's
        form = choose(self.headers.get("Accept"))
        body = _page(self.path.strip("/"), form)
        self.send_response(200)
        self.send_header("Content-Type", form.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Keep quiet."""


class Prometheus:
    """A running Prometheus that has scraped every page in every format."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30)
        return answer.raise_for_status().json()["data"]["result"]

    def value(self, expression: str) -> float:
        (result,) = self.query(expression)
        return float(result["value"][1])

    def targets(self) -> dict[str, dict[str, Any]]:
        active = httpx.get(f"{self.url}/api/v1/targets", timeout=30).json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target for target in active}

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        window = {"start": time.time() - 600, "end": time.time() + 600}
        answer = httpx.get(f"{self.url}/api/v1/query_exemplars", params={"query": expression, **window}, timeout=30)
        return [each for series in answer.json()["data"] for each in series["exemplars"]]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    try:
        tool = locate("prometheus", say=lambda line: None)
    except StackError as error:
        missing("Prometheus", str(error))
    place = tmp_path_factory.mktemp("scraped")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    _configure(place, server.server_port)
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                tool.path,
                f"--config.file={place / 'prometheus.yml'}",
                f"--storage.tsdb.path={place / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
                "--scrape.discovery-reload-interval=100ms",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        _wait_for_scrapes(prometheus, process, place / "log")
        yield prometheus
    finally:
        process.terminate()
        process.wait(20)
        server.shutdown()
        server.server_close()


def _jobs() -> list[tuple[str, str]]:
    return [
        *(("shop", protocol) for protocol in PROTOCOLS),
        *(("odd", protocol) for protocol in PROTOCOLS),
        *(("utf8", protocol) for protocol in PROTOCOLS),
    ]


def _configure(place: Path, port: int) -> None:
    lines = ["global: {scrape_interval: 1s, scrape_timeout: 1s}", "scrape_configs:"]
    for page, protocol in _jobs():
        lines += [
            f"  - job_name: {page}-{protocol}",
            f"    metrics_path: /{page}",
            f"    scrape_protocols: [{protocol}]",
            "    scrape_native_histograms: true",
            f"    static_configs: [{{targets: ['127.0.0.1:{port}']}}]",
        ]
    (place / "prometheus.yml").write_text("\n".join(lines) + "\n")


def _wait_for_scrapes(prometheus: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with contextlib.suppress(httpx.HTTPError):
            if len(prometheus.query("scrape_samples_scraped")) == len(_jobs()):
                return
        time.sleep(0.2)


@pytest.mark.parametrize("job", [f"{page}-{protocol}" for page, protocol in _jobs()])
def test_prometheus_takes_every_page(job: str, prometheus: Prometheus) -> None:
    target = prometheus.targets()[job]
    assert (target["health"], target["lastError"]) == ("up", "")
    assert prometheus.value(f'scrape_samples_scraped{{job="{job}"}}') > 10


def _stored(prometheus: Prometheus, job: str) -> Samples:
    """What Prometheus has stored of a job, without what it adds, as `samples` gives what a page says."""
    found: Samples = {}
    for result in prometheus.query(f'{{job="{job}"}}'):
        labels = dict(result["metric"])
        name = labels.pop("__name__")
        if name == "up" or name.startswith("scrape_"):
            continue
        del labels["job"], labels["instance"]
        for key in ("job", "instance"):
            if f"exported_{key}" in labels:
                labels[key] = labels.pop(f"exported_{key}")
        if "le" in labels and name.endswith("_bucket"):
            labels["le"] = repr(float(labels["le"]))
        if "value" in result:
            found[name, tuple(sorted(labels.items()))] = float(result["value"][1])
    return found


def _same(one: float, other: float) -> bool:
    return float(one) == float(other) or (math.isnan(one) and math.isnan(other))


# What OpenMetrics forbids: sum and count of histograms with negative bounds, and a gauge that is called as the
# start time of a histogram would be.
_NOT_IN_OPENMETRICS = {
    "shop": {("size_bytes_sum", "/native"), ("size_bytes_count", "/native")},
    "odd": {("clash_more_sum", None), ("clash_more_count", None), ("clash_more_created", None)},
}


@pytest.mark.parametrize("protocol", TEXTS)
@pytest.mark.parametrize("page", ["shop", "odd"])
def test_prometheus_stores_what_the_text_says(page: str, protocol: str, prometheus: Prometheus) -> None:
    stored = _stored(prometheus, f"{page}-{protocol}")
    said = text_samples(_page(page, Format()))
    lost = {(name, dict(labels).get("route")) for name, labels in said.keys() - stored.keys()}
    assert lost == (_NOT_IN_OPENMETRICS[page] if protocol.startswith("OpenMetrics") else set())
    assert stored.keys() <= said.keys()
    assert {key: value for key, value in stored.items() if not _same(value, said[key])} == {}


@pytest.mark.parametrize("protocol", UTF8_PROTOCOLS)
def test_prometheus_stores_names_as_they_are_when_it_asks_for_them(protocol: str, prometheus: Prometheus) -> None:
    # Prometheus says nothing of names when it asks for protobuf, and so gets what anybody can read.
    form = Format() if protocol == PROTOBUF else Format(Syntax.TEXT, "1.0.0", Escaping.ALLOW_UTF8)
    stored = _without_total(_stored(prometheus, f"utf8-{protocol}"))
    said = _without_total(text_samples(_page("utf8", form)))
    assert ("namedé日本" in {name for name, _ in stored}) is (protocol != PROTOBUF)
    assert {name for name, _ in said.keys() - stored.keys()} <= {"clash.more_sum", "clash.more_count"}
    assert stored.keys() <= said.keys()
    assert {key: value for key, value in stored.items() if not _same(value, said[key])} == {}


def _without_total(found: Samples) -> Samples:
    # The parser of prometheus_client gives every counter this ending, also one that has none.
    return {(name.removesuffix("_total"), labels): value for (name, labels), value in found.items()}


@pytest.mark.parametrize("page", ["shop", "odd"])
def test_prometheus_stores_the_same_from_protobuf(page: str, prometheus: Prometheus) -> None:
    stored = _stored(prometheus, f"{page}-{PROTOBUF}")
    said = text_samples(_page(page, Format()))
    native = ("size_bytes", "fine", "empty")
    assert {name for name, _ in said.keys() - stored.keys()} <= {
        name + suffix for name in native for suffix in ("_bucket", "_sum", "_count")
    }
    assert stored.keys() <= said.keys()
    assert {key: value for key, value in stored.items() if not _same(value, said[key])} == {}


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


@pytest.mark.parametrize("page", ["shop", "odd"])
def test_promtool_reads_every_page(page: str) -> None:
    try:
        promtool = locate("promtool", say=lambda line: None)
    except StackError as error:
        missing("promtool", str(error))
    checked = subprocess.run(
        [promtool.path, "check", "metrics"], input=_page(page, Format()), capture_output=True, check=False
    )
    assert checked.returncode in (0, 3), checked.stderr  # 1 would be a page that does not parse; 3 is about style
