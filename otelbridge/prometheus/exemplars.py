"""Exemplars: which of a point's are shown, and what labels they get.

Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", section "Exemplar Conversion".
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from otelbridge.prometheus.digits import plain
from otelbridge.prometheus.labels import Pairs, value_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from otelbridge.prometheus.translation import Translation

LIMIT = 128
"""Characters the names and values of an exemplar's labels may have together, in OpenMetrics 1.0 as in
Prometheus' own storage."""


class Exemplar(NamedTuple):
    """An exemplar as Prometheus has it."""

    pairs: Pairs
    """Label names and values."""

    value: int | float
    """What was measured."""

    time: int
    """When, in nanoseconds since the epoch; 0 where nobody knows."""


def convert(exemplars: Iterable[Any], translation: Translation) -> list[Exemplar]:
    """Convert exemplars of the SDK.

    Args:
        exemplars: Exemplars of a data point.
        translation: How labels are named.

    Returns:
        What can be shown, the oldest first. Those without a number are left out.
    """
    found: list[Exemplar] = []
    for each in exemplars:
        try:
            value = plain(each.value)
            pairs = _pairs(each, translation)
        except Exception:  # an exemplar is an extra; its series goes without  # noqa: S112
            continue
        if value == value:  # noqa: PLR0124  # NaN falls in no bucket
            found.append(Exemplar(pairs, value, each.time_unix_nano or 0))
    return sorted(found, key=lambda exemplar: exemplar.time)


def by_bucket(exemplars: Iterable[Exemplar], bounds: Sequence[float]) -> dict[int, Exemplar]:
    """Choose the latest exemplar of each bucket.

    Args:
        exemplars: The exemplars of a histogram, the oldest first.
        bounds: Upper bounds of the buckets, ascending, inclusive, without infinity.

    Returns:
        Exemplars by the position of their bucket.
    """
    return {bisect_left(bounds, exemplar.value): exemplar for exemplar in exemplars}


def _pairs(exemplar: Any, translation: Translation) -> Pairs:
    found: dict[str, str] = {}
    if exemplar.trace_id:
        found["trace_id"] = f"{exemplar.trace_id:032x}"
    if exemplar.span_id:
        found["span_id"] = f"{exemplar.span_id:016x}"
    room = LIMIT - sum(len(name) + len(value) for name, value in found.items())
    # One by one, since a long attribute is no reason to leave out a short one.
    attributes = cast("Mapping[str, object]", exemplar.filtered_attributes or {})
    for key in sorted(attributes):
        name, text = _without_nul(translation.label(key)), _without_nul(value_text(attributes[key]))
        if name not in found and text and len(name) + len(text) <= room:
            found[name] = text
            room -= len(name) + len(text)
    return tuple(found.items())


def _without_nul(text: str) -> str:
    # At a NUL in an exemplar Prometheus gives up the whole page of OpenMetrics; anywhere else it takes one.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")
