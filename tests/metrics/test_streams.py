"""Look-ups of series: what is remembered, and that it stays bounded."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.finders import Finder
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.limits import Terms
from otelbridge.metrics.streams import OVERFLOW, Stream

_VALUES = st.one_of(st.sampled_from(["a", "b", "", "1", 1, True, 1.0, 0, False, 0.0, b"1", -1]), st.text(max_size=3))
_SETS = st.dictionaries(st.sampled_from("abc"), _VALUES, min_size=1)


def _stream(keep: frozenset[str] | None = None, limit: int = 2000) -> Stream:
    return Stream("s", Kind("sum"), keep, Terms(limit))


@given(st.lists(_SETS, max_size=40))
def test_a_remembered_series_is_the_one_the_stream_would_find(sets) -> None:
    stream = _stream()
    finder = Finder(stream)
    for attributes in [*sets, *sets, *[dict(reversed(attributes.items())) for attributes in sets]]:
        assert finder.find(attributes) is stream.find(attributes)


@given(st.lists(_SETS, max_size=40))
def test_a_view_maps_sets_to_what_it_keeps(sets) -> None:
    stream = _stream(frozenset("a"))
    finder = Finder(stream)
    for attributes in sets:
        assert dict(finder.find(attributes).attributes).keys() == attributes.keys() & {"a"}


def test_sets_over_the_limit_share_one_series_and_known_ones_keep_theirs(caplog) -> None:
    forget_warnings()
    stream = _stream(limit=3)
    finder = Finder(stream)
    first = [finder.find({"k": str(number), "same": "x"}) for number in range(3)]
    over = {id(finder.find({"k": str(number), "same": "x"})) for number in range(3, 50)}
    assert len(over) == 1
    assert [finder.find({"k": str(number), "same": "x"}) for number in range(3)] == first
    assert stream.all()[-1].attributes == OVERFLOW
    assert len(stream.all()) == 4
    assert caplog.text.count("limit of 3 attribute sets") == 1
    assert "most values is k" in caplog.text


def test_what_a_view_drops_is_not_remembered_without_end() -> None:
    finder = Finder(_stream(frozenset({"kept"})))
    finder.find({"kept": "x", "dropped": "first"})
    gc.collect()
    tracemalloc.start()
    for number in range(30_000):
        finder.find({"kept": "x", "dropped": f"{number}"})
        if number % 10 == 0:
            finder.find({"kept": "x", "dropped": f"{number}" + "x" * 10_000})
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 6_000_000


def test_a_forked_child_begins_at_zero() -> None:
    stream = _stream()
    series = stream.find({"k": "v"})
    series.whole = 7
    stream.after_fork()
    assert (stream.find({"k": "v"}), series.value) == (series, 0)


@pytest.mark.parametrize(
    "kind", [Kind("sum"), Kind("last"), Kind("histogram", (1.0,)), Kind("exponential", max_size=160)]
)
def test_a_series_without_a_cell_to_be_had_records_on_by_itself(kind) -> None:
    series = kind.new_series()({"k": "v"}, 0)
    series.await_cell(lambda one: one.attach(None))
    for amount in (0.5, 2, 0.25):
        series.record(amount)
    assert not series.silent
    assert series.value == 0.25 if kind.name == "last" else total_of(series) == 2.75


def total_of(series) -> float:
    return series.value if hasattr(series, "value") else series.sum
