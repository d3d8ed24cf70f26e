"""The text formats: Prometheus text 0.0.4 and 1.0.0, and OpenMetrics 1.0.

Sources: Prometheus documentation, "Exposition formats"; OpenMetrics 1.0, section "Text format". The two Prometheus
versions differ in names only, and those `otelbridge.prometheus.translation` has settled before.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.prometheus.digits import number, plain, seconds
from otelbridge.prometheus.exemplars import by_bucket, convert
from otelbridge.prometheus.exponential import Exponential, is_exponential
from otelbridge.prometheus.labels import escaped, label_text, quoted
from otelbridge.prometheus.model import Family, Kind
from otelbridge.prometheus.openmetrics import expose
from otelbridge.prometheus.samples import HistogramText, SampleText, histogram_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otelbridge.prometheus.exemplars import Exemplar

_TEXT = attrgetter("text")
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def plain_text(families: Iterable[Family]) -> bytes:
    """Write families in Prometheus' text format.

    Args:
        families: The families.

    Returns:
        The page, UTF-8. Exemplars and start times have no place in it; exponential histograms are folded
        into classic buckets. A series that cannot be written is left out, reported once.
    """
    parts: list[str] = []
    for family in families:
        name = quoted(family.name)
        if family.help:
            parts.append(f"# HELP {name} {family.help.translate(_HELP_ESCAPES)}\n")
        parts.append(f"# TYPE {name} {'gauge' if family.kind is Kind.INFO else family.kind.value}\n")
        if family.kind is Kind.HISTOGRAM:
            parts += _each(family, _plain_histogram)
        else:
            parts.append(_numbers(family))
    return "".join(parts).encode()


def openmetrics_text(families: Iterable[Family], *, created: bool = False) -> bytes:
    """Write families in OpenMetrics 1.0.

    Args:
        families: The families.
        created: Whether each counter and histogram says since when it counts, in a sample of its own
            (``_created``).

    Returns:
        The page, UTF-8, with exemplars. Families whose names this format cannot hold beside each other change
        their type or are left out, see `otelbridge.prometheus.openmetrics.expose`. Histograms with negative
        bounds or a negative sum have no ``_sum`` and ``_count``: the format allows none.
    """
    parts: list[str] = []
    for exposed in expose(families):
        family, name = exposed.family, quoted(exposed.name)
        parts.append(f"# TYPE {name} {exposed.type}\n")
        if exposed.unit:
            parts.append(f"# UNIT {name} {exposed.unit}\n")
        if family.help:
            parts.append(f"# HELP {name} {escaped(family.help)}\n")
        if exposed.type == "histogram":
            parts += _each(family, lambda who, what, of: _openmetrics_histogram(who, what, of, created=created))
        elif exposed.type == "counter" and (created or any(point.exemplars for point in family.points)):
            started = SampleText(f"{exposed.name}_created") if created else None
            parts += _each(family, lambda who, what, of, at=started: _openmetrics_counter(who, what, of, at))
        else:
            parts.append(_numbers(family))
    parts.append("# EOF\n")
    return "".join(parts).encode()


def _each(family: Family, write: Callable[[str, Any, Family], str]) -> list[str]:
    parts: list[str] = []
    for labels, point in zip(family.labels, family.points, strict=True):
        try:
            parts.append(write(labels.text, point, family))
        except Exception as error:
            warn_once(
                (family.name, "text", type(error).__name__),
                "%.200s leaves out the series {%.200s}, which cannot be written: %.200s.",
                family.name,
                labels.text,
                error,
            )
    return parts


def _numbers(family: Family) -> str:
    text = SampleText(family.name)
    try:
        return text.lines(map(_TEXT, family.labels), [point.value for point in family.points])
    except Exception:  # one by one, it shows whose value is none
        return "".join(_each(family, lambda labels, point, _: text.line(labels, number(plain(point.value)))))


def _buckets(name: str, point: Any) -> tuple[HistogramText, tuple[float, ...], Sequence[int]]:
    if is_exponential(point):
        folded, counts = Exponential.of(point).fold()
        bounds = tuple(folded)
        return HistogramText(name, bounds), bounds, counts  # hardly ever the same bounds again
    bounds = tuple(point.explicit_bounds)
    return histogram_text(name, bounds), bounds, point.bucket_counts


def _plain_histogram(labels: str, point: Any, family: Family) -> str:
    text, _, counts = _buckets(family.name, point)
    return text.lines(labels, counts, None if point.sum is None else plain(point.sum))


def _openmetrics_histogram(labels: str, point: Any, family: Family, *, created: bool) -> str:
    text, bounds, counts = _buckets(family.name, point)
    total = None if point.sum is None else plain(point.sum)
    if total is not None and (not total >= 0 or (bounds and bounds[0] < 0)):
        total = None
    lines = text.lines(labels, counts, total)
    if point.exemplars:
        chosen = by_bucket(convert(point.exemplars, family.translation), text.bounds)
        written = lines.split("\n")
        for at, exemplar in chosen.items():
            written[at] += _exemplar_text(exemplar)
        lines = "\n".join(written)
    if created and point.start_time_unix_nano:
        lines += SampleText(f"{family.name}_created").line(labels, seconds(point.start_time_unix_nano))
    return lines


def _openmetrics_counter(labels: str, point: Any, family: Family, started: SampleText | None) -> str:
    exemplars = convert(point.exemplars, family.translation) if point.exemplars else ()
    value = number(point.value) + (_exemplar_text(exemplars[-1]) if exemplars else "")
    line = SampleText(family.name).line(labels, value)
    if started is not None and point.start_time_unix_nano:
        line += started.line(labels, seconds(point.start_time_unix_nano))
    return line


def _exemplar_text(exemplar: Exemplar) -> str:
    time = f" {seconds(exemplar.time)}" if exemplar.time else ""
    return f" # {{{label_text(exemplar.pairs)}}} {number(exemplar.value)}{time}"
