"""Attributes on the wire: whatever they are, the request can be read, and says what can be said of them."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from otelbridge.diagnostics import forget_warnings
from otelbridge.otlp.values import AttributeCache, attributes, text

FIELD = NumberDataPoint.DESCRIPTOR.fields_by_name["attributes"].number

keys = st.text(max_size=8)
scalars = st.one_of(
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.binary(max_size=8),
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
clean_keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def read(encoded: bytes) -> dict:
    return {each.key: plain(each.value) for each in NumberDataPoint.FromString(encoded).attributes}


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    if kind == "kvlist_value":
        return {each.key: plain(each.value) for each in value.kvlist_value.values}
    return None if kind is None else getattr(value, kind)


def expected(value):
    if isinstance(value, dict):
        return {key.encode("utf-8", "replace").decode(): expected(each) for key, each in value.items()}
    return [expected(each) for each in value] if isinstance(value, list) else value


@given(st.dictionaries(clean_keys, values, max_size=4))
def test_what_otlp_can_say_is_said(given_attributes) -> None:
    found = read(attributes(FIELD, given_attributes))
    assert found == expected(given_attributes)
    for key, value in given_attributes.items():
        assert type(found[key]) is type(value)


anything = st.recursive(
    st.one_of(scalars, st.text(), st.integers(), st.floats(), st.builds(object), st.complex_numbers()),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.sets(st.integers()) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.one_of(st.text(), st.integers(), st.none()), anything, max_size=4))
def test_whatever_they_are_the_rest_can_be_read(given_attributes) -> None:
    found = NumberDataPoint.FromString(attributes(FIELD, {"first": 1, **given_attributes, "last": 2})).attributes
    assert (found[0].key, found[-1].key) == ("first", "last")
    assert len(found) <= len(given_attributes) + 2


@pytest.mark.parametrize(("number", "written"), [(2**63, str(2**63)), (-(2**63) - 1, str(-(2**63) - 1)), (-1, -1)])
def test_a_number_that_does_not_fit_still_tells_series_apart(number, written) -> None:
    assert read(attributes(FIELD, {"n": number})) == {"n": written}


def test_half_a_surrogate_pair_becomes_a_question_mark() -> None:
    assert read(attributes(FIELD, {"a\ud800": "b\ud800"})) == {"a?": "b?"}
    assert text(1, "\udcff") == text(1, "?")


def test_no_attributes() -> None:
    assert attributes(FIELD, None) == attributes(FIELD, {}) == b""


class _Unfit:
    def __repr__(self) -> str:
        return "s3cret"

    def __str__(self) -> str:
        raise ValueError("s3cret")


def test_what_otlp_has_no_form_for_is_left_out_and_said_once_without_its_words(caplog) -> None:
    forget_warnings()
    looped: list[object] = []
    looped.append(looped)
    strange = {"a": _Unfit(), "b": [_Unfit()], "c": looped, "d": 1}
    assert [read(attributes(FIELD, strange)) for _ in range(3)] == [{"d": 1}] * 3
    assert len(caplog.records) == 3  # one for each kind of trouble
    assert "s3cret" not in caplog.text


def points(*given_attributes) -> list[SimpleNamespace]:
    return [SimpleNamespace(attributes=each) for each in given_attributes]


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), max_size=8))
def test_what_is_remembered_is_what_would_be_written(rounds) -> None:
    sets = [{"number": number} for number in range(6)]
    cache = AttributeCache(FIELD)
    for numbers in rounds:
        current = [sets[number] for number in numbers]
        assert cache.find(points(*current)) == [attributes(FIELD, each) for each in current]


def test_equal_sets_that_are_other_objects_are_not_confused_when_memory_is_used_again() -> None:
    cache = AttributeCache(FIELD)
    for number in range(2000):
        (found,) = cache.find(points({"number": number}))
        assert read(found) == {"number": number}
        gc.collect(0)


def test_what_comes_no_more_is_forgotten_in_time() -> None:
    cache = AttributeCache(FIELD)
    stays = {"stays": True}
    for number in range(1000):
        cache.find(points(stays, {"number": number}))
        assert len(cache) <= 110
    assert cache.find(points(stays)) == [attributes(FIELD, stays)]
