"""What is kept from page to page: faster, but never another page."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.metrics.current import Current
from otelbridge.metrics.provider import MeterProvider
from otelbridge.prometheus.digits import all_counted, all_plain
from otelbridge.prometheus.exposition import write
from otelbridge.prometheus.families import FamilyBook
from otelbridge.prometheus.negotiation import Format, Syntax
from otelbridge.prometheus.reader import PrometheusReader, _Books
from otelbridge.prometheus.samples import Frame, HistogramText, SampleText
from otelbridge.prometheus.text import plain_text
from otelbridge.prometheus.translation import Translation
from tests.prometheus.collected import collected, counter, number

TEXT = Format(Syntax.TEXT, "0.0.4")
OPENMETRICS = Format(Syntax.OPENMETRICS, "1.0.0")
FORMS = [TEXT, OPENMETRICS, Format(Syntax.PROTOBUF, "1.0.0")]

_label_texts = st.text("ab%\\{} \0\ue000é", max_size=8)
_values = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)


@given(st.text(max_size=8), st.lists(st.tuples(_label_texts, _values, _values), min_size=1))
def test_a_frame_writes_what_is_written_line_by_line(name, rows) -> None:
    labels = [text for text, *_ in rows]
    frame = Frame()
    for at in (1, 2):
        values = [row[at] for row in rows]
        assert frame.lines(name, labels, values) == SampleText(name).lines(labels, values)
    assert frame.lines(f"{name}_", labels, values) == SampleText(f"{name}_").lines(labels, values)
    with pytest.raises(ValueError, match="extended slice"):
        frame.lines(f"{name}_", labels, [*values, 1])


@given(
    st.text(max_size=8),
    st.lists(st.integers(-5, 5), unique=True).map(sorted),
    st.booleans(),
    st.lists(st.tuples(_label_texts, st.randoms(use_true_random=False), _values)),
)
def test_a_block_of_histograms_is_each_of_them(name, bounds, closed, rows) -> None:
    text = HistogramText(name, [*map(float, bounds), *([float("inf")] if closed else [])])
    width = len(bounds) + 1 + closed
    labels, totals = [row[0] for row in rows], [row[2] for row in rows]
    counts = [[random.randrange(9) for _ in range(width)] for _, random, _ in rows]
    one_by_one = [text.lines(*row) for row in zip(labels, counts, totals, strict=True)]
    assert text.block(labels, counts, totals) == one_by_one


@pytest.mark.parametrize("counts", [[1], [1, 2, 3], []])
def test_a_block_with_counts_that_do_not_fit_is_none(counts) -> None:
    with pytest.raises((TypeError, ValueError, IndexError)):
        HistogramText("h", [1.0]).block(["a"], [counts], [1.5])


_any_value: Any = st.one_of(_values, st.booleans(), st.none(), st.text(), st.floats(), st.just(10**400))


@given(st.lists(_any_value))
def test_values_a_counter_may_have(values) -> None:
    assert all_counted(values) == (all_plain(values) and all(value >= 0 for value in values))


class Pages:
    """Pages of a reader that has rendered before, beside those of one that has not."""

    def __init__(self) -> None:
        self.old = PrometheusReader()
        self.provider = MeterProvider([self.old], shutdown_on_exit=False)
        self.meter = self.provider.get_meter("m")

    def same(self) -> str:
        """Compare them in all formats; gives that in plain text."""
        for form in FORMS:
            books = _Books(Translation.settle(self.old._strategy, form.escaping), self.old._options)
            new = self.provider.visit(self.old, lambda storage, to=books: self.old._build(to, *Current().read(storage)))
            assert self.old.render(form).body == write(new, form)
        return self.old.render(TEXT).body.decode()


@pytest.fixture
def pages():
    made = Pages()
    yield made
    made.provider.shutdown()


def test_pages_follow_values_and_series(pages) -> None:
    requests: Any = pages.meter.create_counter("c")
    gauge: Any = pages.meter.create_gauge("g")
    histogram: Any = pages.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1.0, 2.0])
    for step in range(6):
        for each in range(step % 4 + 1):
            attributes = {"a": f'{each}%s"\\\n'}
            requests.add(step + 0.5 * (step % 2), attributes)
            gauge.set([1, float("nan"), -1.5, float("inf"), 10**20, 0][step], attributes)
            histogram.record(each - 0.5, attributes)
        assert pages.same() == pages.same()
    shown = pages.same()
    requests.remove({"a": '0%s"\\\n'})
    left = pages.same()
    assert shown.count("\nc_total{") == 4
    assert left.count("\nc_total{") == 3
    requests.add(7, {"a": "new"})
    assert 'c_total{a="new"' in pages.same()


def test_streams_that_become_one_family_stay_right(pages) -> None:
    one: Any = pages.meter.create_counter("c", unit="1")
    other: Any = pages.provider.get_meter("m").create_counter("c", description="x")
    for _ in range(3):
        one.add(1, {"a": "1"})
        other.add(1, {"a": "2"})
        pages.same()
    assert pages.same().count("\nc_total{") == 2


def test_exemplars_and_sums_below_zero_are_looked_at_one_by_one(pages) -> None:
    histogram: Any = pages.meter.create_histogram("h", explicit_bucket_boundaries_advisory=[1.0])
    histogram.record(3, {"a": "up"})
    assert b"h_sum{" in pages.old.render(OPENMETRICS).body
    histogram.record(-3, {"a": "down"})
    page = pages.old.render(OPENMETRICS).body.decode()
    assert 'h_sum{a="up"' in page
    assert 'h_sum{a="down"' not in page
    pages.same()


def test_what_is_kept_goes_with_its_series(pages) -> None:
    requests: Any = pages.meter.create_counter("c")
    for round_ in range(5):
        for each in range(20):
            requests.add(1, {"a": f"{round_} {each}"})
        pages.old.render(TEXT)
        pages.old.render(TEXT)
        for each in range(20):
            requests.remove({"a": f"{round_} {each}"})
        requests.add(1, {"a": "lasting"})
    pages.old.render(TEXT)
    pages.old.render(TEXT)
    [books] = pages.old._books.values()
    book = books.families
    shelf = book._shelves["c_total"]
    assert len(shelf.interned) == len(shelf._before) == 1
    assert len(shelf._frame._parts) == 3


def test_sets_whose_values_cannot_be_shown_are_not_kept() -> None:
    book, good = FamilyBook(), {"a": "good"}
    for each in range(30):
        [family] = book.families(collected(counter("c", number(1, good), number(float("nan"), {"a": str(each)}))))
        assert plain_text([family]) == b'# TYPE c_total counter\nc_total{a="good"} 1\n'
    assert len(book._shelves["c_total"].interned) == 1
