"""The recording path of a bound handle: from an amount to its one series, without any look-up.

Written out as `otelbridge.metrics.writers` is, and for the same reason.
"""

# pyright: reportUnknownVariableType=false
# (of types of amounts)
from __future__ import annotations

from bisect import bisect_left
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from otelbridge.metrics import exemplars
from otelbridge.metrics.inlining import inlined
from otelbridge.metrics.series import LOCK_FREE, HistogramSeries, SumSeries
from otelbridge.metrics.writers import LARGE, create_check

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.util.types import Attributes

    from otelbridge.metrics.streams import Stream
    from otelbridge.metrics.writers import BoundWrite, Offer, Watch

# The commonest amount by far. Being this very object, it needs no check.
_ONE = 1


class _Bound(NamedTuple):
    """What the bound writers need."""

    resolve: Callable[[], Any]
    check: Callable[[object], Any]
    signed: bool
    watch: Watch | None
    offer: Callable[[float, Any], None]


def create_bound_writer(
    stream: Stream, attributes: Attributes, name: str, *, signed: bool, watch: Watch | None, offer: Offer
) -> BoundWrite:
    """Make what records into one series of a stream, without any look-up.

    Args:
        stream: Where to.
        attributes: The attribute set, resolved at the first measurement, the limit included.
        name: The instrument, for reports.
        signed: Whether negative amounts are welcome.
        watch: Tells whether an exemplar may be wanted now; None means never.
        offer: Takes what may become an exemplar.

    Returns:
        A function of the amount alone. It raises nothing for any amount.
    """

    def offer_series(amount: float, series: Any) -> None:
        offer(amount, attributes, None, series)

    # At the first measurement, since a series without one would show as a zero nobody recorded.
    settings = _Bound(
        resolve=lambda: stream.find(attributes),
        check=create_check(name, signed=signed, floats=stream.kind.name == "histogram"),
        signed=signed,
        watch=watch,
        offer=offer_series,
    )
    return _BOUND.get(stream.kind.name, _any)(settings) if LOCK_FREE else _any(settings)


@inlined(SumSeries.add_int, SumSeries.add_float)
def _sum(bound: _Bound) -> BoundWrite:
    resolve, check, signed, watch, offer = bound.resolve, bound.check, bound.signed, bound.watch, bound.offer
    traced = watch is exemplars.within_span
    one = _ONE
    series: Any = None

    def add(amount: Any) -> None:
        nonlocal series
        if amount is one or (
            (kind := type(amount)) is int and (0 <= amount < LARGE or (signed and -LARGE < amount < 0))
        ):
            if series is None:
                series = resolve()
            series.add_int(amount)
        elif kind is float and ((amount >= 0.0 and amount < inf) or (signed and -inf < amount < 0.0)):
            if series is None:
                series = resolve()
            series.add_float(amount)
        else:
            amount = check(amount)
            if amount is None:
                return
            if series is None:
                series = resolve()
            series.record(amount)
        if traced:
            if exemplars.spans is not None:
                offer(amount, series)
        elif watch is not None and watch():
            offer(amount, series)

    return add


@inlined(HistogramSeries.add_between)
def _histogram(bound: _Bound) -> BoundWrite:
    resolve, check, watch, offer = bound.resolve, bound.check, bound.watch, bound.offer
    traced = watch is exemplars.within_span
    series: Any = None
    bounds: Any = None

    def record(amount: Any) -> None:
        nonlocal series, bounds
        if type(amount) is not float or not (amount >= 0.0 and amount < inf):
            amount = check(amount)
            if amount is None:
                return
        if bounds is None:
            series = resolve()
            bounds = series.bounds
        at = bisect_left(bounds, amount)
        if series.min <= amount and amount <= series.max:
            series.add_between(at, amount)
        else:
            series.widen(at, amount)
        if traced:
            if exemplars.spans is not None:
                offer(amount, series)
        elif watch is not None and watch():
            offer(amount, series)

    return record


def _last(bound: _Bound) -> BoundWrite:
    resolve, check, watch, offer = bound.resolve, bound.check, bound.watch, bound.offer
    traced, unsigned = watch is exemplars.within_span, not bound.signed
    series: Any = None

    def set_(amount: Any) -> None:
        nonlocal series
        # A view may keep the last value of a counter too, which takes no negative amounts.
        if unsigned or not (
            -LARGE < amount < LARGE if type(amount) is int else type(amount) is float and -inf < amount < inf
        ):
            amount = check(amount)
            if amount is None:
                return
        if series is None:
            series = resolve()
        series.last = (amount,)
        if series.cell is not None:
            series.store()
        if traced:
            if exemplars.spans is not None:
                offer(amount, series)
        elif watch is not None and watch():
            offer(amount, series)

    return set_


def _any(bound: _Bound) -> BoundWrite:
    """Make the writer for series that look after themselves, and for interpreters that need locks."""
    series: Any = None

    def record(amount: Any) -> None:
        nonlocal series
        amount = bound.check(amount)
        if amount is None:
            return
        if series is None:
            series = bound.resolve()
        series.record(amount)
        if bound.watch is not None and bound.watch():
            bound.offer(amount, series)

    return record


_BOUND: dict[str, Callable[[_Bound], BoundWrite]] = {"sum": _sum, "histogram": _histogram, "last": _last}
