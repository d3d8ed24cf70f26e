"""Attributes as OTLP writes them: ``KeyValue`` and ``AnyValue``.

Source: opentelemetry-proto, ``common.proto``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.metrics.wire import block, double, tag, unsigned, varint

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.util.types import Attributes

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_UNSIGNED = (1 << 64) - 1
_VARINT = 0
# Until a stream has been met without so many of its attribute sets, they are kept.
_SLACK = 100


def text(field: int, value: str) -> bytes:
    """Write a field of type ``string``; what no UTF-8 can hold becomes a question mark."""
    return block(field, value.encode("utf-8", "replace"))


def attributes(field: int, given: Attributes) -> bytes:
    """Write attributes.

    Args:
        field: Number of the repeated field of ``KeyValue`` they are written to.
        given: The attributes; None means none.

    Returns:
        The fields. A value that OTLP has no form for is left out, reported once.
    """
    return b"".join([_attribute(field, key, value) for key, value in given.items()]) if given else b""


def _attribute(field: int, key: object, value: object) -> bytes:
    try:
        return block(field, _key_value(key, value))
    except Exception as error:
        warn_once(
            ("otlp", "attribute", type(error).__name__, type(value).__name__),
            "The attribute %.100r is left out of what is pushed: OTLP has no form for its value (%s: %.100s). Record "
            "texts, numbers, or sequences of them.",
            key,
            type(error).__name__,
            error,
        )
        return b""


def _key_value(key: object, value: object) -> bytes:
    return text(1, str(key)) + block(2, _any_value(value))


def _any_value(value: object) -> bytes:
    if value is None:
        return b""
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value)
    raise TypeError(f"{type(value).__name__} is no type of an attribute")


def _integer(value: int) -> bytes:
    # An integer that does not fit still has to tell its series from the others.
    if not _INT64_MIN <= value <= _INT64_MAX:
        return text(1, str(value))
    return tag(3, _VARINT) + varint(value & _UNSIGNED)


def _array(value: Sequence[object]) -> bytes:
    return block(5, b"".join([block(1, _any_value(each)) for each in value]))


def _mapping(value: Mapping[object, object]) -> bytes:
    return block(6, b"".join([block(1, _key_value(key, each)) for key, each in value.items()]))


_WRITERS: tuple[tuple[type[Any], Callable[[Any], bytes]], ...] = (
    (str, lambda value: text(1, value)),
    (bool, lambda value: unsigned(2, int(value))),
    (int, _integer),
    (float, lambda value: double(4, value)),
    (bytes, lambda value: block(7, value)),
    (Sequence, _array),
    (Mapping, _mapping),
)


class AttributeCache:
    """Remembers the bytes of attribute sets by their identity, as long as they keep coming.

    Attribute sets are taken for immutable, as those of data points are: the SDK and this package copy what
    callers give.

    Args:
        field: Number of the field in which the points of the stream have their attributes.
    """

    __slots__ = ("_field", "_found", "_held", "_known", "_points")

    def __init__(self, field: int) -> None:
        self._field = field
        self._known: dict[int, bytes] = {}
        # Identities are unique only among objects that live.
        self._held: list[Attributes] = []
        self._points: Sequence[Any] | None = None
        self._found: list[bytes] = []

    def __len__(self) -> int:
        return len(self._known)

    def find(self, points: Sequence[Any], *, lasting: bool = False) -> list[bytes]:
        """Give the bytes of the attributes of points.

        Args:
            points: All points of the stream there are now. What belongs to none of them is forgotten in time.
            lasting: Whether the same list always is of the same series. It is looked through only once then.

        Returns:
            The fields, in the same order. Not to be changed.
        """
        if not lasting:
            return self._look_up(points)
        if points is not self._points:
            self._found = self._look_up(points)
            self._points = points
        return self._found

    def _look_up(self, points: Sequence[Any]) -> list[bytes]:
        known = self._known
        try:
            found = [known[id(point.attributes)] for point in points]
        except KeyError:
            found = [self._meet(point.attributes) for point in points]
        if len(known) > 2 * len(points) + _SLACK:
            self._held = [point.attributes for point in points]
            self._known = {id(each): known[id(each)] for each in self._held}
        return found

    def _meet(self, given: Attributes) -> bytes:
        found = self._known.get(id(given))
        if found is None:
            found = self._known[id(given)] = attributes(self._field, given)
            self._held.append(given)
        return found
