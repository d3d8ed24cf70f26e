"""What a measurement may be: the same by a bound handle, by attributes, and in every process of a group."""

from __future__ import annotations

import enum
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    LastValueAggregation,
    SumAggregation,
    View,
)

from otelbridge.metrics.provider import MeterProvider
from tests.metrics.group import VERBS

AGGREGATIONS = {
    "own": None,
    "sum": SumAggregation(),
    "last": LastValueAggregation(),
    "explicit": ExplicitBucketHistogramAggregation([0, 10]),
    "exponential": ExponentialBucketHistogramAggregation(),
}


class Level(enum.IntEnum):
    HIGH = 3


class Share(float):
    def __radd__(self, other: Any) -> Any:
        raise RuntimeError("no sum")

    __add__ = __radd__


class Number:
    """A number as other packages have them."""

    def __init__(self, value: float) -> None:
        self._value = value

    def __float__(self) -> float:
        return self._value


_floats = st.floats()
AMOUNTS = st.one_of(
    *(st.integers(), _floats, st.booleans(), st.text(max_size=3), st.none(), st.complex_numbers(), st.decimals()),
    *(
        st.fractions(),
        st.builds(Share, _floats),
        st.builds(Number, _floats),
        st.sampled_from([Level.HIGH, [], object()]),
    ),
    st.builds(
        lambda base, shift, sign: sign * (base << shift),
        st.integers(0, 9),
        st.integers(50, 1100),
        st.sampled_from([1, -1]),
    ),
)


def _shown(aggregation: Any, kind: str, amounts: list[Any], *, bound: bool) -> str:
    reader = InMemoryMetricReader()
    views = [View(instrument_name="*", aggregation=aggregation)] if aggregation else ()
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False)
    instrument = getattr(provider.get_meter("lib"), f"create_{kind}")("i")
    record = getattr(instrument.bind() if bound else instrument, VERBS[kind])
    for amount in amounts:
        record(amount)
    data = reader.get_metrics_data()
    provider.shutdown()
    if not data or not data.resource_metrics:
        return "nothing"
    ((metric,),) = (scope.metrics for scope in data.resource_metrics[0].scope_metrics)
    (point,) = metric.data.data_points
    if hasattr(point, "value"):
        return repr(point.value)
    buckets = point.bucket_counts if hasattr(point, "bucket_counts") else (point.scale, point.positive, point.negative)
    return repr((point.sum, point.count, buckets, point.min, point.max))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("kind", VERBS)
@settings(max_examples=60, deadline=None)
@given(amounts=st.lists(AMOUNTS, min_size=1, max_size=3))
@example(amounts=[10**400])
@example(amounts=[-(10**400)])
@example(amounts=[2**63, -(2**63)])
@example(amounts=[2**1023, 2**1023])
def test_a_handle_takes_what_the_instrument_takes(aggregation: str, kind: str, amounts: list[Any]) -> None:
    by_handle, by_attributes = (_shown(AGGREGATIONS[aggregation], kind, amounts, bound=each) for each in (True, False))
    assert by_handle == by_attributes


@pytest.mark.parametrize("amount", [Decimal("0.5"), Fraction(1, 2), Share(0.5), Number(0.5)], ids=repr)
def test_numbers_of_other_packages_count(amount: Any) -> None:
    assert _shown(None, "counter", [amount], bound=True) == "0.5"


LARGE = 2**53 + 1


@pytest.mark.parametrize(("kind", "shown"), [("gauge", 2**53), ("histogram", 2**53)])
def test_whole_numbers_beyond_a_double_are_rounded_in_every_process(start, kind: str, shown: int) -> None:
    first, second = start(2)
    first("record", kind, "m", [LARGE])
    second("record", "counter", "c", [1])
    for worker in (first, second):
        value = worker("collect")["m"][()]
        assert (value if kind == "gauge" else value[1]) == shown


def test_observed_whole_numbers_are_rounded_in_every_process(start) -> None:
    first, second = start(2, [{"instrument_name": "o", "merge": "sum"}])
    second("record", "counter", "c", [1])
    first("observe", "gauge", "o", (LARGE, None))
    first("collect")
    shown = [worker("collect")["o"] for worker in (first, second)]
    assert shown == [{(): 2**53}] * 2
