"""The few pieces of protobuf's wire format that what goes out is made of, for Prometheus and for OTLP.

Source: Protocol Buffers documentation, "Encoding". Writing them by hand costs a fraction of building messages.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_VARINT, _FIXED64, _LENGTH = 0, 1, 2
_LOW_BITS = 0x7F
_MORE = 0x80
_BYTES = [bytes((value,)) for value in range(_MORE)]
_DOUBLE = struct.Struct("<d")


def varint(value: int) -> bytes:
    """Write an unsigned number of up to 64 bits."""
    if value <= _LOW_BITS:
        return _BYTES[value]
    parts = bytearray()
    while value > _LOW_BITS:
        parts.append(value & _LOW_BITS | _MORE)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def zigzag(value: int) -> int:
    """Map a signed number to an unsigned one, small ones to small ones."""
    return value << 1 if value >= 0 else (-value << 1) - 1


@cache
def tag(field: int, kind: int) -> bytes:
    """Write what stands before a field."""
    return varint(field << 3 | kind)


def unsigned(field: int, value: int) -> bytes:
    """Write a field of type ``uint32``, ``uint64`` or an enumeration.

    Raises:
        ValueError: The value is negative or too large.
    """
    if not 0 <= value < 1 << 64:
        raise ValueError(f"{value} does not fit an unsigned field")
    return tag(field, _VARINT) + varint(value)


def signed(field: int, value: int) -> bytes:
    """Write a field of type ``sint32`` or ``sint64``."""
    return tag(field, _VARINT) + varint(zigzag(value))


def packed_signed(field: int, values: Iterable[int]) -> bytes:
    """Write a repeated field of type ``sint64``; empty where there are no values."""
    payload = b"".join([varint(zigzag(value)) for value in values])
    return block(field, payload) if payload else b""


def double(field: int, value: float) -> bytes:
    """Write a field of type ``double``."""
    return tag(field, _FIXED64) + _DOUBLE.pack(value)


def text(field: int, value: str) -> bytes:
    """Write a field of type ``string``."""
    return block(field, value.encode())


def block(field: int, payload: bytes) -> bytes:
    """Write a field that holds a message, or bytes."""
    return tag(field, _LENGTH) + varint(len(payload)) + payload


def delimited(message: bytes) -> bytes:
    """Put its length before a message, as in a stream of messages."""
    return varint(len(message)) + message
