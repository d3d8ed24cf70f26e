"""Reads the two small messages a receiver answers with, straight from their protobuf bytes.

Written out instead of generated, so that sending needs no protobuf library: few fields of these messages
matter, and reading any of them is the same walk over tags (protobuf encoding guide, "Message structure").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    Buffer = bytes | bytearray | memoryview

# Wire types: the low three bits of a tag.
_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
# Field numbers of ExportMetricsServiceResponse and its ExportMetricsPartialSuccess,
_PARTIAL_SUCCESS = 1
_REJECTED_DATA_POINTS, _ERROR_MESSAGE = 1, 2
# of google.rpc.Status, of the google.protobuf.Any in its details, of RetryInfo and its Duration.
_STATUS_MESSAGE, _STATUS_DETAILS = 2, 3
_TYPE_URL, _ANY_VALUE = 1, 2
_RETRY_DELAY = 1
_SECONDS, _NANOS = 1, 2
_RETRY_INFO = "google.rpc.RetryInfo"

_MAX_FIELD = (1 << 29) - 1
_MAX_VARINT_BYTES = 10
_CONTINUES = 0x80
_MAX_DEPTH = 100
# An honest answer has a handful. A mebibyte of empty fields would take seconds to walk over.
_MAX_FIELDS = 10_000


class MalformedAnswerError(ValueError):
    """Bytes that are no message of the expected type."""


class Taken(NamedTuple):
    """What an ``ExportMetricsServiceResponse`` says."""

    rejected: int
    """Data points the receiver did not take."""

    message: str
    """Why; or a warning, where everything was taken. Usually empty."""


class Status(NamedTuple):
    """What a ``google.rpc.Status`` says."""

    message: str
    """For developers."""

    retry_delay: float | None
    """Seconds to wait before the next try, from a ``RetryInfo`` among the details; None without one."""


def read_taken(body: Buffer) -> Taken:
    """Read the answer to an export of metrics.

    Args:
        body: An ``ExportMetricsServiceResponse`` (OTLP, ``metrics_service.proto``). No bytes are a
            message too, and say that everything was taken.

    Returns:
        What it says.

    Raises:
        MalformedAnswerError: The bytes are something else.
    """
    # Bytes of a message field that comes twice are to be read as one message.
    partial_success = b"".join(_values(body, _PARTIAL_SUCCESS, _BYTES))
    rejected = _number(partial_success, _REJECTED_DATA_POINTS)
    return Taken(max(rejected, 0), _text(partial_success, _ERROR_MESSAGE))


def read_status(body: Buffer) -> Status:
    """Read the description of a failure.

    Args:
        body: A ``google.rpc.Status``: the body of a failed HTTP request, or the trailing metadata
            ``grpc-status-details-bin`` of a failed call.

    Returns:
        What it says.

    Raises:
        MalformedAnswerError: The bytes are something else.
    """
    delays = [_retry_delay(detail) for detail in _values(body, _STATUS_DETAILS, _BYTES)]
    return Status(_text(body, _STATUS_MESSAGE), next((delay for delay in delays if delay is not None), None))


def _retry_delay(detail: Buffer) -> float | None:
    if _text(detail, _TYPE_URL).rpartition("/")[2] != _RETRY_INFO:
        return None
    info = b"".join(_values(detail, _ANY_VALUE, _BYTES)[-1:])
    duration = b"".join(_values(info, _RETRY_DELAY, _BYTES))
    return max(_number(duration, _SECONDS) + _number(duration, _NANOS) / 1e9, 0.0)


def _number(message: Buffer, field: int) -> int:
    """Give a signed integer field, 0 where it is not set."""
    found = _values(message, field, _VARINT)
    value = _varint(found[-1], 0)[0] if found else 0
    return value - (1 << 64) if value >> 63 else value


def _text(message: Buffer, field: int) -> str:
    """Give a text field, empty where it is not set."""
    try:
        texts = [str(value, "utf-8") for value in _values(message, field, _BYTES)]
    except UnicodeDecodeError as error:
        raise MalformedAnswerError from error
    return texts[-1] if texts else ""


def _values(message: Buffer, field: int, kind: int) -> list[memoryview]:
    return [value for number, its_kind, value in _fields(memoryview(message)) if (number, its_kind) == (field, kind)]


def _fields(message: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Walk over the fields of a message: number, wire type and bytes, without those of tag and length."""
    at = 0
    for _ in range(_MAX_FIELDS):
        if at == len(message):
            return
        field, kind, at = _tag(message, at)
        end = _end(message, at, field, kind)
        start = _varint(message, at)[1] if kind == _BYTES else at
        yield field, kind, message[start:end]
        at = end
    raise MalformedAnswerError


def _tag(message: memoryview, at: int) -> tuple[int, int, int]:
    tag, at = _varint(message, at)
    if not 0 < tag >> 3 <= _MAX_FIELD:
        raise MalformedAnswerError
    return tag >> 3, tag & 7, at


def _end(message: memoryview, at: int, field: int, kind: int) -> int:
    """Find where the value of a field ends that begins at a position."""
    if kind == _VARINT:
        end = _varint(message, at)[1]
    elif kind in _FIXED_SIZES:
        end = at + _FIXED_SIZES[kind]
    elif kind == _BYTES:
        length, start = _varint(message, at)
        end = start + length
    elif kind == _GROUP:
        end = _group_end(message, at, field)
    else:
        raise MalformedAnswerError
    if end > len(message):
        raise MalformedAnswerError
    return end


def _group_end(message: memoryview, at: int, group: int) -> int:
    open_groups = [group]
    for _ in range(_MAX_FIELDS):
        field, kind, at = _tag(message, at)
        if kind == _GROUP and len(open_groups) < _MAX_DEPTH:
            open_groups.append(field)
        elif kind == _END_GROUP and field == open_groups.pop():
            if not open_groups:
                return at
        elif kind in (_GROUP, _END_GROUP):
            break
        else:
            at = _end(message, at, field, kind)
    raise MalformedAnswerError


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & ~_CONTINUES) << (7 * index)
        if not byte & _CONTINUES:
            return value & ((1 << 64) - 1), at + index + 1
    raise MalformedAnswerError
