"""A registry of prometheus_client on our page: every kind of metric, beside ours, judged by strict parsers."""

from __future__ import annotations

import threading
import time

import prometheus_client as client
import pytest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeHistogramMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    StateSetMetricFamily,
    SummaryMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.samples import BucketSpan, NativeHistogram

from tests.neighbour.pages import PROTOBUF, Shown, samples, showing, types
from tests.prometheus.test_protobuf import parse


@pytest.fixture
def registry() -> client.CollectorRegistry:
    return client.CollectorRegistry()


class Custom:
    """A collector that gives what it was given."""

    def __init__(self, *metrics: Metric) -> None:
        self.metrics = list(metrics)

    def collect(self) -> list[Metric]:
        return self.metrics

    def describe(self) -> list[Metric]:
        return []


def populate(registry: client.CollectorRegistry) -> None:
    requests = client.Counter("http_requests", "Requests.", ["method"], registry=registry)
    requests.labels("GET").inc(3, exemplar={"trace_id": "ab", "user": "x"})
    requests.labels("").inc(0.5)
    client.Gauge("temperature", "Now.", unit="celsius", registry=registry).set(-2.5)
    latency = client.Histogram("latency", "Time.", ["route"], unit="seconds", registry=registry, buckets=(0.1, 1))
    latency.labels("/").observe(0.3, exemplar={"trace_id": "0" * 31 + "1", "span_id": "0" * 15 + "2"})
    latency.labels("/").observe(7)
    client.Summary("size", "Bytes.", unit="bytes", registry=registry).observe(4)
    client.Info("build", "Build.", registry=registry).info({"version": "1.2", "ä": 'ö\n"\\'})
    client.Enum("phase", "State.", states=["up", "down"], registry=registry).state("down")


def test_every_kind_is_on_the_page_as_prometheus_client_shows_it(registry) -> None:
    populate(registry)
    with showing(registry) as shown:
        theirs = client.generate_latest(registry).decode()
        assert samples(shown.text()) == samples(theirs)
        assert types(shown.text()) == types(theirs)


def test_every_kind_is_in_openmetrics_as_prometheus_client_shows_it(registry) -> None:
    populate(registry)
    with showing(registry) as shown:
        page, theirs = shown.openmetrics(), openmetrics(registry).decode()
        assert samples(page, strict=True) == samples(theirs, strict=True)
        assert types(page, strict=True) == types(theirs, strict=True)


def test_exemplars_stay_what_they_are(registry) -> None:
    populate(registry)

    def exemplars(page: str) -> list:
        return [
            (sample.name, sample.exemplar.labels, sample.exemplar.value, float(sample.exemplar.timestamp))
            for family in read_openmetrics(page)
            for sample in family.samples
            if sample.exemplar
        ]

    with showing(registry) as shown:
        found = exemplars(shown.openmetrics())
    assert found == exemplars(openmetrics(registry).decode())
    assert len(found) == 2


def test_protobuf_has_every_kind(registry) -> None:
    populate(registry)
    with showing(registry) as shown:
        families = {family.name: family for family in parse(shown.reader.render(PROTOBUF).body)}
    kinds = {name: family.type for name, family in families.items()}
    assert kinds == {
        "http_requests_total": 0,
        "temperature_celsius": 1,
        "latency_seconds": 4,
        "size_bytes": 2,
        "build_info": 1,
        "phase": 1,
    }
    (size,) = families["size_bytes"].metric
    assert (size.summary.sample_count, size.summary.sample_sum) == (1, 4.0)
    assert size.summary.created_timestamp.seconds > 1_000_000_000
    assert families["http_requests_total"].metric[0].counter.exemplar.value == 3.0


def test_created_is_shown_unless_the_client_is_told_not_to(registry) -> None:
    client.Counter("told", "", registry=registry).inc()
    with showing(registry) as shown:
        assert "told_created" in shown.text()
        assert "told_created" in shown.openmetrics()
        client.disable_created_metrics()
        try:
            quiet = client.CollectorRegistry()
            client.Counter("quiet", "", registry=quiet).inc()
            client.Histogram("quiet_too", "", registry=quiet).observe(1)
            with showing(quiet) as other:
                assert "_created" not in other.text()
                assert "_created" not in other.openmetrics()
                assert samples(other.text())["quiet_total", ()] == 1.0
        finally:
            client.enable_created_metrics()


def test_values_are_current_at_every_scrape_and_what_was_removed_is_gone(registry) -> None:
    counter = client.Counter("jobs", "", ["queue"], registry=registry)
    counter.labels("a").inc()
    counter.labels("b").inc(2)
    gauge = client.Gauge("level", "", registry=registry)
    with showing(registry) as shown:
        gauge.set(1)
        assert samples(shown.text())["jobs_total", (("queue", "b"),)] == 2.0
        counter.labels("b").inc()
        gauge.set(float("nan"))
        counter.remove("a")
        now = samples(shown.text())
        assert now["jobs_total", (("queue", "b"),)] == 3.0
        assert ("jobs_total", (("queue", "a"),)) not in now
        assert now["level", ()] != now["level", ()]
        counter.labels("a").inc(7)
        registry.unregister(gauge)
        now = samples(shown.text())
        assert now["jobs_total", (("queue", "a"),)] == 7.0
        assert ("level", ()) not in now
        assert not [stream for stream in shown.provider._consumer._streams.all() if stream.name == "level"]


def test_a_removed_counter_and_gauge_of_nan_do_not_hang(registry) -> None:
    histogram = client.Histogram("odd", "", ["x"], registry=registry)
    histogram.labels("1").observe(float("nan"))
    gauge = client.Gauge("odd_too", "", ["x"], registry=registry, multiprocess_mode="livesum")
    gauge.labels("1").set(float("nan"))
    with showing(registry) as shown:
        assert 'odd_sum{x="1"} NaN' in shown.text()
        histogram.remove("1")
        gauge.remove("1")
        assert samples(shown.text()) == {}


WEIRD = {
    "summary with quantiles": SummaryMetricFamily("s", "d", count_value=3, sum_value=1.5),
    "histogram without sum": HistogramMetricFamily("h", "d", buckets=[("1", 1), ("+Inf", 2)], sum_value=None),
    "gauge histogram": GaugeHistogramMetricFamily("gh", "d", buckets=[("1", 1), ("+Inf", 2)], gsum_value=3),
    "unknown": UnknownMetricFamily("u", "d", value=1),
    "states": StateSetMetricFamily("st", "d", value={"a": True, "b": False}),
    "no samples": GaugeMetricFamily("none", "d"),
    "empty counter": CounterMetricFamily("empty", "d"),
}
WEIRD["summary with quantiles"].add_sample("s", {"quantile": "0.5"}, 0.25)
WEIRD["summary with quantiles"].add_sample("s", {"quantile": "0.99"}, 2)


def made(kind: str, *rows: tuple[str, dict[str, str], float]) -> Metric:
    metric = Metric("weird", "d", kind)
    for name, labels, value in rows:
        metric.add_sample(name, labels, value)
    return metric


WEIRD |= {
    "counter without suffix": made("counter", ("weird", {}, 1)),
    "other names": made("gauge", ("else", {"a": "b"}, 1), ("weird", {}, 2)),
    "falling buckets": made(
        "histogram",
        ("weird_bucket", {"le": "1"}, 5),
        ("weird_bucket", {"le": "+Inf"}, 3),
        ("weird_count", {}, 3),
        ("weird_sum", {}, 1),
    ),
    "buckets of halves": made(
        "histogram", ("weird_bucket", {"le": "+Inf"}, 0.5), ("weird_count", {}, 0.5), ("weird_sum", {}, 1)
    ),
    "bounds that are none": made("histogram", ("weird_bucket", {"le": "x"}, 1), ("weird_sum", {}, 1)),
    "count alone": made("summary", ("weird_count", {}, 1)),
    "state without its label": made("stateset", ("weird", {"a": "b"}, 1)),
    "other buckets a series": made(
        "histogram",
        ("weird_bucket", {"le": "1", "a": "x"}, 1),
        ("weird_bucket", {"le": "+Inf", "a": "x"}, 1),
        ("weird_sum", {"a": "x"}, 1),
        ("weird_count", {"a": "x"}, 1),
        ("weird_bucket", {"le": "2", "a": "y"}, 1),
        ("weird_bucket", {"le": "+Inf", "a": "y"}, 2),
        ("weird_sum", {"a": "y"}, 1),
        ("weird_count", {"a": "y"}, 2),
    ),
    "a count only": made("histogram", ("weird_bucket", {"le": "1"}, 1), ("weird_count", {}, 4), ("weird_sum", {}, 1)),
}


def test_weird_families_keep_their_samples(registry) -> None:
    for case, metric in WEIRD.items():
        registry = client.CollectorRegistry()
        registry.register(Custom(metric))
        with showing(registry) as shown:
            expected = samples(client.generate_latest(registry).decode())
            if case == "a count only":  # the bucket that is missing is there now
                expected["weird_bucket", (("le", "inf"),)] = 4.0
            assert samples(shown.text()) == expected, case
            assert samples(shown.openmetrics(), strict=True) == expected, case
            assert len(shown.reader.render(PROTOBUF).body) > 0 or not expected, case


def test_counters_below_zero_and_native_histograms_are_left_out_with_a_warning(registry, caplog) -> None:
    native = NativeHistogram(2, 3.0, 3, 0.001, 0, [BucketSpan(0, 1)], None, [2], None)
    odd = Metric("native", "d", "histogram")
    odd.add_sample("native", {}, 0, native_histogram=native)
    registry.register(Custom(made("counter", ("weird_total", {}, -1), ("weird_total", {"a": "b"}, 2)), odd))
    with showing(registry) as shown:
        for _ in range(2):
            assert samples(shown.text()) == {("weird_total", (("a", "b"),)): 2.0}
    assert len([record for record in caplog.records if "native histograms" in record.message]) == 1
    assert len([record for record in caplog.records if "zero or more" in record.message]) == 1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("counter", client.Counter),
        ("gauge", client.Gauge),
        ("histogram", client.Gauge),
        ("histogram", client.Summary),
    ],
)
def test_what_clashes_with_ours_is_left_out_and_told_once(registry, caplog, ours, theirs) -> None:
    theirs("taken", "Theirs.", registry=registry)
    client.Gauge("free", "", registry=registry).set(1)
    with showing(registry) as shown:
        instrument = getattr(shown.provider.get_meter("app"), f"create_{ours}")("taken")
        getattr(instrument, {"counter": "add", "gauge": "set", "histogram": "record"}[ours])(5)
        for _ in range(2):
            text = shown.text()
            assert "Theirs." not in text
            assert samples(text)["free", ()] == 1.0
        samples(shown.openmetrics(), strict=True)
    warnings = [record.message for record in caplog.records if "clash" in record.message]
    assert len(warnings) == 1
    assert "taken of prometheus_client" in warnings[0]
    assert "Rename one of the two" in warnings[0]


@pytest.mark.parametrize("suffix", ["_bucket", "_sum", "_count"])
def test_a_suffix_of_ours_clashes_too(registry, caplog, suffix) -> None:
    client.Gauge(f"taken{suffix}", "Theirs.", registry=registry)
    with showing(registry) as shown:
        shown.provider.get_meter("app").create_histogram("taken").record(1)
        assert "Theirs." not in shown.text()
    assert f"taken{suffix} of prometheus_client" in caplog.text


def test_two_of_theirs_that_clash_leave_the_older(caplog) -> None:
    registry = client.CollectorRegistry(auto_describe=False)
    registry.register(Custom(made("gauge", ("weird", {}, 1))))
    registry.register(Custom(made("counter", ("weird_total", {}, 2)), made("gauge", ("weird", {}, 3))))
    registry.register(Custom(Metric("weird_total", "d", "gauge")))
    late = Metric("weird_total", "d", "gauge")
    late.add_sample("weird_total", {}, 9)
    registry.register(Custom(late))
    with showing(registry) as shown:
        found = samples(shown.text())
    assert found["weird_total", ()] == 2.0
    assert "is left out of the metrics page" in caplog.text


def test_a_collector_that_raises_costs_only_itself(registry, caplog) -> None:
    class Broken:
        broken = True

        def collect(self):
            yield GaugeMetricFamily("before", "", value=1)
            if self.broken:
                raise RuntimeError("the database is away")

        def describe(self):
            return []

    broken = Broken()
    client.Counter("first", "", registry=registry).inc()
    registry.register(broken)
    client.Counter("last", "", registry=registry).inc()
    with showing(registry) as shown:
        for _ in range(3):
            found = samples(shown.text())
            assert found["first_total", ()] == found["last_total", ()] == 1.0
            assert ("before", ()) not in found
        broken.broken = False
        assert samples(shown.text())["before", ()] == 1.0
    warnings = [record.message for record in caplog.records if "left out" in record.message]
    assert len(warnings) == 1
    assert "Broken" in warnings[0]
    assert "RuntimeError at test_neighbour_page.py:" in warnings[0]


def test_what_a_collector_counted_stays_while_it_fails(registry, caplog) -> None:
    """Where processes are added, a part that goes and comes back looks like a restart, and counts twice in rates."""

    class Flaky:
        jobs = 5
        broken = False

        def collect(self):
            if self.broken:
                raise RuntimeError("postgresql://user:hunter2@db is away")
            yield GaugeMetricFamily("waiting", "", value=1)
            if self.jobs:
                yield CounterMetricFamily("jobs", "", value=self.jobs)

        def describe(self):
            return []

    flaky = Flaky()
    registry.register(flaky)
    with showing(registry) as shown:
        assert samples(shown.text()) == {("waiting", ()): 1.0, ("jobs_total", ()): 5.0}
        flaky.broken = True
        for _ in range(2):
            assert samples(shown.text()) == {("jobs_total", ()): 5.0}
        flaky.broken, flaky.jobs = False, 7
        assert samples(shown.text()) == {("waiting", ()): 1.0, ("jobs_total", ()): 7.0}
        flaky.jobs = 0
        assert samples(shown.text()) == {("waiting", ()): 1.0}
        flaky.jobs = 8
        shown.text()
        registry.unregister(flaky)
        assert samples(shown.text()) == {}
    assert "RuntimeError at test_neighbour_page.py:" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_collector_that_exits_or_gives_nonsense_costs_only_itself(registry, caplog) -> None:
    class Nonsense:
        def __init__(self, what) -> None:
            self.what = what

        def collect(self):
            if isinstance(self.what, BaseException):
                raise self.what
            return self.what

        def describe(self):
            return []

    for what in (SystemExit(3), None, [None], 7):
        registry.register(Nonsense(what))
    client.Counter("fine", "", registry=registry).inc()
    with showing(registry) as shown:
        assert samples(shown.text())["fine_total", ()] == 1.0
    assert "Nonsense" in caplog.text


def test_a_collector_that_blocks_costs_only_itself(registry, caplog) -> None:
    go = threading.Event()
    calls: list[int] = []

    class Slow:
        def collect(self):
            calls.append(1)
            go.wait(30)
            yield GaugeMetricFamily("slow", "", value=1)

        def describe(self):
            return []

    client.Counter("first", "", registry=registry).inc()
    registry.register(Slow())
    client.Counter("last", "", registry=registry).inc()
    with showing(registry, patience=0.2) as shown:
        for _ in range(3):
            found = samples(shown.text())
            assert found["first_total", ()] == found["last_total", ()] == 1.0
            assert ("slow", ()) not in found
        assert calls == [1]  # it is not asked again while it has not answered
        go.set()
        deadline = time.monotonic() + 60
        while ("slow", ()) not in samples(shown.text()):
            assert time.monotonic() < deadline
    assert len([record for record in caplog.records if "not done within" in record.message]) == 1


def test_credentials_in_labels_and_exemplars_are_hidden(registry) -> None:
    logins = client.Counter("logins", "", ["password"], registry=registry)
    logins.labels("hunter2").inc(1)
    sizes = client.Histogram("size", "", ["via"], registry=registry).labels("redis://:hunter3@cache")
    sizes.observe(1, exemplar={"token": "s3cret", "user": "ann"})
    with showing(registry, hide_secrets=True) as shown:
        for _ in range(2):
            logins.labels("hunter4").inc(2)
            page = shown.openmetrics()
            assert "hunter" not in page
            assert "s3cret" not in page
            assert 'size_count{via="[hidden]"} 1' in page
        assert samples(page, strict=True)["logins_total", (("password", "[hidden]"),)] == 5.0
        assert 'token="[hidden]",user="ann"' in page
        logins.clear()
        assert "logins_total" not in shown.text()


def test_unicode_names_and_labels_are_escaped_as_the_scraper_asks(registry) -> None:
    client.Counter("größe.der_welt", "Hülfe\n\\.", ["länge"], registry=registry).labels("∞").inc(2)
    with showing(registry) as shown:
        assert samples(shown.text())["gr__e_der_welt_total", (("l_nge", "∞"),)] == 2.0
        found = samples(shown.openmetrics(), strict=True)
        assert found["gr__e_der_welt_total", (("l_nge", "∞"),)] == 2.0


def test_names_with_colons_stay_and_their_states_are_gauges(registry) -> None:
    client.Counter("job:done", "", registry=registry).inc()
    client.Enum("job:state", "", states=["up", "down"], registry=registry).state("up")
    with showing(registry) as shown:
        for found in (samples(shown.text()), samples(shown.openmetrics(), strict=True)):
            assert found["job:done_total", ()] == 1.0
            assert found["job:state", (("job_state", "up"),)] == 1.0
        assert types(shown.openmetrics(), strict=True)["job:state"][0] == "gauge"


@pytest.mark.parametrize("amount", [-1.0, float("nan")])
def test_sums_that_openmetrics_forbids_do_not_cost_the_page(registry, amount) -> None:
    client.Histogram("one", "", registry=registry).observe(amount)
    client.Summary("two", "", registry=registry).observe(amount)
    with showing(registry) as shown:
        found = samples(shown.openmetrics(), strict=True)
        assert found["two_count", ()] == 1.0
        assert ("one_sum", ()) not in found
        assert ("two_sum", ()) not in found
        text = samples(shown.text())
        assert text["two_sum", ()] == amount or text["two_sum", ()] != text["two_sum", ()]


def test_surrogates_and_other_types_do_not_cost_the_page(registry) -> None:
    odd = Metric("odd", "half \ud800 a pair", "gauge")
    odd.add_sample("odd", {"a": "\ud800", "b": 7}, 1)
    registry.register(Custom(odd))
    client.Gauge("fine", "", registry=registry).set(1)
    with showing(registry) as shown:
        found = samples(shown.text())
    assert found["fine", ()] == 1.0
    assert found["odd", (("a", "?"), ("b", "7"))] == 1.0


def test_limits_hold_and_what_is_over_is_counted_together(registry, caplog) -> None:
    counter = client.Counter("many", "", ["who"], registry=registry)
    histogram = client.Histogram("wide", "", ["who"], registry=registry, buckets=(1,))
    for who in range(2100):
        counter.labels(str(who)).inc()
        histogram.labels(str(who)).observe(2)
    with showing(registry) as shown:
        for _ in range(2):
            found = samples(shown.text())
            counts = {key: value for key, value in found.items() if key[0] == "many_total"}
            assert len(counts) == 2001
            assert sum(counts.values()) == 2100.0
            assert counts["many_total", (("otel_metric_overflow", "true"),)] == 100.0
            assert found["wide_count", (("otel_metric_overflow", "true"),)] == 100.0
    assert "has reached its limit of 2000" in caplog.text


def test_a_collector_that_invents_names_is_bounded(registry) -> None:
    class Inventive:
        turn = 0

        def collect(self):
            self.turn += 1
            return [GaugeMetricFamily(f"name_{self.turn}_{at}", "", value=1) for at in range(300)]

        def describe(self):
            return []

    registry.register(Inventive())
    with showing(registry) as shown:
        for _ in range(5):
            assert len(samples(shown.text())) == 300
        assert len(shown.neighbour._known) == 300
        assert len(shown.provider._consumer._streams.all()) == 300


def test_families_of_one_name_and_type_are_one(registry, caplog) -> None:
    one = CounterMetricFamily("same", "One way.", labels=["a"])
    one.add_metric(["x"], 1)
    two = CounterMetricFamily("same", "Another way.", labels=["a"])
    two.add_metric(["x"], 2)
    two.add_metric(["y"], 4)
    for each in (one, two):
        registry.register(Custom(each))
    with showing(registry) as shown:
        assert samples(shown.text()) == {
            ("same_total", (("a", "x"),)): 3.0,
            ("same_total", (("a", "y"),)): 4.0,
        }
        assert types(shown.text())["same"][1] == "One way."
    assert "several series with the labels" in caplog.text


def test_target_information_of_a_registry_yields_to_ours(caplog) -> None:
    registry = client.CollectorRegistry(target_info={"env": "theirs"})
    with showing(registry) as shown:
        assert samples(shown.text()) == {("target_info", (("env", "theirs"),)): 1.0}


def test_a_registry_of_ones_own_making_is_read_as_a_whole() -> None:
    class Own:
        def collect(self):
            return [CounterMetricFamily("own", "", value=4)]

    shown = Shown(Own())
    assert samples(shown.text()) == {("own_total", ()): 4.0}
    shown.provider.shutdown()
