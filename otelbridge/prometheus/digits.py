"""How numbers are written, and what counts as one."""

from __future__ import annotations

import sys

_EXACT = {int, float}
_GO_EXPONENT = 6  # Go writes seven digits before the point with an exponent


def number(value: float) -> str:
    """Write a sample's value.

    Args:
        value: An int or float, and no subclass of either.

    Returns:
        Ints in full, floats as short as they can be read back from, ``NaN``, ``+Inf`` and ``-Inf``.
    """
    if value - value == 0:
        return repr(value)
    return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"  # noqa: PLR0124  # only NaN differs from itself


def canonical(bound: float) -> str:
    """Write a bucket's upper bound, which is the text of a label and so must always be the same.

    Args:
        bound: The bound.

    Returns:
        The form that OpenMetrics 1.0 asks for, section "Canonical Numbers": ``0.005``, ``1.0``, ``1e+06``.
    """
    bound = float(bound)
    if bound - bound != 0:
        return number(bound)
    sign, text = ("-", repr(-bound)) if bound < 0 else ("", repr(bound))
    point = text.find(".")
    if point > _GO_EXPONENT:
        mantissa = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0").rstrip(".")
        text = f"{mantissa}e+{point - 1:02d}"
    return sign + text


def seconds(nanoseconds: int) -> str:
    """Write a moment as OpenMetrics does, in seconds since the epoch.

    Args:
        nanoseconds: The moment, in nanoseconds since the epoch.

    Returns:
        Seconds with nine decimals, exact.
    """
    whole, rest = divmod(int(nanoseconds), 1_000_000_000)
    return f"{whole}.{rest:09d}"


def plain(value: object) -> int | float:
    """Make an exact int or float of a number.

    Args:
        value: What was recorded; a numpy number or a `Decimal` is one too.

    Returns:
        An int no float is too small for, or a float.

    Raises:
        TypeError: It is no number.
        OverflowError: It is an int beyond all floats, at which Prometheus would refuse the whole page.
    """
    if isinstance(value, int):
        float(value)
        return int.__int__(value)
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise TypeError(f"{type(value).__name__} is no number")
    return float.__float__(float(value))  # pyright: ignore[reportArgumentType]


def all_plain(values: list[int | float]) -> bool:
    """Tell quickly that all values are exact ints and floats, finite and of bearable size.

    Args:
        values: The values. What they are is the question, so they may be anything.

    Returns:
        True where `plain` would change none of them and `number` would be `repr`. Where it is False, one by
        one is the way to find out.
    """
    try:
        return set(map(type, values)) <= _EXACT and sum(map(abs, values)) <= sys.float_info.max
    except (TypeError, OverflowError):  # no numbers at all; an int too large to be added to a float
        return False


def all_counted(values: list[int | float]) -> bool:
    """Tell quickly that all values are those a counter may have: see `all_plain`, and none below zero."""
    try:
        in_range = min(values, default=0) >= 0 and sum(values) <= sys.float_info.max
        return in_range and set(map(type, values)) <= _EXACT
    except (TypeError, ValueError, OverflowError):
        return False
