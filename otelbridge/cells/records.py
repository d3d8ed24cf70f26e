"""The key log: which series the slots of a book belong to, as a file that is only appended to.

A record is framed by its length, the crc of its body and a crc of those two, so that a flipped bit anywhere is told
from a record that is still being written. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from otelbridge.cells.shape import Rule, Shape

if TYPE_CHECKING:
    from collections.abc import Sequence

STREAM, SERIES, RETIRED, REVIVED = 1, 2, 3, 4
"""What a record says; the first byte of its body."""

ABSENT: Final = -1
"""The position of a kind of slot that a series does not have."""

SERIES_HEAD: Final = struct.Struct("<BII5i")
"""Head of a ``SERIES`` body: type, stream number, series number, the first slot of each kind counted from the start of
the values file. The attributes follow."""

_FRAME = struct.Struct("<II")
_CHECK = struct.Struct("<I")
_HEAD = _FRAME.size + _CHECK.size
_STREAM = struct.Struct("<BIB5IB")
_NUMBER = struct.Struct("<BI")
_RULES = tuple(Rule)


class Stream(NamedTuple):
    """What a ``STREAM`` record says: from here on `number` stands for an identity of this shape."""

    number: int
    shape: Shape
    identity: bytes


class Bodies(NamedTuple):
    """What was found in a piece of a key log."""

    bodies: list[bytes]
    """The bodies of the complete records, in order."""

    consumed: int
    """How many bytes they took; what follows is incomplete or damaged."""

    damaged: bool
    """Whether what follows can never become a record."""


def _framed(body: bytes) -> bytes:
    head = _FRAME.pack(len(body), crc32(body))
    return head + _CHECK.pack(crc32(head)) + body


def stream_record(number: int, shape: Shape, identity: bytes) -> bytes:
    """Frame the record that gives an identity its number."""
    merge = shape.raw_merge.encode()
    head = _STREAM.pack(STREAM, number, _RULES.index(shape.rule), *shape.widths, len(merge))
    return _framed(head + merge + identity)


def series_record(stream: int, number: int, positions: Sequence[int], attributes: bytes) -> bytes:
    """Frame the record that tells where a series' slots lie.

    Args:
        stream: The number of its stream.
        number: The number of the series, unique in its log.
        positions: The first slot of each kind, counted from the start of the values file; `ABSENT` where it has none.
        attributes: Opaque bytes.
    """
    return _framed(SERIES_HEAD.pack(SERIES, stream, number, *positions) + attributes)


def retired_record(number: int) -> bytes:
    """Frame the record that says the process no longer has a series."""
    return _framed(_NUMBER.pack(RETIRED, number))


def revived_record(number: int) -> bytes:
    """Frame the record that says the process has a retired series again."""
    return _framed(_NUMBER.pack(REVIVED, number))


def bodies(log: bytes) -> Bodies:
    """Take the complete records off the front of a piece of a key log.

    Returns:
        The bodies, how far they reach, and whether the log is damaged there.
    """
    found: list[bytes] = []
    at = 0
    size = len(log)
    frame, check = _FRAME.unpack_from, _CHECK.unpack_from
    while at + _HEAD <= size:
        length, crc = frame(log, at)
        start = at + _HEAD
        if check(log, start - _CHECK.size)[0] != crc32(log[at : at + _FRAME.size]) or not length:
            return Bodies(found, at, damaged=True)
        end = start + length
        if end > size:
            break
        body = log[start:end]
        if crc32(body) != crc:
            return Bodies(found, at, damaged=True)
        found.append(body)
        at = end
    return Bodies(found, at, damaged=False)


def read_stream(body: bytes) -> Stream:
    """Read the body of a ``STREAM`` record.

    Raises:
        ValueError: If the body cannot be one.
    """
    try:
        _, number, rule, counts, totals, lows, marks, raw, merge_size = _STREAM.unpack_from(body)
        merge_end = _STREAM.size + merge_size
        merge = body[_STREAM.size : merge_end].decode()
        shape = Shape(_RULES[int(rule)], counts, totals, lows, marks, raw, merge)
    except (struct.error, IndexError) as error:
        raise ValueError(f"not a stream record: {error}") from error
    return Stream(number, shape, body[merge_end:])


def read_number(body: bytes) -> int:
    """Read the body of a ``RETIRED`` or ``REVIVED`` record.

    Raises:
        ValueError: If the body cannot be one.
    """
    try:
        return _NUMBER.unpack(body)[1]
    except struct.error as error:
        raise ValueError(f"not a retired or revived record: {error}") from error
