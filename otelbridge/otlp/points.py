"""Data points as OTLP writes them, straight to bytes.

Source: opentelemetry-proto, ``metrics.proto``. A message object costs twenty times what its bytes do, so the usual
point, without exemplars and with values that fit, is one `struct.pack`; whatever is rarer is put together field by
field. Both say the same.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.metrics.current import HistogramReading
from otelbridge.metrics.points import transportable
from otelbridge.metrics.wire import block, double, signed, tag, unsigned, varint
from otelbridge.otlp.values import attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_FIXED64, _LENGTH = 1, 2
_POINT = tag(1, _LENGTH)  # data_points is field 1 of all kinds of data
_UNSIGNED64 = struct.Struct("<Q")
_SIGNED64 = struct.Struct("<q")
_LARGEST_BYTE = 0x7F
_MAX_LENGTHS = 4096

# The tags of the fields of fixed size that every point has, or most.
_START, _TIME = 0x11, 0x19
_AS_DOUBLE, _AS_INT = 0x21, 0x31
_COUNT, _SUM = 0x21, 0x29
_MIN, _MAX = 0x59, 0x61

_DOUBLE = struct.Struct("<d")
_TIMES = struct.Struct("<BQBQB")
"""Both times, and the tag of what follows them: mostly the same for all points of a stream."""

_NEVER: Any = object()
"""No time of any point."""

# What cannot be packed is no number, or does not fit.
_UNUSUAL = (struct.error, OverflowError, TypeError)


class _Prefixes(dict[int, bytes]):
    """What stands before a point, by the length of its attributes.

    Args:
        rest: The length of the rest of the point.
    """

    def __init__(self, rest: int) -> None:
        super().__init__()
        self._rest = rest

    def __missing__(self, length: int) -> bytes:
        if len(self) >= _MAX_LENGTHS:
            self.clear()
        prefix = self[length] = _POINT + varint(length + self._rest)
        return prefix


_number_prefixes = _Prefixes(_TIMES.size + _SIGNED64.size)


def numbers(points: Sequence[Any], sets: Sequence[bytes], name: str) -> list[bytes]:
    """Write the points of a sum.

    Args:
        points: `opentelemetry.sdk.metrics.export.NumberDataPoint`, or objects with the same names.
        sets: Their attributes, as written by `otelbridge.otlp.values.AttributeCache`.
        name: Name of the metric, for reports.

    Returns:
        The fields ``data_points``. One that cannot be written is left out, reported once.
    """
    return _numbers(points, sets, name, started=True)


def gauges(points: Sequence[Any], sets: Sequence[bytes], name: str) -> list[bytes]:
    """Write the points of a gauge, which begin at no time; see `numbers`."""
    return _numbers(points, sets, name, started=False)


def _numbers(points: Sequence[Any], sets: Sequence[bytes], name: str, *, started: bool) -> list[bytes]:
    found: list[bytes] = []
    add, prefixes = found.append, _number_prefixes
    pack_int, pack_double = _SIGNED64.pack, _DOUBLE.pack
    start, time = 0, _NEVER
    before_int = before_double = b""
    for point, given in zip(points, sets, strict=True):
        value = point.value
        try:
            if point.time_unix_nano != time or (started and (point.start_time_unix_nano or 0) != start):
                start, time = (point.start_time_unix_nano or 0) if started else 0, _NEVER
                before_int = _TIMES.pack(_START, start, _TIME, point.time_unix_nano, _AS_INT)
                before_double = _TIMES.pack(_START, start, _TIME, point.time_unix_nano, _AS_DOUBLE)
                time = point.time_unix_nano
            rest = before_int + pack_int(value) if type(value) is int else before_double + pack_double(value)
        except _UNUSUAL:
            rest = None
        if rest is None or point.exemplars or type(value) is bool:
            found += _rarely(_number, point, given, name, start)
        else:
            add(prefixes[len(given)] + given + rest)
    return found


def _number(point: Any, start: int) -> bytes:
    return times(start, point.time_unix_nano) + _value(4, 6, point.value) + _exemplars(5, point.exemplars)


def _value(double_field: int, int_field: int, value: Any) -> bytes:
    value = transportable(value)
    if isinstance(value, int):
        return tag(int_field, _FIXED64) + _SIGNED64.pack(value)
    return double(double_field, value)


class _HistogramFrame:
    """What all points of a histogram have in common.

    Args:
        bounds: The bounds of the buckets, packed.
        width: How many buckets there are.
        extremes: Whether the points have a minimum and a maximum.
    """

    def __init__(self, bounds: bytes, width: int, *, extremes: bool) -> None:
        all_bounds = block(7, bounds) if bounds else b""
        self.middle = all_bounds + (tag(6, _LENGTH) + varint(8 * width) if width else b"")
        packed = struct.Struct(f"<{_TIMES.size}sQBd{len(self.middle)}s{width}Q{'BdBd' if extremes else ''}")
        self.pack = packed.pack
        self.prefixes = _Prefixes(packed.size)


_frame = lru_cache(maxsize=1024)(_HistogramFrame)


def histograms(points: Sequence[Any], sets: Sequence[bytes], name: str) -> list[bytes]:
    """Write the points of a histogram with explicit buckets.

    Args:
        points: `opentelemetry.sdk.metrics.export.HistogramDataPoint`, or objects with the same names.
        sets: See `numbers`.
        name: See `numbers`.

    Returns:
        See `numbers`. ``min`` and ``max`` are there where they are finite.
    """
    found: list[bytes] = []
    add, reading = found.append, HistogramReading
    frame, frame_bounds, frame_width, frame_extremes = None, None, -1, False
    start, time, before = 0, _NEVER, b""
    for point, given in zip(points, sets, strict=True):
        counts, bounds, low, high = point.bucket_counts, point.explicit_bounds, point.min, point.max
        try:
            if point.time_unix_nano != time or (point.start_time_unix_nano or 0) != start:
                start, time = point.start_time_unix_nano or 0, _NEVER
                before = _TIMES.pack(_START, start, _TIME, point.time_unix_nano, _COUNT)
                time = point.time_unix_nano
            width, extremes = len(counts), isfinite(low)
            # A property takes longer to call than the sum it is.
            count = sum(counts) if type(point) is reading else point.count
            if frame is None or bounds is not frame_bounds or width != frame_width or extremes is not frame_extremes:
                frame_bounds, frame_width, frame_extremes = bounds, width, extremes
                frame = _frame(struct.pack(f"<{len(bounds)}d", *bounds), width, extremes=extremes)
            if point.exemplars or extremes is not isfinite(high):
                rest = b""
            elif extremes:
                rest = frame.pack(before, count, _SUM, point.sum, frame.middle, *counts, _MIN, low, _MAX, high)
            else:
                rest = frame.pack(before, count, _SUM, point.sum, frame.middle, *counts)
        except _UNUSUAL:
            rest = b""
        if rest and frame is not None:
            add(frame.prefixes[len(given)] + given + rest)
        else:
            found += _rarely(_histogram, point, given, name, start)
    return found


def _histogram(point: Any, start: int) -> bytes:
    counts, bounds = point.bucket_counts, point.explicit_bounds
    return b"".join(
        (
            times(start, point.time_unix_nano),
            fixed(4, point.count),
            double(5, _double(point.sum)),
            block(6, struct.pack(f"<{len(counts)}Q", *counts)),
            block(7, struct.pack(f"<{len(bounds)}d", *bounds)),
            _exemplars(8, point.exemplars),
            _extreme(11, point.min),
            _extreme(12, point.max),
        )
    )


def exponentials(points: Sequence[Any], sets: Sequence[bytes], name: str) -> list[bytes]:
    """Write the points of an exponential histogram.

    Args:
        points: `opentelemetry.sdk.metrics.export.ExponentialHistogramDataPoint`.
        sets: See `numbers`.
        name: See `numbers`.

    Returns:
        See `histograms`.
    """
    return one_by_one(_exponential, points, sets, name)


def one_by_one(
    write: Callable[[Any, int], bytes], points: Sequence[Any], sets: Sequence[bytes], name: str
) -> list[bytes]:
    """Write points field by field.

    Args:
        write: Writes the fields of a point but its attributes; it is given the start, 0 for none.
        points: The points.
        sets: See `numbers`.
        name: See `numbers`.

    Returns:
        See `numbers`.
    """
    return [
        written
        for point, given in zip(points, sets, strict=True)
        for written in _rarely(write, point, given, name, point.start_time_unix_nano or 0)
    ]


def _exponential(point: Any, start: int) -> bytes:
    return b"".join(
        (
            times(start, point.time_unix_nano),
            fixed(4, point.count),
            double(5, _double(point.sum)),
            signed(6, point.scale),
            fixed(7, point.zero_count),
            _buckets(8, point.positive),
            _buckets(9, point.negative),
            unsigned(10, point.flags),
            _exemplars(11, point.exemplars),
            _extreme(12, point.min),
            _extreme(13, point.max),
        )
    )


def _buckets(field: int, buckets: Any) -> bytes:
    counts: Sequence[int] = buckets.bucket_counts
    if not counts:
        return b""
    small = max(counts) <= _LARGEST_BYTE
    packed = bytes(counts) if small else b"".join(map(varint, counts))
    return block(field, signed(1, buckets.offset) + block(2, packed))


def _rarely(write: Callable[[Any, int], bytes], point: Any, given: bytes, name: str, start: int) -> list[bytes]:
    """Write one point field by field."""
    try:
        return [block(1, given + write(point, start))]
    except Exception as error:
        warn_once(
            (name, "otlp", type(error).__name__),
            "%.200s is pushed without a series that cannot be written (%s: %.200s): %.200r.",
            name,
            type(error).__name__,
            error,
            point.attributes,
        )
        return []


def times(start: int, time: int) -> bytes:
    """Write when a point began, 0 for never, and when it was read, in nanoseconds since the epoch."""
    return (fixed(2, start) if start else b"") + fixed(3, time)


def fixed(field: int, value: int) -> bytes:
    """Write a field of type ``fixed64``."""
    return tag(field, _FIXED64) + _UNSIGNED64.pack(value)


def _double(value: int | float) -> float:
    return float(transportable(value))


def _extreme(field: int, value: Any) -> bytes:
    """Write an extreme; none stands as infinity."""
    if value is None or value in (float("inf"), float("-inf")) or value != value:  # noqa: PLR0124
        return b""
    return double(field, _double(value))


def _exemplars(field: int, exemplars: Iterable[Any]) -> bytes:
    return b"".join([block(field, _exemplar(exemplar)) for exemplar in exemplars])


def _exemplar(exemplar: Any) -> bytes:
    parts = [fixed(2, exemplar.time_unix_nano), _value(3, 6, exemplar.value)]
    if exemplar.span_id is not None and exemplar.trace_id is not None:
        parts += (block(4, exemplar.span_id.to_bytes(8, "big")), block(5, exemplar.trace_id.to_bytes(16, "big")))
    parts.append(attributes(7, exemplar.filtered_attributes))
    return b"".join(parts)
