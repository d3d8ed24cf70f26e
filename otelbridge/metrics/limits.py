"""How many attribute sets a stream keeps apart: who may say so, and who wins.

Metrics SDK specification, "Cardinality limits": the view, then the reader for the kind of the instrument, then the
default. In between stand the reader's own default and that of the provider.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

from otelbridge.diagnostics import warn_once
from otelbridge.errors import ConfigError
from otelbridge.metrics._sdk import INSTRUMENT_KINDS, kind_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.sdk.metrics.view import View

    from otelbridge.metrics.quota import Quota

DEFAULT_LIMIT = 2000
"""Attribute sets a stream keeps apart by default; the same section."""

DEFAULT_SERIES_LIMIT = 50_000
"""Attribute sets all streams of a provider keep apart together by default."""

_Reader = TypeVar("_Reader")


class LimitedReader(Protocol):
    """A metric reader that has limits of its own; `MeterProvider` asks every reader for them."""

    cardinality_limits: Mapping[str, int]
    """Attribute sets a stream keeps apart, by kind of instrument (``counter``, ``up_down_counter``, ``histogram``,
    ``gauge``, ``observable_counter``, ``observable_up_down_counter``, ``observable_gauge``), and ``default``."""


def with_limits(reader: _Reader, limits: Mapping[str, int]) -> _Reader:
    """Give a reader limits of its own.

    Args:
        reader: Any metric reader that is in no provider yet.
        limits: See `LimitedReader`; an empty mapping leaves it to the provider.

    Returns:
        The same reader.
    """
    cast("LimitedReader", reader).cardinality_limits = limits
    return reader


class Limit(NamedTuple):
    """The limit of one stream."""

    sets: int
    """How many attribute sets it keeps apart."""

    apart: int = 0
    """The same number where it is the reader's own, so that the stream is not that of the other readers; else 0."""


class Limits:
    """The limits that hold for one reader.

    Args:
        common: That of the provider.
        reader: The reader.

    Raises:
        ConfigError: What the reader says cannot be used.
    """

    def __init__(self, common: int, reader: object = None) -> None:
        self._common = common
        self._by_kind = _checked(getattr(reader, "cardinality_limits", None) or {})

    def of(self, view: View, instrument: Any) -> Limit:
        """Give the limit of a stream."""
        said: int | None = getattr(view, "cardinality_limit", None)
        if said is not None:
            return Limit(said)
        default = self._by_kind.get("default", self._common)
        sets = self._by_kind.get(kind_name(instrument), default)
        return Limit(sets, 0 if sets == self._common else sets)


class Terms(NamedTuple):
    """How long and how many series a stream keeps."""

    sets: int = DEFAULT_LIMIT
    """How many attribute sets are kept apart before the rest goes into one overflow series."""

    held: Quota | None = None
    """How many all streams may keep apart together."""

    shown: Quota | None = None
    """How many all streams may show together of those of all processes."""

    forget_after: float | None = None
    """Seconds after which a series that nobody records to is forgotten; None keeps it."""

    lasting: bool = False
    """Whether a value other than zero is kept all the same, since what is under way is not over for being quiet."""


def positive(name: str, value: int) -> int:
    """Give a limit as it is, where it is one.

    Raises:
        ConfigError: It is not positive.
    """
    if value < 1:
        raise ConfigError(f"{name} is {value}", "Give a whole number above 0")
    return value


def _checked(limits: object) -> Mapping[str, int]:
    if not isinstance(limits, Mapping):
        raise ConfigError(f"cardinality_limits of a reader is {limits!r:.100}", "Give a mapping of kinds to numbers")
    known = (*INSTRUMENT_KINDS, "default")
    for kind, value in cast("Mapping[object, object]", limits).items():
        if kind not in known:
            raise ConfigError(
                f"cardinality_limits of a reader names {kind!r:.100}", f"The kinds are {', '.join(known)}"
            )
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"cardinality_limits[{kind!r}] is {value!r:.100}", "Give a whole number above 0")
        positive(f"cardinality_limits[{kind!r}]", value)
    return cast("Mapping[str, int]", limits)


def report_overflow(name: str, limit: int, sets: Iterable[Mapping[str, Any]]) -> None:
    """Say once that a stream has reached its limit."""
    values: dict[str, set[str]] = {}
    for attributes in sets:
        for key, value in attributes.items():
            values.setdefault(key, set()).add(repr(value))
    worst = max(values, key=lambda key: len(values[key]), default="none")
    warn_once(
        (name, "overflow"),
        "%s has reached its limit of %d attribute sets; further ones are counted together under "
        "otel.metric.overflow=true. The attribute with the most values is %s. Leave it out by a view, or raise "
        "the limit.",
        name,
        limit,
        worst,
    )
