"""From collected metrics to families: clashes, collisions, scopes and resources, and what is remembered."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otelbridge.catalogue.naming import Strategy
from otelbridge.diagnostics import forget_warnings
from otelbridge.prometheus.families import FamilyBook, FamilyOptions
from otelbridge.prometheus.labels import LabelCache, Labeller
from otelbridge.prometheus.model import Kind
from otelbridge.prometheus.text import plain_text
from otelbridge.prometheus.translation import Escaping, Translation
from tests.prometheus.collected import (
    NOW,
    anything,
    collected,
    counter,
    exponential,
    gauge,
    histogram,
    histograms,
    number,
    scoped,
    text_samples,
    up_down,
)
from tests.prometheus.upstream import Both

pytestmark = pytest.mark.endtoend


@pytest.fixture(autouse=True)
def _told_anew():
    forget_warnings()


@pytest.fixture
def both():
    both = Both(scope_labels=True)
    yield both
    both.provider.shutdown()


def build(*metrics, book: FamilyBook | None = None, **more):
    return {family.name: family for family in (book or FamilyBook()).families(collected(*metrics, **more))}


def page(data, **options) -> bytes:
    return plain_text(FamilyBook(Translation(), FamilyOptions(target_info=False, **options)).families(data))


def told(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "otelbridge"]


def test_a_family_is_described_once(both, caplog) -> None:
    both.provider.get_meter("a").create_counter("errors", description="One.").add(1)
    both.provider.get_meter("b").create_counter("errors", description="Two.").add(1)
    text = page(both.data(), scope_labels=True)
    assert text.count(b"# HELP errors_total One.") == text.count(b"# TYPE errors_total counter") == 1
    assert b"Two." not in text
    assert len(text_samples(text)) == 2
    (message,) = told(caplog)
    assert "errors_total is described in two ways; the description 'One.' is shown, 'Two.' is not" in message


def test_everything_else_is_what_upstream_shows(both) -> None:
    meter = both.provider.get_meter("shop", "1.0", "https://example.test/schema", {"team": "x"})
    meter.create_counter("http.requests", "{request}", "Requests.").add(3, {"http.route": "/a", "ok": True})
    meter.create_counter("http.requests", "{request}", "Requests.").add(2.5, {"http.route": 'b"\\\n'})
    meter.create_up_down_counter("queue.size", "By", "Bytes\nwaiting.").add(-4)
    meter.create_gauge("load", "%").set(0.5, {"cpu": 1})
    meter.create_observable_gauge("age", [lambda _: []])
    latency = meter.create_histogram("latency", "s", explicit_bucket_boundaries_advisory=[0.1, 1.0, 2.5])
    for amount in (0.05, 0.1, 0.7, 9):
        latency.record(amount, {"http.route": "/a"})
    ours = page(both.data(), scope_labels=True)
    assert text_samples(ours) == text_samples(both.upstream())


# Families of one name.


@pytest.mark.parametrize(
    ("first", "second", "kept", "value"),
    [
        (counter("x", number(1)), gauge("x_total", number(2)), Kind.COUNTER, 1),
        (gauge("x_total", number(2)), counter("x", number(1)), Kind.GAUGE, 2),
        (gauge("x_total", number(2)), up_down("x_total", number(1), unit=""), Kind.GAUGE, 1),
    ],
)
def test_of_two_types_the_older_is_kept(first, second, kept, value, caplog) -> None:
    (family,) = build(first, second).values()
    assert family.kind is kept
    assert [point.value for point in family.points] == [value]
    assert len(told(caplog)) == 1


def test_a_clash_of_samples_costs_the_younger_and_only_it(caplog) -> None:
    book = FamilyBook()
    metrics = (
        histograms("q", histogram([1, 2], (1.0,))),
        up_down("q_count", number(5)),
        gauge("q", number(1)),
        gauge("fine", number(7)),
    )
    for _ in range(3):
        assert list(build(*metrics, book=book)) == ["q", "fine"]
    messages = told(caplog)
    assert len(messages) == 2
    assert "The instrument q_count is left out of the metrics page: as the gauge q_count it would clash" in messages[0]


def test_whoever_was_left_out_comes_in_when_the_other_is_gone() -> None:
    book = FamilyBook()
    old, young = counter("x", number(1)), gauge("x_total", number(2))
    assert [family.kind for family in build(old, young, book=book).values()] == [Kind.COUNTER]
    assert build(young, book=book) == {}
    assert [family.kind for family in build(young, book=book).values()] == [Kind.GAUGE]
    assert [family.kind for family in build(old, young, book=book).values()] == [Kind.GAUGE]


def test_the_age_of_families_does_not_depend_on_the_order_of_a_scrape() -> None:
    book = FamilyBook()
    old, young = counter("x", number(1)), gauge("x_total", number(2))
    build(old, book=book)
    assert [family.kind for family in build(young, old, book=book).values()] == [Kind.COUNTER]


def test_families_of_one_name_and_type_share_it_whatever_their_unit(caplog) -> None:
    metrics = counter("x", number(1, {"a": 1}), unit="s"), counter("x", number(2, {"a": 2}), unit="ms")
    family = build(*metrics, book=FamilyBook(Translation(Strategy.UTF8, Escaping.ALLOW_UTF8)))["x"]
    assert [point.value for point in family.points] == [1, 2]
    assert family.unit == ""  # the name does not end in it
    assert told(caplog) == []


def test_a_metric_without_points_is_not_shown() -> None:
    assert build(counter("x"), gauge("y"), histograms("z")) == {}


# Series of one set of labels.


@pytest.mark.parametrize(
    ("attributes", "labels"),
    [
        (({"v": 1}, {"v": True}, {"v": "1"}), {(("v", "1"),): 5, (("v", "true"),): 2}),
        (({"a.b": "x"}, {"a_b": "x"}, {}), {(("a_b", "x"),): 3, (): 4}),
        (({"a": ""}, {}, {"b": None}), {(): 7}),
    ],
)
def test_counters_with_the_same_labels_are_added(attributes, labels, caplog) -> None:
    points = [number(2**at, each) for at, each in enumerate(attributes)]
    family = build(counter("c", *points))["c_total"]
    found = {labels.pairs: point.value for labels, point in zip(family.labels, family.points, strict=True)}
    assert found == labels
    (message,) = told(caplog)
    assert "they are shown as one, added up" in message


def test_one_attribute_set_given_twice_is_one_series() -> None:
    book, same = FamilyBook(), {"a": "b"}
    build(counter("c", number(1, same), number(2, {"a": "c"})), book=book)
    assert [
        point.value for point in build(counter("c", number(1, same), number(2, same)), book=book)["c_total"].points
    ] == [3]


def test_series_of_two_scopes_are_added_without_scope_labels() -> None:
    scopes = [scoped(InstrumentationScope(name), counter("c", number(2, {"k": "v"}))) for name in "ab"]
    assert text_samples(page(collected(*scopes))) == {("c_total", (("k", "v"),)): 4}
    assert len(text_samples(page(collected(*scopes), scope_labels=True))) == 2


def test_of_gauges_with_the_same_labels_the_latest_is_shown(caplog) -> None:
    points = [number(1, {"a.b": 1}, time=NOW), number(2, {"a_b": 1}, time=NOW + 5), number(3, {"a-b": 1}, time=NOW - 5)]
    assert [point.value for point in build(gauge("g", *points))["g"].points] == [2]
    assert "the latest is shown" in told(caplog)[0]


def test_histograms_with_the_same_labels_are_added_bucket_by_bucket() -> None:
    (point,) = build(
        histograms("h", histogram([1, 2], (1.0,), 4.5, {"a.b": 1}), histogram([10, 20], (1.0,), 45.0, {"a_b": 1}))
    )["h"].points
    assert (point.bucket_counts, point.sum, point.count) == ([11, 22], 49.5, 33)


def test_exponential_histograms_with_the_same_labels_are_added_at_the_coarser_scale() -> None:
    one = exponential(3, {8: 2, 9: 1}, {0: 1}, zero=1, total=1.0, attributes={"a.b": 1})
    two = exponential(2, {4: 5}, zero=2, total=2.0, attributes={"a_b": 1})
    three = exponential(0, {1: 1}, total=4.0, attributes={"a-b": 1})
    (point,) = build(histograms("h", one, two, three))["h"].points
    assert (point.scale, point.positive, point.negative) == (0, {1: 9}, {0: 1})
    assert (point.zero_count, point.sum, point.count) == (3, 7.0, 13)


@pytest.mark.parametrize(
    ("other", "buckets"),
    [
        (histogram([10, 20], (2.0,), 45.0, {"a_b": 1}), [1, 12, 24]),
        (histogram([10, 20, 30], (1.0, 3.0), 45.0, {"a_b": 1}), [11, 2, 54]),
        (exponential(0, {0: 5, -1: 6, 1: 7}, zero=3, total=45.0, attributes={"a_b": 1}), [10, 7, 11]),
    ],
)
@pytest.mark.parametrize("exponential_first", [False, True])
def test_of_histograms_with_other_buckets_each_count_goes_where_it_is_sure_to_lie(
    other, buckets, exponential_first
) -> None:
    older = histogram([1, 2, 4], (1.0, 2.0), 4.5, {"a.b": 1})
    given = [older, other]
    if exponential_first and hasattr(other, "scale"):
        given.reverse()
    (point,) = build(*(histograms("h", each) for each in given))["h"].points
    assert (point.explicit_bounds, point.bucket_counts) == ((1.0, 2.0), buckets)
    assert (point.count, point.sum) == (older.count + other.count, 49.5)


# Values and attributes nobody should record.


@pytest.mark.parametrize("value", ["5", None, [], 10**400, object()])
@pytest.mark.parametrize("make", [counter, gauge, up_down])
def test_a_value_that_is_none_costs_only_its_series(make, value, caplog) -> None:
    (family,) = build(make("x", number(1, {"a": 1}), number(value, {"a": 2}), number(2.5, {"a": 3}))).values()
    assert [point.value for point in family.points] == [1, 2.5]
    assert len(told(caplog)) == 1


@pytest.mark.parametrize("value", [-1, -0.5, float("nan"), -(10**30)])
def test_a_counter_is_zero_or_more(value, caplog) -> None:
    assert [point.value for point in build(counter("x", number(value), number(1, {"a": 1})))["x_total"].points] == [1]
    assert len(told(caplog)) == 1
    assert [point.value for point in build(gauge("y", number(value, {"b": 1})))["y"].points] == [value]


class _Half(float):
    def __repr__(self) -> str:
        raise RuntimeError


def test_values_become_plain_numbers() -> None:
    found = build(gauge("x", number(True, {"a": 1}), number(_Half(0.5), {"a": 2})))["x"].points
    assert [(type(point.value), point.value) for point in found] == [(int, 1), (float, 0.5)]


class _Unwritable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_attributes_that_cannot_be_written_cost_only_their_series(caplog) -> None:
    book = FamilyBook()
    bad, good = {"a": _Unwritable()}, {"a": "b"}
    for _ in range(3):
        found = build(counter("x", number(1, bad), number(2, good)), book=book)["x_total"]
        assert [point.value for point in found.points] == [2]
    assert len(told(caplog)) == 1


def test_points_that_are_none_cost_only_their_instrument(caplog) -> None:
    book = FamilyBook()
    for _ in range(2):
        assert list(build(counter("x", None), histograms("z", object()), gauge("y", number(1)), book=book)) == ["y"]
    assert len(told(caplog)) == 2
    assert "x is left out of the metrics page, since its data cannot be read" in told(caplog)[0]


def test_data_of_an_unknown_kind_is_left_out(caplog) -> None:
    metric = counter("x", number(1))
    object.__setattr__(metric, "data", SimpleNamespace(data_points=()))
    assert list(build(metric, gauge("y", number(1)))) == ["y"]
    assert "has no form in Prometheus" in told(caplog)[0]


# Scopes and resources.


def test_scope_labels() -> None:
    scope = InstrumentationScope("web", "2.0", "https://schema", {"team": "x", "name": "evil", "a.b": 1, "a_b": 2})
    metric = scoped(scope, counter("c", number(1, {"otel.scope.name": "mine"})))
    plain = {"otel_scope_schema_url": "https://schema", "otel_scope_version": "2.0"}
    ((_, labels),) = text_samples(page(collected(metric)))
    assert dict(labels) == {"otel_scope_name": "mine"}
    ((_, labels),) = text_samples(page(collected(metric), scope_labels=True, scope_attributes=False))
    assert dict(labels) == {**plain, "otel_scope_name": "mine;web"}
    ((_, labels),) = text_samples(page(collected(metric), scope_labels=True))
    assert dict(labels) == {
        **plain,
        "otel_scope_name": "mine;web",
        "otel_scope_team": "x",
        "otel_scope_a_b": "1;2",
    }


def test_the_resource_is_target_info_and_chosen_attributes_are_labels() -> None:
    resource = {"service.name": "shop", "host.id": 7, "le": "x", "empty": ""}
    options = FamilyOptions(resource_labels=frozenset({"host.id", "le", "absent"}))
    metrics = (
        histograms("h", histogram([1], (), 1.0)),
        counter("target_info", number(1)),
        gauge("target.info", number(1)),
    )
    families = FamilyBook(Translation(), options).families(collected(*metrics, resource=resource))
    assert [family.name for family in families] == ["target_info", "h", "target_info_total"]
    assert families[0].kind is Kind.INFO
    assert families[0].labels[0].pairs == (("host_id", "7"), ("le", "x"), ("service_name", "shop"))
    assert families[1].labels[0].pairs == (("exported_le", "x"), ("host_id", "7"))
    assert families[2].labels[0].pairs == (("host_id", "7"), ("le", "x"))


def test_no_target_info_of_an_empty_resource_or_when_it_is_off() -> None:
    assert build(gauge("g", number(1))).keys() == {"g"}
    book = FamilyBook(Translation(), FamilyOptions(target_info=False))
    assert build(gauge("g", number(1)), book=book, resource={"a": "b"}).keys() == {"g"}
    assert FamilyBook().families(None) == []


def test_a_new_resource_is_shown() -> None:
    book = FamilyBook()
    for name in ("one", "two"):
        families = book.families(collected(gauge("g", number(1)), resource={"service.name": name}))
        assert families[0].labels[0].pairs == (("service_name", name),)


# What is remembered.


def test_labels_are_made_once_for_each_series_and_forgotten_with_it() -> None:
    made = []

    class Counting(Labeller):
        def pairs(self, attributes):
            made.append(attributes)
            return super().pairs(attributes)

    class Attributes(dict):
        """Can be weakly referenced."""

    cache = LabelCache(Counting(Translation()), {}, "x")
    sets = [Attributes(a=at) for at in range(5)]
    first = cache.find(sets)
    assert cache.find(sets) == first
    assert cache.find(sets[::-1]) == first[::-1]
    assert len(made) == 5
    assert cache.find(sets[:2]) == first[:2]
    assert len(cache) == 2
    made.clear()
    gone = weakref.ref(sets[4])
    del sets[2:]
    gc.collect()
    assert gone() is None


def test_memory_does_not_grow_with_series_that_come_and_go() -> None:
    book = FamilyBook()
    for at in range(50):
        points = [number(1, {"at": at * 10 + each}) for each in range(10)]
        family = build(counter("c", *points), gauge(f"g{at}", number(1)), book=book)["c_total"]
        assert len(family.labels) == 10
    assert len(book._known) == 2
    assert len(book._shelves) == 2
    assert sorted(book._owners) == ["c_total", "g49"]
    assert len(book._shelves["c_total"].interned) == 10


def test_labels_stay_the_same_objects_from_scrape_to_scrape() -> None:
    book = FamilyBook()
    metrics = (counter("c", number(1, {"a": 1}), number(2, {"a": 2})),)
    one, two = (build(*metrics, book=book)["c_total"].labels for _ in range(2))
    assert [id(labels) for labels in one] == [id(labels) for labels in two]


@settings(max_examples=150, deadline=None)
@given(anything, st.sampled_from(Strategy), st.sampled_from(Escaping), st.booleans())
def test_anything_can_be_collected(data, strategy, escaping, scope_labels) -> None:
    options = FamilyOptions(scope_labels=scope_labels, resource_labels=frozenset({"le", "a.b"}))
    book = FamilyBook(Translation.settle(strategy, escaping), options)
    families = book.families(data)
    again = book.families(data)
    assert [family.name for family in families] == [family.name for family in again]
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    for family in families:
        assert len(family.labels) == len(family.points) > 0
        pairs = [labels.pairs for labels in family.labels]
        assert len(set(pairs)) == len(pairs)
        for each in pairs:
            keys = [key for key, _ in each]
            assert keys == sorted(set(keys))
            assert all(value for _, value in each)
            assert family.kind is not Kind.HISTOGRAM or "le" not in keys


_alike = st.dictionaries(st.sampled_from(["a.b", "a_b", "a-b", "c"]), st.sampled_from([1, True, "1", "", None]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(_alike, st.integers(0, 9)), min_size=1))
def test_nothing_counted_is_lost_to_collisions(recorded) -> None:
    total = sum(amount for _, amount in recorded)
    points = [number(amount, attributes) for attributes, amount in recorded]
    counts = [histogram([amount, 1], (1.0,), 1.0, attributes) for attributes, amount in recorded]
    families = build(counter("c", *points), histograms("h", *counts))
    assert sum(point.value for point in families["c_total"].points) == total
    assert sum(sum(point.bucket_counts) for point in families["h"].points) == total + len(recorded)
