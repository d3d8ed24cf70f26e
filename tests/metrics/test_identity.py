"""What processes know streams and series by: the same bytes for the same thing, and other bytes for another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.metrics._sdk import attribute_key, clean_attributes
from otelbridge.metrics.identity import StreamIdentity, decode_attributes, encode_attributes

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


def _identity(**changes: object) -> StreamIdentity:
    fields: dict = {
        "scope": "lib",
        "version": None,
        "schema_url": "https://schema.test/1",
        "scope_attributes": "[]",
        "instrument": "histogram",
        "name": "m",
        "unit": "s",
        "description": "é",
        "boundaries": (0.5, 1.0),
        "view": -1,
        "kind": "histogram",
        "details": "[]",
    }
    return StreamIdentity(**{**fields, **changes})


@pytest.mark.parametrize("boundaries", [None, (), (0.5, 1.0)])
def test_a_stream_comes_back_as_it_was(boundaries) -> None:
    identity = _identity(boundaries=boundaries)
    assert StreamIdentity.decode(identity.encode()) == identity


def test_streams_that_differ_in_anything_have_other_bytes() -> None:
    changes = [
        {field: value}
        for field, value in {
            "scope": "x",
            "version": "1",
            "schema_url": None,
            "scope_attributes": '[["k","v"]]',
            "instrument": "counter",
            "name": "n",
            "unit": "",
            "description": "",
            "boundaries": None,
            "view": 0,
            "kind": "sum",
            "details": "[1]",
        }.items()
    ]
    codes = {_identity().encode(), *(_identity(**change).encode() for change in changes)}
    assert len(codes) == len(changes) + 1


@given(st.binary())
def test_bytes_of_others_are_refused_and_nothing_else_happens(code) -> None:
    for read in (StreamIdentity.decode, decode_attributes):
        try:
            read(code)
        except ValueError:
            continue
        assert read is decode_attributes  # an empty list is an empty set


@pytest.mark.parametrize("code", [b"[]", b"{}", b'{"boundaries":null}', b"null", b"1", b'{"scope":1}'])
def test_json_that_is_no_stream_is_refused(code) -> None:
    with pytest.raises(ValueError, match=r"."):
        StreamIdentity.decode(code)
