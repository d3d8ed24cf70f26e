"""Requests out of encoded points, cut so that a receiver takes them.

The protocol recommends receivers to take at least 4 MiB over gRPC and 20 MiB over HTTP (OTLP, "OTLP/gRPC Request",
"OTLP/HTTP Request"); what is larger is refused as a whole.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from otelbridge.metrics.wire import tag, varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_REQUEST = 4 << 20
"""Bytes a request has at most by default."""

_LENGTH = 2
# A tag and a length, at each place where a message stands in another.
_FRAME = 6

_RESOURCE, _SCOPE = itemgetter(0), itemgetter(1)


class EncodedStream(NamedTuple):
    """The points of one metric, with the messages around them."""

    resource: bytes
    """``ResourceMetrics`` without its ``scope_metrics``."""

    scope: bytes
    """``ScopeMetrics`` without its ``metrics``."""

    metric: bytes
    """``Metric`` without its data."""

    field: int
    """Which field of ``Metric`` the data are."""

    data: bytes
    """The data without its ``data_points``."""

    points: Sequence[bytes]
    """The fields ``data_points``."""


class Request(NamedTuple):
    """One encoded ``ExportMetricsServiceRequest``."""

    body: bytes
    """What is sent."""

    points: int
    """How many data points it has."""


_Piece = tuple[bytes, bytes, EncodedStream, "Sequence[bytes]"]
"""Resource, scope, and some points of a stream."""


def cut(streams: Iterable[EncodedStream], limit: int = MAX_REQUEST) -> list[Request]:
    """Make requests.

    Args:
        streams: The streams; those of one resource, and within it those of one scope, follow one another.
        limit: Bytes a request may have. Only one with a single point may have more.

    Returns:
        Requests that are each complete in itself, with all points in order; none where there are no points.
    """
    requests: list[Request] = []
    pieces: list[_Piece] = []
    room = limit
    for stream in streams:
        rest = stream.points
        while rest:
            frame = _frame(stream, pieces)
            count = _fitting(rest, room - frame)
            if pieces and not count:
                requests.append(_assemble(pieces))
                pieces, room = [], limit
                continue
            taken, rest = rest[: count or 1], rest[count or 1 :]
            pieces.append((stream.resource, stream.scope, stream, taken))
            room -= frame + sum(map(len, taken))
    if pieces:
        requests.append(_assemble(pieces))
    return requests


def _frame(stream: EncodedStream, before: Sequence[_Piece]) -> int:
    """Give the bytes that it takes to begin one more stream."""
    size = len(stream.metric) + len(stream.data) + 2 * _FRAME
    same_resource = bool(before) and _RESOURCE(before[-1]) == stream.resource
    if not (same_resource and _SCOPE(before[-1]) == stream.scope):
        size += len(stream.scope) + _FRAME
    return size if same_resource else size + len(stream.resource) + _FRAME


def _fitting(points: Sequence[bytes], room: int) -> int:
    if sum(map(len, points)) <= room:
        return len(points)
    return bisect_right(list(accumulate(map(len, points))), room)


def _assemble(pieces: Sequence[_Piece]) -> Request:
    body: list[bytes] = []
    for resource, of_resource in groupby(pieces, _RESOURCE):
        inside = [resource]
        for scope, of_scope in groupby(of_resource, _SCOPE):
            metrics = [part for _, _, stream, points in of_scope for part in _metric(stream, points)]
            inside += _around(2, [scope, *metrics])
        body += _around(1, inside)
    return Request(b"".join(body), sum(len(points) for *_, points in pieces))


def _metric(stream: EncodedStream, points: Sequence[bytes]) -> list[bytes]:
    return _around(2, [stream.metric, *_around(stream.field, [*points, stream.data])])


def _around(field: int, parts: list[bytes]) -> list[bytes]:
    """Put what makes them a message before parts, which are joined but once: a request has millions of bytes."""
    return [tag(field, _LENGTH) + varint(sum(map(len, parts))), *parts]
