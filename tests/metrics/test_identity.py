"""What processes know streams and series by: the same bytes for the same thing, and other bytes for another."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelbridge.metrics._sdk import attribute_key, clean_attributes, describe_keys
from otelbridge.metrics.identity import StreamIdentity, StreamKey, decode_attributes, encode_attributes, key_of
from otelbridge.metrics.variants import spread
from otelbridge.metrics.view import View

_ATOMS = st.one_of(
    st.text(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.binary(),
    st.sampled_from([1, 1.0, True, "1", b"1", 0, 0.0, False, ""]),
)
_VALUES = st.one_of(_ATOMS, st.lists(_ATOMS, max_size=3), st.dictionaries(st.text(max_size=3), _ATOMS, max_size=2))
_SETS = st.dictionaries(st.text(max_size=5), _VALUES, max_size=4).map(clean_attributes)


@given(_SETS)
def test_an_attribute_set_comes_back_as_it_was(attributes) -> None:
    assert attribute_key(decode_attributes(encode_attributes(attributes))) == attribute_key(attributes)


@given(_SETS)
def test_the_order_of_attributes_does_not_matter(attributes) -> None:
    assert encode_attributes(dict(reversed(attributes.items()))) == encode_attributes(attributes)


@given(_SETS, _SETS)
def test_two_sets_are_the_same_exactly_where_the_sdk_says_so(left, right) -> None:
    same = attribute_key(left) == attribute_key(right)
    assert (encode_attributes(left) == encode_attributes(right)) == same


_KEY = StreamKey(
    scope="lib",
    version=None,
    schema_url="https://schema.test/1",
    scope_attributes="[]",
    instrument="histogram",
    name="m\nn",
    unit="s",
    kind="histogram",
    keep="",
    rule="sum",
)
_STREAM = StreamIdentity(_KEY, "é", (0.5, 1.0))


@pytest.mark.parametrize("bounds", [(), (0.5, 1.0)])
def test_a_stream_comes_back_as_it_was(bounds) -> None:
    identity = _STREAM._replace(bounds=bounds)
    assert StreamIdentity.decode(identity.encode()) == identity


_CHANGES_OF_THE_KEY: dict[str, Any] = {
    "scope": "x",
    "version": "1",
    "schema_url": None,
    "scope_attributes": '[["k","v"]]',
    "instrument": "counter",
    "name": "n",
    "unit": "",
    "kind": "sum",
    "keep": '["k"]',
    "rule": "livesum",
    "slot": 1,
    "occurrence": 1,
}
_OTHER_CHANGES: dict[str, Any] = {
    "description": "",
    "bounds": (1.0,),
    "extremes": False,
    "max_size": 160,
    "max_scale": 20,
    "limit": 10,
    "apart": 10,
    "forget_after": 5.0,
}


def test_what_makes_streams_one_is_apart_from_the_rest() -> None:
    others = [_STREAM._replace(key=_KEY._replace(**{field: value})) for field, value in _CHANGES_OF_THE_KEY.items()]
    assert len({key_of(each.encode()) for each in (_STREAM, *others)}) == len(_CHANGES_OF_THE_KEY) + 1
    assert _CHANGES_OF_THE_KEY.keys() == set(StreamKey._fields)


def test_what_is_no_part_of_the_key_makes_other_bytes_all_the_same() -> None:
    codes = {
        _STREAM.encode(),
        *(_STREAM._replace(**{field: value}).encode() for field, value in _OTHER_CHANGES.items()),
    }
    assert len(codes) == len(_OTHER_CHANGES) + 1
    assert {key_of(code) for code in codes} == {key_of(_STREAM.encode())}
    assert _OTHER_CHANGES.keys() | {"key"} == set(StreamIdentity._fields)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"attribute_keys": {"a", "b"}}, {"attribute_keys": {"b", "a"}}),
        ({}, {"attribute_keys": None}),
        ({"exclude_attribute_keys": ["a", "b"]}, {"exclude_attribute_keys": {"b", "a"}}),
    ],
)
def test_keys_that_a_view_keeps_are_told_alike(left, right) -> None:
    assert describe_keys(View(instrument_name="m", **left)) == describe_keys(View(instrument_name="m", **right))


def test_other_keys_are_told_in_other_words() -> None:
    kept: list[dict[str, Any]] = [
        {},
        {"attribute_keys": set()},
        {"attribute_keys": {"a"}},
        {"exclude_attribute_keys": {"a"}},
        {"attribute_keys": {"a", "b"}, "exclude_attribute_keys": {"a"}},
    ]
    assert len({describe_keys(View(instrument_name="m", **each)) for each in kept}) == len(kept)


_BOUNDS = st.lists(st.integers(0, 20), unique=True, max_size=5).map(lambda found: tuple(map(float, sorted(found))))


@settings(deadline=None)
@given(_BOUNDS, _BOUNDS, st.lists(st.integers(0, 21), max_size=20))
def test_buckets_among_others_hold_nothing_that_may_be_above(bounds, over, amounts) -> None:
    to = spread(bounds, over)
    assert (to is None) == (bounds == over)
    counts = [0] * (len(over) + 1)
    for amount in amounts:
        at = bisect_left(bounds, amount)
        counts[at if to is None else to[at]] += 1
    assert sum(counts) == len(amounts)
    for at, bound in enumerate(over):
        truth = sum(amount <= bound for amount in amounts)
        assert sum(counts[: at + 1]) <= truth
        if bound in bounds:
            assert sum(counts[: at + 1]) == truth


@given(st.binary())
def test_bytes_of_others_are_refused_and_nothing_else_happens(code) -> None:
    for read in (StreamIdentity.decode, decode_attributes):
        try:
            read(code)
        except ValueError:
            continue
        assert read is decode_attributes  # an empty list is an empty set


@pytest.mark.parametrize("code", [b"[]", b"{}", b'{"bounds":null}', b"null", b"1", b'{"scope":1}\n{}'])
def test_json_that_is_no_stream_is_refused(code) -> None:
    with pytest.raises(ValueError, match=r"."):
        StreamIdentity.decode(code)
