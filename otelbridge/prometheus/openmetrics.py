"""Names in OpenMetrics: unlike Prometheus' text, it forbids names that only might clash.

A counter ``foo`` shows ``foo_total`` and may show ``foo_created``, but no gauge beside it may be called ``foo``
(OpenMetrics 1.0, section "Suffixes"). OpenTelemetry knows no such rule, so both may well be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from otelbridge.diagnostics import warn_once
from otelbridge.prometheus.model import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otelbridge.prometheus.model import Family

_SUFFIXES = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_count", "_sum", "_created"),
    "info": ("", "_info"),
    "stateset": ("",),
    "summary": ("", "_count", "_sum", "_created"),
    "unknown": ("",),
}


class Exposed(NamedTuple):
    """A family as OpenMetrics shows it."""

    family: Family
    """The family."""

    name: str
    """Its name, without the suffix of its samples."""

    type: str
    """Its type in OpenMetrics."""

    unit: str
    """Its unit; empty where none is shown."""


def expose(families: Iterable[Family]) -> list[Exposed]:
    """Decide under which name and type families are shown.

    Args:
        families: The families, the oldest first.

    Returns:
        The same families in the same order. A counter whose name is another's, too, or does not end in
        ``_total`` (as some strategies have it) is of the type ``unknown``, under its full name, without
        exemplars. Of other families that clash the younger is left out, reported once.
    """
    wanted = [_wanted(family) for family in families]
    taken: set[str] = set()
    left: set[int] = set()
    shown: dict[int, Exposed] = {}
    # Counters last, since they have a way out.
    for counters in (False, True):
        for at, exposed in enumerate(wanted):
            if (exposed.type in ("counter", "unknown")) is not counters:
                continue
            found = next((each for each in (exposed, _unknown(exposed)) if each and not taken & _names(each)), None)
            if found is None:
                left.add(at)
                _report(exposed)
            else:
                taken |= _names(found)
                shown[at] = found
    return [shown[at] for at in range(len(wanted)) if at not in left]


def _wanted(family: Family) -> Exposed:
    kind, name = family.kind, family.name
    if kind is Kind.COUNTER and not name.endswith("_total"):
        return Exposed(family, name, "unknown", family.unit)
    stem = name.removesuffix("_total") if kind is Kind.COUNTER else name
    stem = stem.removesuffix("_info") if kind is Kind.INFO else stem
    return Exposed(family, stem, kind.value, family.unit)


def _unknown(exposed: Exposed) -> Exposed | None:
    return Exposed(exposed.family, exposed.family.name, "unknown", "") if exposed.type == "counter" else None


def _names(exposed: Exposed) -> set[str]:
    return {exposed.name + suffix for suffix in _SUFFIXES[exposed.type]}


def _report(exposed: Exposed) -> None:
    warn_once(
        (exposed.family.name, "openmetrics"),
        "%.200s is left out of the OpenMetrics page, which allows no %s of that name beside what is there already. "
        "Rename it; names that end in _created, _sum, _count or _bucket ask for this.",
        exposed.family.name,
        exposed.type,
    )
