"""The text formats: Prometheus text 0.0.4 and 1.0.0, and OpenMetrics 1.0.

Sources: Prometheus documentation, "Exposition formats"; OpenMetrics 1.0, section "Text format". The two Prometheus
versions differ in names only, and those `otelbridge.prometheus.translation` has settled before.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.prometheus.digits import all_plain, canonical, number, plain, seconds
from otelbridge.prometheus.exemplars import by_bucket, convert
from otelbridge.prometheus.exponential import Exponential, is_exponential
from otelbridge.prometheus.labels import escaped, label_text, quoted
from otelbridge.prometheus.model import Family, Kind, Piece, joined
from otelbridge.prometheus.openmetrics import expose
from otelbridge.prometheus.samples import HistogramText, SampleText, histogram_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from otelbridge.prometheus.exemplars import Exemplar

_TEXT = attrgetter("text")
_PLAIN_TYPES = {Kind.INFO: "gauge", Kind.STATESET: "gauge", Kind.UNKNOWN: "untyped"}
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


def plain_text(families: Iterable[Family]) -> bytes:
    """Write families in Prometheus' text format.

    Args:
        families: The families.

    Returns:
        The page, UTF-8. Exemplars have no place in it; start times are gauges where a family is to show them.
        Exponential histograms are folded into classic buckets. A series that cannot be written is left out,
        reported once.
    """
    return joined(plain_pieces(families))


def plain_pieces(families: Iterable[Family]) -> Iterator[Piece]:
    """Write families one by one; see `plain_text`."""
    for family in families:
        parts: list[str] = []
        name = quoted(family.name)
        if family.help:
            parts.append(f"# HELP {name} {family.help.translate(_HELP_ESCAPES)}\n")
        parts.append(f"# TYPE {name} {_PLAIN_TYPES.get(family.kind, family.kind.value)}\n")
        if family.kind is Kind.HISTOGRAM:
            parts += _block(family, openly=False) or _each(family, _plain_histogram)
        elif family.kind is Kind.SUMMARY:
            parts += _each(family, _summary)
        else:
            parts.append(_numbers(family))
        if family.created:
            parts.append(_beginnings(family))
        yield _piece(family, parts)


def openmetrics_text(families: Iterable[Family], *, created: bool = False) -> bytes:
    """Write families in OpenMetrics 1.0.

    Args:
        families: The families.
        created: Whether each counter and histogram says since when it counts, in a sample of its own
            (``_created``).

    Returns:
        The page, UTF-8, with exemplars. Families whose names this format cannot hold beside each other change
        their type or are left out, see `otelbridge.prometheus.openmetrics.expose`. Histograms with negative
        bounds or a negative sum have no ``_sum`` and ``_count``, and such summaries no ``_sum``: the format allows
        none.
    """
    return joined(openmetrics_pieces(families, created=created))


def openmetrics_pieces(families: Iterable[Family], *, created: bool = False) -> Iterator[Piece]:
    """Write families one by one; see `openmetrics_text`."""
    for exposed in expose(families):
        parts: list[str] = []
        family, name = exposed.family, quoted(exposed.name)
        parts.append(f"# TYPE {name} {exposed.type}\n")
        if exposed.unit:
            parts.append(f"# UNIT {name} {exposed.unit}\n")
        if family.help:
            parts.append(f"# HELP {name} {escaped(family.help)}\n")
        begun = created or family.created
        if exposed.type == "histogram":
            usual = None if begun else _block(family, openly=True)
            parts += usual or _each(
                family, lambda who, what, of, at=begun: _openmetrics_histogram(who, what, of, created=at)
            )
        elif exposed.type == "summary":
            parts += _each(family, lambda who, what, of, at=begun: _openmetrics_summary(who, what, of, created=at))
        elif exposed.type == "counter" and (begun or any(point.exemplars for point in family.points)):
            started = SampleText(f"{exposed.name}_created") if begun else None
            parts += _each(family, lambda who, what, of, at=started: _openmetrics_counter(who, what, of, at))
        else:
            parts.append(_numbers(family))
        yield _piece(family, parts)
    yield _piece(None, ["# EOF\n"])


def _piece(family: Family | None, parts: list[str]) -> Piece:
    return Piece(family, [part.encode() for part in parts])


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
    if family.values is not None and family.frame is not None:
        return family.frame.lines(family.name, map(_TEXT, family.labels), family.values)
    try:
        return text.lines(map(_TEXT, family.labels), [point.value for point in family.points])
    except Exception:  # one by one, it shows whose value is none
        return "".join(_each(family, lambda labels, point, _: text.line(labels, number(plain(point.value)))))


def _block(family: Family, *, openly: bool) -> list[str] | None:
    """Write histograms that all are as most are; None where they have to be looked at one by one.

    Args:
        family: The histograms.
        openly: Whether by the rules of OpenMetrics, which has exemplars and allows no sum below zero.
    """
    points = family.points
    try:
        bounds = points[0].explicit_bounds
        totals = [point.sum for point in points]
        if not all_plain(totals) or any(point.explicit_bounds is not bounds for point in points):
            return None
        if openly and (any(point.exemplars for point in points) or min(totals) < 0 or (bounds and bounds[0] < 0)):
            return None
        counts = [point.bucket_counts for point in points]
        return histogram_text(family.name, tuple(bounds)).block([*map(_TEXT, family.labels)], counts, totals)
    except Exception:  # one by one, it shows which of them is none
        return None


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


def _summary(labels: str, point: Any, family: Family, *, signed: bool = True) -> str:
    lead = f"{labels}," if labels else ""
    quantile = SampleText(family.name)
    lines = [quantile.line(f'{lead}quantile="{canonical(at)}"', number(value)) for at, value in point.quantiles]
    total = plain(point.sum)
    if signed or total >= 0:
        lines.append(SampleText(f"{family.name}_sum").line(labels, number(total)))
    lines.append(SampleText(f"{family.name}_count").line(labels, number(point.count)))
    return "".join(lines)


def _openmetrics_summary(labels: str, point: Any, family: Family, *, created: bool) -> str:
    lines = _summary(labels, point, family, signed=False)
    if created and point.start_time_unix_nano:
        lines += SampleText(f"{family.name}_created").line(labels, seconds(point.start_time_unix_nano))
    return lines


def _beginnings(family: Family) -> str:
    """Write since when each series counts, as a family of gauges."""
    name = f"{family.name.removesuffix('_total') if family.kind is Kind.COUNTER else family.name}_created"
    help_line = f"# HELP {quoted(name)} {family.help.translate(_HELP_ESCAPES)}\n" if family.help else ""
    text = SampleText(name)
    lines = [
        text.line(labels.text, seconds(point.start_time_unix_nano))
        for labels, point in zip(family.labels, family.points, strict=True)
        if point.start_time_unix_nano
    ]
    return "".join([help_line, f"# TYPE {quoted(name)} gauge\n", *lines]) if lines else ""


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
