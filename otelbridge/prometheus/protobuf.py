"""Prometheus' protobuf format: a stream of ``io.prometheus.client.MetricFamily``, each after its length.

Sources: prometheus/client_model, ``metrics.proto``; OpenTelemetry specification, "Prometheus and OpenMetrics
Compatibility", section "Exponential Histograms". This is the format in which exponential histograms stay what
they are: they become native histograms.
"""

from __future__ import annotations

from functools import lru_cache
from math import inf
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.metrics.wire import block, delimited, double, packed_signed, signed, text, unsigned
from otelbridge.prometheus.digits import plain
from otelbridge.prometheus.exemplars import Exemplar, by_bucket, convert
from otelbridge.prometheus.exponential import HIGHEST_SCHEMA, LOWEST_SCHEMA, Exponential, is_exponential, spans
from otelbridge.prometheus.model import Family, Kind, Piece, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from otelbridge.prometheus.labels import Labels, Pairs

_TYPES = {
    Kind.COUNTER: 0,
    Kind.GAUGE: 1,
    Kind.INFO: 1,
    Kind.STATESET: 1,
    Kind.SUMMARY: 2,
    Kind.UNKNOWN: 3,
    Kind.HISTOGRAM: 4,
}
_ZERO_THRESHOLD = 1e-128
"""What the specification gives native histograms that say none; it also tells empty ones from classic ones."""


def protobuf(families: Iterable[Family]) -> bytes:
    """Write families in protobuf.

    Args:
        families: The families.

    Returns:
        The stream of messages, with exemplars and start times. Exponential histograms become native ones, of
        schema 8 where theirs is finer; those coarser than schema -4, which Prometheus cannot have, are folded
        into classic buckets. A series that cannot be written is left out, reported once.
    """
    return joined(protobuf_pieces(families))


def protobuf_pieces(families: Iterable[Family]) -> Iterator[Piece]:
    """Write families one by one; see `protobuf`."""
    for family in families:
        yield Piece(family, [delimited(_family(family))])


def _family(family: Family) -> bytes:
    write = _WRITERS[family.kind]
    parts = [text(1, family.name)]
    if family.help:
        parts.append(text(2, family.help))
    parts.append(unsigned(3, _TYPES[family.kind]))
    for labels, point in zip(family.labels, family.points, strict=True):
        try:
            parts.append(block(4, _label_pairs(labels) + write(point, family)))
        except Exception as error:
            warn_once(
                (family.name, "protobuf", type(error).__name__),
                "%.200s leaves out the series {%.200s}, which cannot be written: %.200s.",
                family.name,
                labels.text,
                error,
            )
    if family.unit:
        parts.append(text(5, family.unit))
    return b"".join(parts)


def _label_pairs(labels: Labels) -> bytes:
    if labels.wire is None:
        labels.wire = _pairs(labels.pairs)
    return labels.wire


def _pairs(pairs: Pairs) -> bytes:
    return b"".join([block(1, text(1, name) + text(2, value)) for name, value in pairs])


def _gauge(point: Any, family: Family) -> bytes:
    del family
    return block(2, double(1, point.value))


def _counter(point: Any, family: Family) -> bytes:
    payload = double(1, point.value)
    if point.exemplars and (exemplars := convert(point.exemplars, family.translation)):
        payload += block(2, _exemplar(exemplars[-1]))
    return block(3, payload + _start(3, point))


def _summary(point: Any, family: Family) -> bytes:
    del family
    quantiles = [block(3, double(1, at) + double(2, value)) for at, value in point.quantiles]
    payload = unsigned(1, point.count) + double(2, plain(point.sum)) + b"".join(quantiles)
    return block(4, payload + _start(4, point))


def _unknown(point: Any, family: Family) -> bytes:
    del family
    return block(5, double(1, point.value))


def _histogram(point: Any, family: Family) -> bytes:
    if not is_exponential(point):
        return block(7, _classic(point, point.explicit_bounds, point.bucket_counts, family))
    exponential = Exponential.of(point)
    if exponential.scale < LOWEST_SCHEMA:
        bounds, counts = exponential.fold()
        return block(7, _classic(point, bounds, counts, family))
    return block(7, _native(exponential.at_scale(min(exponential.scale, HIGHEST_SCHEMA)), family))


def _classic(point: Any, bounds: Sequence[float], counts: Sequence[int], family: Family) -> bytes:
    if len(counts) != len(bounds) + 1:
        raise ValueError(f"{len(counts)} counts do not fit {len(bounds) + 1} buckets")
    exemplars = by_bucket(convert(point.exemplars, family.translation), bounds) if point.exemplars else {}
    parts: list[bytes] = []
    total = 0
    for at, (bound, count) in enumerate(zip(_upper_bounds(tuple(bounds)), counts, strict=True)):
        total += count
        bucket = unsigned(1, total) + bound
        if at in exemplars:
            bucket += block(3, _exemplar(exemplars[at]))
        parts.append(block(3, bucket))
    head = unsigned(1, total) + (b"" if point.sum is None else double(2, plain(point.sum)))
    return head + b"".join(parts) + _start(15, point)


@lru_cache(maxsize=1024)
def _upper_bounds(bounds: tuple[float, ...]) -> tuple[bytes, ...]:
    return tuple(double(2, bound) for bound in (*bounds, inf))


def _native(histogram: Exponential, family: Family) -> bytes:
    # The specification wants a sum: without one the point is dropped, which the caller reports.
    parts = [
        unsigned(1, histogram.count),
        double(2, plain(histogram.sum)),
        signed(5, histogram.scale),
        double(6, histogram.zero_threshold or _ZERO_THRESHOLD),
        unsigned(7, histogram.zero_count),
    ]
    for buckets, span_field, delta_field in ((histogram.negative, 9, 10), (histogram.positive, 12, 13)):
        found, deltas = spans(buckets)
        parts += [block(span_field, signed(1, offset) + unsigned(2, length)) for offset, length in found]
        parts.append(packed_signed(delta_field, deltas))
    parts.append(_start(15, histogram))
    exemplars = convert(histogram.exemplars, family.translation) if histogram.exemplars else []
    parts += [block(16, _exemplar(exemplar)) for exemplar in exemplars if exemplar.time]  # they must have one
    return b"".join(parts)


def _exemplar(exemplar: Exemplar) -> bytes:
    time = block(3, _timestamp(exemplar.time)) if exemplar.time else b""
    return _pairs(exemplar.pairs) + double(2, exemplar.value) + time


def _start(field: int, point: Any) -> bytes:
    start = point.start_time_unix_nano
    return block(field, _timestamp(start)) if start else b""


def _timestamp(nanoseconds: int) -> bytes:
    whole, rest = divmod(int(nanoseconds), 1_000_000_000)
    return unsigned(1, whole) + unsigned(2, rest)


_WRITERS: dict[Kind, Callable[[Any, Family], bytes]] = {
    Kind.COUNTER: _counter,
    Kind.GAUGE: _gauge,
    Kind.INFO: _gauge,
    Kind.STATESET: _gauge,
    Kind.SUMMARY: _summary,
    Kind.UNKNOWN: _unknown,
    Kind.HISTOGRAM: _histogram,
}
