"""What makes a stream and a series the same in every process, written as bytes.

The same thing must give the same bytes, whatever order its attributes came in, and 1, 1.0 and True must
stay apart. JSON with sorted keys does so; what JSON has not (bytes, nested mappings) is marked.

Streams of one key are one stream, and are added up. What else another process needs in order to show a stream, its
details, may differ: the processes of a group may run different versions of a program, as in a rolling restart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from opentelemetry.util.types import AnyValue
    from typing_extensions import Self

    from otelbridge.catalogue.model import MergeRule

_BYTES, _MAPPING = "bytes", "mapping"
_BETWEEN = b"\n"


class StreamKey(NamedTuple):
    """What makes streams of several processes one."""

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
    """Name of the stream, which a view may have changed."""

    unit: str
    """Its unit."""

    kind: str
    """How measurements are aggregated; see `otelbridge.metrics.kinds.Kind`."""

    keep: str
    """Which attribute keys are kept; see `otelbridge.metrics._sdk.describe_keys`."""

    rule: MergeRule
    """How the values of several processes become one."""

    slot: int = 0
    """Which of the streams that one view makes of one instrument, where readers want different ones."""

    occurrence: int = 0
    """Which of the streams of a process that are otherwise alike."""


class StreamIdentity(NamedTuple):
    """Everything another process needs to know a stream again, or to show it where it has none of that key."""

    key: StreamKey
    """What makes it one with others."""

    description: str
    """Its description."""

    bounds: tuple[float, ...] = ()
    """Bucket boundaries of a histogram."""

    extremes: bool = True
    """Whether a histogram keeps minimum and maximum."""

    max_size: int = 0
    """Most buckets of an exponential histogram, above zero and below."""

    max_scale: int = 0
    """The scale it begins with."""

    limit: int = 0
    """How many attribute sets it keeps apart."""

    apart: int = 0
    """The same number where it is the reader's own; 0 where it is everybody's."""

    forget_after: float | None = None
    """Seconds after which a series that nobody records to is forgotten."""

    def encode(self) -> bytes:
        """Write it: the key first, as `key_of` finds it."""
        details = self._asdict()
        return join(_dump(details.pop("key")._asdict()), details)

    @classmethod
    def decode(cls, code: bytes) -> Self:
        """Read what `encode` wrote.

        Raises:
            ValueError: The bytes are something else.
        """
        try:
            details = details_of(code)
            bounds = tuple(map(float, details.pop("bounds")))
            return cls(StreamKey(**json.loads(key_of(code))), **details, bounds=bounds)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no stream: {error}") from error


def join(key: bytes, details: Mapping[str, Any]) -> bytes:
    """Write an identity.

    Args:
        key: What makes streams one, as JSON or anything else of one line.
        details: What may differ.
    """
    return key + _BETWEEN + _dump(details)


def key_of(identity: bytes) -> bytes:
    """Give the part of a written identity that is the same for all streams that are one."""
    return identity.partition(_BETWEEN)[0]


def details_of(identity: bytes) -> dict[str, Any]:
    """Read the other part of a written identity.

    Raises:
        ValueError: The bytes are something else.
    """
    return json.loads(identity.partition(_BETWEEN)[2])


def encode_attributes(attributes: Mapping[str, AnyValue]) -> bytes:
    """Write a cleaned attribute set: the same bytes for the same set in any order."""
    return _dump([[key, _marked(attributes[key])] for key in sorted(attributes)])


def decode_attributes(code: bytes) -> dict[str, AnyValue]:
    """Read what `encode_attributes` wrote.

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
