"""What upstream's reader does wrong, asserted there first, and that ours does it right on the same calls.

Checked with opentelemetry-exporter-prometheus 0.66b1, which has every one of these. Where a later one does better, the
line of upstream fails: take it out then, and say in the docstring from which version on it is right.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, Histogram
from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

import otelbridge
from otelbridge import PrometheusOptions
from otelbridge.prometheus.reader import PrometheusReader
from tests.instrumentation.serving import served
from tests.prometheus.collected import text_samples
from tests.prometheus.setups import ON_SDK, OURS, UPSTREAM, Setup, setup

pytestmark = pytest.mark.endtoend

_ROOT = Path(__file__).parents[2]
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@pytest.fixture
def made(request: pytest.FixtureRequest):
    """Makes one of the setups; all are shut down at the end."""

    def make(name: str, **options: Any) -> Setup:
        one = setup(name, **options)
        request.addfinalizer(one.provider.shutdown)
        return one

    return make


def _printed(script: str, *arguments: str, **environment: str) -> str:
    """What a program of its own prints."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=_ROOT,
        env={**os.environ, **environment},
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.parametrize("name", [UPSTREAM, ON_SDK, OURS])
def test_one_exponential_histogram_costs_the_whole_scrape(name: str, made) -> None:
    view = View(instrument_type=Histogram, aggregation=ExponentialBucketHistogramAggregation())
    one = made(name, views=[view])
    meter = one.provider.get_meter("a")
    meter.create_counter("c").add(1)
    for amount in (0, 0.5, 1, 2, 3):
        meter.create_histogram("h").record(amount)
    if name == UPSTREAM:
        with pytest.raises(AttributeError, match="value"):
            one.page("")
        return
    found = {(key, dict(labels).get("le")): value for (key, labels), value in text_samples(one.page("")).items()}
    assert found["c_total", None] == 1
    assert (found["h_count", None], found["h_sum", None]) == (5, 6.5)
    assert (found["h_bucket", "0.0"], found["h_bucket", "1.0"], found["h_bucket", "inf"]) == (1, 3, 5)


@pytest.mark.parametrize(("name", "label"), [(UPSTREAM, "method"), (ON_SDK, "error_type"), (OURS, "error_type")])
def test_values_of_two_scopes_stand_under_each_others_labels(name: str, label: str, made) -> None:
    one = made(name)
    one.provider.get_meter("web").create_counter("errors").add(1, {"method": "POST"})
    one.provider.get_meter("jobs").create_counter("errors").add(2, {"error.type": "Timeout"})
    assert text_samples(one.page("")) == {
        ("errors_total", (("method", "POST"), ("otel_scope_name", "web"))): 1,
        ("errors_total", ((label, "Timeout"), ("otel_scope_name", "jobs"))): 2,
    }


@pytest.mark.parametrize(("name", "times"), [(UPSTREAM, 2), (ON_SDK, 1), (OURS, 1)])
def test_a_family_is_described_twice(name: str, times: int, made) -> None:
    one = made(name)
    one.provider.get_meter("a").create_counter("errors", description="One.").add(1)
    one.provider.get_meter("b").create_counter("errors", description="Two.").add(1)
    page = one.page("")
    assert page.count(b"# HELP errors_total ") == page.count(b"# TYPE errors_total ") == times
    assert len(text_samples(page)) == 2


# Four collections, of which each shows the earlier ones again.
@pytest.mark.parametrize(("name", "times"), [(UPSTREAM, 1 + 2 + 3 + 4), (ON_SDK, 1), (OURS, 1)])
def test_a_flush_repeats_every_sample(name: str, times: int, made) -> None:
    one = made(name)
    one.provider.get_meter("a").create_counter("orders").add(3)
    for _ in range(3):
        one.provider.force_flush()
    assert one.page("").count(b"\norders_total{") == times


@pytest.mark.parametrize(("name", "exemplars"), [(UPSTREAM, 0), (ON_SDK, 2), (OURS, 2)])
def test_exemplars_are_not_written(name: str, exemplars: int, made) -> None:
    one = made(name, exemplar_filter=AlwaysOnExemplarFilter())
    meter = one.provider.get_meter("a")
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    with tracer.start_as_current_span("s") as span:
        meter.create_counter("c").add(1)
        meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1.0]).record(3)
    families = parse_openmetrics(one.page(_OPENMETRICS).decode())
    found = [sample.exemplar for family in families for sample in family.samples if sample.exemplar]
    assert len(found) == exemplars
    assert {each.labels["trace_id"] for each in found} <= {f"{span.get_span_context().trace_id:032x}"}


def test_a_second_start_shows_every_series_twice() -> None:
    # Upstream's readers share a registry unless they are told otherwise; ours share nothing.
    for reader, times in ((PrometheusMetricReader, 2), (PrometheusReader, 1)):
        readers = [reader(True) for _ in range(2)]
        providers = [SdkMeterProvider([each], shutdown_on_exit=False) for each in readers]
        try:
            for provider in providers:
                provider.get_meter("a").create_counter("second_start_orders").add(3)
            page = generate_latest(REGISTRY) if times == 2 else readers[1].render().body
            assert page.count(b"\nsecond_start_orders_total{") == times
        finally:
            for provider in providers:
                provider.shutdown()


def test_a_second_init_shows_every_series_once() -> None:
    try:
        for _ in range(2):
            bridge = otelbridge.init(service_name="shop", prometheus=PrometheusOptions(mode="server", port=0))
            metrics.get_meter("a").create_counter("second_start_orders").add(3)
        page = httpx.get(bridge.metrics_url, trust_env=False).text
    finally:
        otelbridge.shutdown()
    assert [line for line in page.splitlines() if line.startswith("second_start_orders")] == [
        "second_start_orders_total 6"
    ]


@pytest.mark.parametrize(
    ("name", "labels"),
    [(UPSTREAM, {"zeroth"}), (ON_SDK, {"zeroth;first;second"}), (OURS, {"zeroth;first;second"})],
)
def test_keys_that_become_one_label_lose_all_but_the_last(name: str, labels: set[str], made) -> None:
    one = made(name)
    one.provider.get_meter("a").create_counter("c").add(1, {"k_a": "second", "k.a": "first", "k-a": "zeroth"})
    assert {dict(pairs)["k_a"] for _, pairs in text_samples(one.page(""))} == labels


_MANY_PROCESSES = """
import os, sys
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from tests.prometheus.setups import UPSTREAM, setup

one = setup(sys.argv[1])
one.provider.get_meter("a").create_counter("c").add(1)
if sys.argv[1] == UPSTREAM:
    # What prometheus_client's own documentation has one serve in this mode.
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    page = generate_latest(registry)
else:
    page = one.page("")
print(page.count(b"\\nc_total{"))
"""


@pytest.mark.parametrize(("name", "samples"), [(UPSTREAM, "0"), (ON_SDK, "1"), (OURS, "1")])
def test_many_processes_of_prometheus_client_are_shown_nothing(name: str, samples: str, tmp_path) -> None:
    assert _printed(_MANY_PROCESSES, name, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) == samples
    assert list(tmp_path.iterdir()) == []


_FORK = """
import os, sys
from tests.prometheus.collected import text_samples
from tests.prometheus.setups import setup

one = setup(sys.argv[1])
counter = one.provider.get_meter("a").create_counter("c")
counter.add(5)
one.page("")
read, write = os.pipe()
if os.fork() == 0:
    counter.add(1)
    os.write(write, str(*map(int, text_samples(one.page("")).values())).encode())
    os._exit(0)
os.wait()
print(os.read(read, 99).decode())
"""


@pytest.mark.parametrize(("name", "value"), [(UPSTREAM, "6"), (OURS, "1")])
def test_a_forked_child_counts_again_what_its_parent_counted(name: str, value: str) -> None:
    assert _printed(_FORK, name) == value


_HOSTS = """
import sys, httpx
from pydoc import locate
from fastapi import FastAPI
from otelbridge.metrics.switch import switch
from tests.instrumentation.serving import served
from tests.prometheus.collected import text_samples
from tests.prometheus.setups import setup

app, one = FastAPI(), setup(sys.argv[1])
app.get("/")(lambda: "hello")
if sys.argv[2].startswith("otelbridge"):
    switch.connect(one.provider)
    locate(sys.argv[2])(app)
else:
    locate(sys.argv[2])(app, meter_provider=one.provider)
with served(app) as url:
    for number in range(10):
        httpx.get(url, headers={"Host": f"evil{number}.example"}, trust_env=False).raise_for_status()
page = one.page("")
ending = ("duration_milliseconds_count", "duration_seconds_count")
counts = [int(value) for (name, _), value in text_samples(page).items() if name.endswith(ending)]
print(len(counts), sum(counts), b"evil" in page)
"""


@pytest.mark.parametrize(
    ("name", "instrument", "seen"),
    [
        (UPSTREAM, "opentelemetry.instrumentation.fastapi.FastAPIInstrumentor.instrument_app", "10 10 True"),
        (OURS, "otelbridge.instrumentation.http.instrument_http", "1 10 False"),
    ],
)
def test_any_client_makes_series_by_its_host_header(name: str, instrument: str, seen: str) -> None:
    assert _printed(_HOSTS, name, instrument) == seen


@pytest.mark.parametrize(("name", "free"), [(UPSTREAM, False), (ON_SDK, True), (OURS, True)])
def test_a_scrape_holds_up_the_event_loop(name: str, free: bool, made) -> None:
    one, begun, asked, answered = made(name), threading.Event(), threading.Event(), []
    app = FastAPI()
    app.mount("/metrics", one.asgi)

    @app.get("/order")
    async def order() -> str:
        asked.set()
        return "taken"

    def observe(_: object) -> list[Any]:
        begun.set()
        answered.append(asked.wait(30 if free else 2))
        return []

    one.provider.get_meter("a").create_observable_gauge("slow", [observe])
    with served(app) as url:
        scrape = threading.Thread(target=httpx.get, args=(f"{url}/metrics/",), kwargs={"trust_env": False})
        scrape.start()
        assert begun.wait(60)
        assert httpx.get(f"{url}/order", trust_env=False).json() == "taken"
        scrape.join()
    assert answered == [free]


@pytest.mark.parametrize(("name", "series"), [(UPSTREAM, 20_000), (OURS, 2001)])
def test_attribute_sets_have_no_limit(name: str, series: int, made) -> None:
    one = made(name)
    counter = one.provider.get_meter("a").create_counter("c")
    for number in range(20_000):
        counter.add(1, {"id": number})
    found = text_samples(one.page(""))
    assert (len(found), sum(found.values())) == (series, 20_000)
