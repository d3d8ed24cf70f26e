"""What makes a stream and a series the same in every process, written as bytes.

The same thing must give the same bytes, whatever order its attributes came in, and 1, 1.0 and True must
stay apart. JSON with sorted keys does so; what JSON has not (bytes, nested mappings) is marked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue

_BYTES, _MAPPING = "bytes", "mapping"


@dataclass(frozen=True)
class StreamIdentity:
    """Everything another process needs to know a stream again, or to make it where nobody has yet."""

    scope: str
    """Name of the instrumentation scope."""

    version: str | None
    """Its version."""

    schema_url: str | None
    """Its schema URL."""

    scope_attributes: str
    """Its attributes, as `encode_attributes` writes them."""

    instrument: str
    """Kind of the instrument, for instance ``counter``."""

    name: str
    """Name of the instrument."""

    unit: str
    """Its unit."""

    description: str
    """Its description."""

    boundaries: tuple[float, ...] | None
    """Bucket boundaries it was created with."""

    view: int
    """Position of the view that made the stream among the provider's; -1 for none."""

    kind: str
    """How measurements are aggregated."""

    details: str
    """What else makes the kind, for instance its bucket boundaries."""

    limit: int = 0
    """How many attribute sets it keeps apart where that is the reader's own limit; 0 where it is everybody's."""

    def encode(self) -> bytes:
        """Write it."""
        return _dump(asdict(self))

    @classmethod
    def decode(cls, code: bytes) -> StreamIdentity:
        """Read what `encode` wrote.

        Args:
            code: The bytes.

        Returns:
            The identity.

        Raises:
            ValueError: The bytes are something else.
        """
        try:
            fields: dict[str, Any] = json.loads(code)
            boundaries = fields.pop("boundaries")
            return cls(**fields, boundaries=None if boundaries is None else tuple(boundaries))
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no stream: {error}") from error


def encode_attributes(attributes: Mapping[str, AnyValue]) -> bytes:
    """Write an attribute set.

    Args:
        attributes: A cleaned set.

    Returns:
        The same bytes for the same set in any order.
    """
    return _dump([[key, _marked(attributes[key])] for key in sorted(attributes)])


def decode_attributes(code: bytes) -> dict[str, AnyValue]:
    """Read what `encode_attributes` wrote.

    Args:
        code: The bytes.

    Returns:
        The set, in the order of its keys.

    Raises:
        ValueError: The bytes are something else.
    """
    try:
        return {key: _unmarked(value) for key, value in json.loads(code)}
    except (TypeError, KeyError) as error:
        raise ValueError(f"no attributes: {error}") from error


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _marked(value: Any) -> object:
    if isinstance(value, bytes):
        return {_BYTES: value.hex()}
    if isinstance(value, Mapping):
        nested = cast("Mapping[str, Any]", value)
        return {_MAPPING: [[key, _marked(nested[key])] for key in sorted(nested, key=str)]}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_marked(element) for element in cast("Sequence[Any]", value)]
    return value


def _unmarked(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unmarked(element) for element in cast("list[Any]", value))
    if isinstance(value, dict):
        ((mark, content),) = cast("dict[str, Any]", value).items()
        return bytes.fromhex(content) if mark == _BYTES else {key: _unmarked(element) for key, element in content}
    return value
