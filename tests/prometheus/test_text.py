"""The text formats: what stands on a page, and that strict parsers read back exactly what was collected."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.utils import floatToGoString

from otelbridge.catalogue.naming import Strategy
from otelbridge.diagnostics import forget_warnings
from otelbridge.prometheus.digits import canonical, number, plain, seconds
from otelbridge.prometheus.exponential import Exponential
from otelbridge.prometheus.exposition import write
from otelbridge.prometheus.families import FamilyBook, FamilyOptions
from otelbridge.prometheus.labels import Labels
from otelbridge.prometheus.model import Kind
from otelbridge.prometheus.negotiation import DEFAULT, Format, Syntax
from otelbridge.prometheus.openmetrics import expose
from otelbridge.prometheus.samples import HistogramText, SampleText
from otelbridge.prometheus.text import openmetrics_text, plain_text
from otelbridge.prometheus.translation import Escaping, Translation
from tests.prometheus.collected import (
    NOW,
    anything,
    collected,
    counter,
    exemplar,
    exponential,
    gauge,
    histogram,
    histograms,
    openmetrics_samples,
    text_samples,
    up_down,
)
from tests.prometheus.collected import number as point


@pytest.fixture(autouse=True)
def _told_anew():
    forget_warnings()


def families(*metrics, resource=None, strategy=Strategy.UNDERSCORES_WITH_SUFFIXES, escaping=Escaping.UNDERSCORES):
    return FamilyBook(Translation.settle(strategy, escaping)).families(collected(*metrics, resource=resource))


def told(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "otelbridge"]


# Prometheus' text.


def test_a_page() -> None:
    page = plain_text(
        families(
            counter("http.requests", point(3, {"http.route": "/a"}), point(2.5), description='A "b" \\ c\nd.'),
            up_down("queue.size", point(-4), unit="By"),
            gauge(
                "load", point(math.nan, {"cpu": 0}), point(math.inf, {"cpu": 1}), point(-math.inf, {"cpu": 2}), unit="1"
            ),
            histograms("wait", histogram([1, 2, 3], (0.1, 1000000), 12.5, {"q": 'x"\\\ny'}), unit="s"),
            histograms("bare", histogram([4], (), 1)),
            resource={"service.name": "shop"},
        )
    )
    assert (
        page.decode()
        == r"""# HELP target_info Target metadata
# TYPE target_info gauge
target_info{service_name="shop"} 1
# HELP http_requests_total A "b" \\ c\nd.
# TYPE http_requests_total counter
http_requests_total{http_route="/a"} 3
http_requests_total 2.5
# TYPE queue_size_bytes gauge
queue_size_bytes -4
# TYPE load_ratio gauge
load_ratio{cpu="0"} NaN
load_ratio{cpu="1"} +Inf
load_ratio{cpu="2"} -Inf
# TYPE wait_seconds histogram
wait_seconds_bucket{q="x\"\\\ny",le="0.1"} 1
wait_seconds_bucket{q="x\"\\\ny",le="1e+06"} 3
wait_seconds_bucket{q="x\"\\\ny",le="+Inf"} 6
wait_seconds_sum{q="x\"\\\ny"} 12.5
wait_seconds_count{q="x\"\\\ny"} 6
# TYPE bare histogram
bare_bucket{le="+Inf"} 4
bare_sum 1
bare_count 4
"""
    )


def test_names_beyond_the_classic_ones_stand_in_the_braces() -> None:
    page = plain_text(
        families(
            counter('a."b"', point(1), point(2, {"k.é": "v"}), description="x"),
            histograms("h.%d\0", histogram([1, 0], (1.0,), 2, {"k": "v"}), histogram([1, 0], (1.0,), 2)),
            strategy=Strategy.UTF8,
            escaping=Escaping.ALLOW_UTF8,
        )
    )
    assert (
        page.decode()
        == r"""# HELP "a.\"b\"" x
# TYPE "a.\"b\"" counter
{"a.\"b\""} 1
{"a.\"b\"","k.é"="v"} 2
# TYPE "h.%d�" histogram
{"h.%d�_bucket",k="v",le="1.0"} 1
{"h.%d�_bucket",k="v",le="+Inf"} 1
{"h.%d�_sum",k="v"} 2
{"h.%d�_count",k="v"} 1
{"h.%d�_bucket",le="1.0"} 1
{"h.%d�_bucket",le="+Inf"} 1
{"h.%d�_sum"} 2
{"h.%d�_count"} 1
"""
    )


@pytest.mark.parametrize(
    "broken",
    [
        histogram([1, 2], (1.0, 2.0), 1.5, {"a": "bad"}),
        histogram([1, 2, 3], (2.0, 1.0), 1.5, {"a": "bad"}),
        histogram([1, 2], (math.nan,), 1.5, {"a": "bad"}),
        histogram([1, 2], (1.0,), "much", {"a": "bad"}),
        histogram([1, 2], (1.0,), 10**400, {"a": "bad"}),
    ],
)
@pytest.mark.parametrize("form", [DEFAULT, Format(Syntax.OPENMETRICS, "1.0.0")])
def test_a_histogram_that_cannot_be_written_costs_only_its_series(broken, form, caplog) -> None:
    found = families(histograms("h", broken, histogram([1, 2], (1.0,), 1.5, {"a": "good"})), gauge("g", point(1)))
    for _ in range(2):
        page = write(found, form).decode()
        assert "bad" not in page
        assert 'h_count{a="good"} 3' in page
        assert "\ng 1\n" in page
    assert len(told(caplog)) == 1


@pytest.mark.parametrize("form", [DEFAULT, Format(Syntax.OPENMETRICS, "1.0.0"), Format(Syntax.PROTOBUF, "")])
def test_families_of_somebody_elses_making_cost_only_the_series_that_is_wrong(form, caplog) -> None:
    (family,) = families(counter("c", point(1, {"a": "good"}), point(2, {"a": "bad"})))
    family.points[1] = point("much")
    page = write([family], form)
    assert b"good" in page
    assert b"bad" not in page
    assert len(told(caplog)) == 1


@pytest.mark.parametrize("help_", [" ", "\t", "\n", '"', '"x', "\\", " x "])
def test_descriptions_of_all_kinds(help_) -> None:
    found = families(gauge("g", point(1), description=help_))
    ((said,), (strictly,)) = parse_text(plain_text(found).decode()), parse_openmetrics(openmetrics_text(found).decode())
    assert said.documentation == strictly.documentation == help_.strip()


def test_a_bound_of_infinity_is_the_last_bucket() -> None:
    found = text_samples(plain_text(families(histograms("h", histogram([1, 2, 0], (1.0, math.inf), 1.5)))))
    assert found == {
        ("h_bucket", (("le", "1.0"),)): 1,
        ("h_bucket", (("le", "inf"),)): 3,
        ("h_sum", ()): 1.5,
        ("h_count", ()): 3,
    }


# Exponential histograms.


def test_folding_keeps_the_populated_buckets_only() -> None:
    folded = Exponential.of(exponential(1, {-2: 1, 4: 2, 100: 3}, {0: 4, 2: 5}, zero=6)).fold()
    bounds, counts = folded
    assert counts == [5, 4, 6, 1, 2, 3, 0]
    assert bounds == pytest.approx([-2, -1, 0, 2**-0.5, 2**2.5, 2**50.5])


def test_folding_at_the_ends_of_all_floats() -> None:
    bounds, counts = Exponential.of(exponential(0, {1022: 1, 1023: 2, 5000: 4}, {5000: 8})).fold()
    assert bounds == [2.0**1023]
    assert counts == [9, 6]
    tiny = {-1074 * 2**20 - at: 1 for at in range(5)}
    bounds, counts = Exponential.of(exponential(20, tiny)).fold()
    assert bounds == sorted(set(bounds))
    assert sum(counts) == 5


@settings(max_examples=100)
@given(st.integers(-10, 20), st.lists(st.floats(1e-300, 1e300), max_size=30))
def test_every_value_lies_in_its_folded_bucket(scale, amounts) -> None:
    index = {amount: math.ceil(math.log2(amount) * 2.0**scale) - 1 for amount in amounts}
    positive: dict[int, int] = {}
    for amount in amounts:
        positive[index[amount]] = positive.get(index[amount], 0) + 1
    bounds, counts = Exponential(scale, positive, {}, 0, 0.0).fold()
    assert sum(counts) == len(amounts)
    assert bounds == sorted(set(bounds))
    for bound, upto in zip(bounds, range(1, len(counts)), strict=False):
        below = sum(amount <= bound * (1 + 1e-9) for amount in amounts)
        assert below >= sum(counts[:upto])


def test_coarser_buckets_hold_the_same() -> None:
    fine = Exponential(10, {-1025: 1, -1024: 2, 1023: 4, 1024: 8}, {5: 16}, 32, 1.5)
    coarse = fine.at_scale(0)
    assert (coarse.positive, coarse.negative, coarse.count) == ({-2: 1, -1: 2, 0: 4, 1: 8}, {0: 16}, fine.count)


# OpenMetrics.


def test_an_openmetrics_page() -> None:
    exemplars = [exemplar(2, NOW, {"customer": "c"}), exemplar(1, NOW - 5)]
    in_buckets = [exemplar(0.05, NOW), exemplar(0.01, NOW + 10**9), exemplar(7, 0, trace=None, span=None)]
    page = openmetrics_text(
        families(
            counter("orders", point(3, {"a": "b"}, exemplars), point(1), unit="s", description='A "b" \\ c\nd.'),
            gauge("load", point(0.5, exemplars=exemplars), unit="%"),
            histograms("wait", histogram([2, 1], (0.1,), 7.06, exemplars=in_buckets), unit="s"),
            resource={"service.name": "shop"},
        ),
        created=True,
    )
    trace = 'trace_id="00000000000000000000000000000abc",span_id="000000000000000d"'
    assert (
        page.decode().replace(trace, "TRACE")
        == r"""# TYPE target info
# HELP target Target metadata
target_info{service_name="shop"} 1
# TYPE orders_seconds counter
# UNIT orders_seconds seconds
# HELP orders_seconds A \"b\" \\ c\nd.
orders_seconds_total{a="b"} 3 # {TRACE,customer="c"} 2 1700000060.000000000
orders_seconds_created{a="b"} 1700000000.123456789
orders_seconds_total 1
orders_seconds_created 1700000000.123456789
# TYPE load_percent gauge
# UNIT load_percent percent
load_percent 0.5
# TYPE wait_seconds histogram
# UNIT wait_seconds seconds
wait_seconds_bucket{le="0.1"} 2 # {TRACE} 0.01 1700000061.000000000
wait_seconds_bucket{le="+Inf"} 3 # {} 7
wait_seconds_sum 7.06
wait_seconds_count 3
wait_seconds_created 1700000000.123456789
# EOF
"""
    )
    assert len(list(parse_openmetrics(page.decode()))) == 4


def test_without_created_and_exemplars_samples_are_those_of_the_plain_text() -> None:
    found = families(counter("c", point(1, {"a": 1}), point(2.5)), histograms("h", histogram([1, 2], (1.0,))))
    assert openmetrics_samples(openmetrics_text(found)) == text_samples(plain_text(found))


@pytest.mark.parametrize(("total", "bounds"), [(-1.0, (1.0,)), (math.nan, (1.0,)), (1.0, (-1.0,)), (None, (1.0,))])
def test_sums_openmetrics_cannot_have(total, bounds) -> None:
    page = openmetrics_text(families(histograms("h", histogram([1, 2], bounds, total))))
    assert {name for name, _ in openmetrics_samples(page)} == {"h_bucket"}


@pytest.mark.parametrize(
    ("attributes", "labels"),
    [
        ({"b": "x" * 100, "a": "y"}, {"a"}),
        ({"a": "x" * 64}, {"a"}),
        ({"a": "x" * 65}, set()),
        ({"a": "é" * 64}, {"a"}),
        ({"trace_id": "mine", "span.id": "mine", "le": "1"}, {"le"}),
        ({"": "v", "a.b": 1, "a_b": 2, "none": None}, {"_", "a_b"}),
    ],
)
def test_labels_of_exemplars(attributes, labels) -> None:
    page = openmetrics_text(families(counter("c", point(1, exemplars=[exemplar(1, attributes=attributes)]))))
    (family,) = parse_openmetrics(page.decode())
    found = family.samples[0].exemplar.labels
    assert found.keys() - {"trace_id", "span_id"} == labels
    assert (found["trace_id"], found["span_id"]) == (f"{0xABC:032x}", f"{0xD:016x}")
    assert sum(len(key) + len(value) for key, value in found.items()) <= 128


@pytest.mark.parametrize("value", [math.nan, "5", None])
def test_an_exemplar_that_is_none_is_left_out(value) -> None:
    page = openmetrics_text(families(counter("c", point(1, exemplars=[exemplar(value)]))))
    assert openmetrics_samples(page) == {("c_total", ()): 1}
    assert b"trace_id" not in page


def test_names_that_clash_in_openmetrics_only(caplog) -> None:
    found = families(
        counter("foo", point(1)),
        gauge("foo", point(2)),
        counter("orders", point(3)),
        counter("orders.created", point(4)),
        histograms("h", histogram([1], (), 5.0)),
        gauge("h_created", point(6)),
    )
    page = openmetrics_text(found, created=True)
    types = {family.name: family.type for family in parse_openmetrics(page.decode())}
    assert types == {
        "foo_total": "unknown",
        "foo": "gauge",
        "orders": "counter",
        "orders_created_total": "unknown",
        "h": "histogram",
    }
    assert ("h_created", ()) in text_samples(plain_text(found))
    assert ("h_created", ()) not in openmetrics_samples(openmetrics_text(found))
    assert len(told(caplog)) == 1
    assert "h_created is left out of the OpenMetrics page" in told(caplog)[0]


def test_counters_without_their_suffix_are_of_unknown_type() -> None:
    found = families(counter("foo", point(1, exemplars=[exemplar(1)])), strategy=Strategy.UNDERSCORES)
    assert openmetrics_text(found, created=True) == b"# TYPE foo unknown\nfoo 1\n# EOF\n"


# Numbers.


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (0, "0.0"), (-0.0, "-0.0"), (0.005, "0.005"), (5, "5.0"), (10.0, "10.0"), (123456.5, "123456.5"),
        (1e5, "100000.0"), (1e6, "1e+06"), (1234567.5, "1.2345675e+06"), (1e10, "1e+10"), (1e21, "1e+21"),
        (1e-5, "1e-05"), (-1e6, "-1e+06"), (math.inf, "+Inf"), (-math.inf, "-Inf"), (math.nan, "NaN"),
    ],
)  # fmt: skip
def test_bounds_are_written_as_openmetrics_asks(bound, text) -> None:
    assert canonical(bound) == text


@given(st.floats(min_value=0))
def test_bounds_are_written_as_prometheus_client_writes_them(bound) -> None:
    assert canonical(bound) == floatToGoString(bound)


@given(st.one_of(st.floats(), st.integers(-(10**300), 10**300)))
def test_numbers_are_read_back(value) -> None:
    read = float(number(value))
    assert read == float(value) or (math.isnan(read) and math.isnan(value))


@pytest.mark.parametrize(("value", "exact"), [(True, 1), (Decimal("1.5"), 1.5), (2**70, 2**70), (-0.0, -0.0)])
def test_plain_numbers(value, exact) -> None:
    assert (plain(value), type(plain(value))) == (exact, type(exact))


def test_moments_are_exact() -> None:
    assert (seconds(1_700_000_000_000_000_001), seconds(5)) == ("1700000000.000000001", "0.000000005")


# Plain rows, for whoever has the values at hand.


def test_rows_of_numbers() -> None:
    text = SampleText("x")
    labels = [Labels((("a", "b"),)).text, ""]
    assert text.lines(labels, [1, 2.5]) == 'x{a="b"} 1\nx 2.5\n'
    assert text.lines(iter(labels), [math.nan, 10**400 // 10**399]) == 'x{a="b"} NaN\nx 10\n'
    assert text.lines([], []) == ""


def test_rows_of_histograms() -> None:
    text = HistogramText("h", (0.5, 1.0))
    assert text.lines('a="%d"', [1, 0, 2], None) == (
        'h_bucket{a="%d",le="0.5"} 1\nh_bucket{a="%d",le="1.0"} 1\nh_bucket{a="%d",le="+Inf"} 3\n'
    )
    assert text.lines("", (0, 0, 0), math.inf).splitlines()[-2:] == ["h_sum +Inf", "h_count 0"]
    with pytest.raises(ValueError, match="2 counts do not fit 3 buckets"):
        text.lines("", [1, 2], 0)
    with pytest.raises(ValueError, match="do not ascend"):
        HistogramText("h", (1.0, 1.0))


# Anything at all.


def _numbers(found):
    for family in found:
        if family.kind is not Kind.HISTOGRAM:
            for labels, what in zip(family.labels, family.points, strict=True):
                yield (family.name, labels.pairs), what.value


@settings(max_examples=150, deadline=None)
@given(anything, st.sampled_from(Strategy), st.sampled_from(Escaping), st.booleans())
def test_any_page_is_read_back_as_it_was_meant(data, strategy, escaping, created) -> None:
    translation = Translation.settle(strategy, escaping)
    found = FamilyBook(translation, FamilyOptions(scope_labels=True)).families(data)
    read = text_samples(plain_text(found))
    # The parser gives every counter this ending, also one that has none.
    ended = {family.name: "_total" for family in found if family.kind is Kind.COUNTER if family.name[-6:] != "_total"}
    expected = {(name + ended.get(name, ""), pairs): value for (name, pairs), value in _numbers(found)}
    for key, value in expected.items():
        assert read[key] == value or (math.isnan(read[key]) and math.isnan(value))
    counts = {key: value for key, value in read.items() if key[0].endswith("_count") and key not in expected}
    histogram_series = sum(len(family.labels) for family in found if family.kind is Kind.HISTOGRAM)
    assert len(counts) == histogram_series
    strict = openmetrics_samples(openmetrics_text(found, created=created))
    shown = {each.family.name for each in expose(found)}
    for key, value in _numbers(family for family in found if family.name in shown):
        assert strict[key] == value or (math.isnan(strict[key]) and math.isnan(value))
