"""The recording path: from a call with an amount and attributes to the series it belongs to.

Everything here runs once a measurement, in application code. So the steps are written out in one closure
where a call would cost as much as the work, checks are made so that the common case pays for two
comparisons, and nothing takes a lock, reads a clock or a context unless an exemplar may be wanted.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf
from typing import TYPE_CHECKING, Any

from otelbridge.metrics import exemplars
from otelbridge.metrics._sdk import clean_attributes
from otelbridge.metrics.amounts import exact, reject
from otelbridge.metrics.finders import Finder
from otelbridge.metrics.inlining import inlined
from otelbridge.metrics.series import LOCK_FREE, HistogramSeries, SumSeries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.util.types import Attributes

    from otelbridge.metrics.series import Series
    from otelbridge.metrics.streams import Stream

    Write = Callable[..., None]
    BoundWrite = Callable[[float], None]
    Offer = Callable[[float, Attributes, Context | None, Series], None]
    Watch = Callable[[], bool]


LARGE = 2**63
"""Whole numbers below need no look whether a float could hold them."""


def nothing(amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
    """Take a measurement nobody wants."""


def create_check(name: str, *, signed: bool, floats: bool = False) -> Callable[[object], int | float | None]:
    """Make the check for amounts that are not plainly right.

    Args:
        name: The instrument, for reports.
        signed: Whether negative amounts are welcome.
        floats: Whether amounts are added to floats, so that the sum of large ints may not outgrow what these can hold.

    Returns:
        A function that gives the exact amount, or None after reporting why it is left out.
    """

    def check(amount: object) -> int | float | None:
        value = exact(amount)
        if value is None or value != value or value in (inf, -inf):  # noqa: PLR0124  # NaN
            reject(name, amount, negative=False)
            return None
        if value < 0 and not signed:
            reject(name, amount, negative=True)
            return None
        return float(value) if floats and not -LARGE < value < LARGE else value

    return check


@inlined(SumSeries.add_int, SumSeries.add_float, HistogramSeries.add_between)
def create_writer(stream: Stream, name: str, *, signed: bool, watch: Watch | None, offer: Offer) -> Write:
    """Make what records into a stream.

    Args:
        stream: Where to.
        name: The instrument, for reports.
        signed: Whether negative amounts are welcome.
        watch: Tells whether an exemplar may be wanted now; None means never.
        offer: Takes what may become an exemplar.

    Returns:
        A function of amount, attributes and context. It raises nothing for any amount or attributes.
    """
    check = create_check(name, signed=signed, floats=stream.kind.name == "histogram")
    finder = Finder(stream)
    entries = finder.by_schema
    fetch: Any = None
    width, single = -1, False
    plain: Any = None
    summing, bounds = LOCK_FREE and stream.kind.name == "sum", stream.kind.bounds
    histogram = LOCK_FREE and stream.kind.name == "histogram"
    # What it tells, without the call, which would cost a third of a bound recording.
    traced = watch is exemplars.within_span

    def learn(attributes: Any) -> Any:
        nonlocal fetch, width, single
        series = finder.find(attributes)
        # In this order, because another thread that sees the last relies on the others.
        single = finder.single
        width = finder.width
        fetch = finder.fetch
        return series

    def write(amount: Any, attributes: Any = None, context: Context | None = None) -> None:
        nonlocal plain
        if type(amount) is int:
            if not (0 <= amount < LARGE or (signed and -LARGE < amount < 0)):
                amount = check(amount)
                if amount is None:
                    return
        elif type(amount) is not float or not (0.0 <= amount < inf or (signed and -inf < amount < 0.0)):
            amount = check(amount)
            if amount is None:
                return
        if attributes.__class__ is not dict and attributes is not None:
            attributes = clean_attributes(attributes)
        if attributes:
            try:
                values = fetch(attributes)
                entry = entries[values]
                if len(attributes) == width and type(values if single else values[entry.at]) is entry.type:
                    series = entry.series
                else:
                    series = learn(attributes)
            except (KeyError, TypeError):
                series = learn(attributes)
        elif plain is not None:
            series = plain
        else:
            series = plain = stream.find(None)
        if summing:
            # `inlined` puts the statements of the series here, such as ``cells[series.ints_at] = value``, on this line.
            if amount.__class__ is int:
                series.add_int(amount)
            else:
                series.add_float(amount)
        elif histogram:
            at = bisect_left(bounds, amount)
            if series.min <= amount and amount <= series.max:
                series.add_between(at, amount)
            else:
                series.widen(at, amount)
        else:
            series.record(amount)
        if traced:
            if exemplars.spans is not None or context is not None:
                offer(amount, attributes, context, series)
        elif watch is not None and watch():
            offer(amount, attributes, context, series)

    return write


def join(writers: Sequence[Write]) -> Write:
    """Make one writer of several.

    Args:
        writers: One a stream.

    Returns:
        `nothing` for none, the writer itself for one, else one that calls them in turn.
    """
    if not writers:
        return nothing
    if len(writers) == 1:
        return writers[0]

    def write(amount: Any, attributes: Any = None, context: Context | None = None) -> None:
        for each in writers:
            each(amount, attributes, context)

    return write
