"""Reference documents made from the catalogue, so that they cannot say anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.catalogue.buckets import FITS
from otelbridge.catalogue.naming import metric_name, prometheus_label
from otelbridge.catalogue.registry import DOMAINS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from otelbridge.catalogue.model import Attribute, Buckets, Domain, Metric

_NOTE = "<!-- Made from the catalogue by `otelbridge catalogue --write docs`. Do not edit. -->"


def metrics_reference() -> str:
    """Render every metric with its attributes, names and buckets, as Markdown."""
    lines = [
        _NOTE,
        "",
        "# Metrics",
        "",
        "Every metric otelbridge declares. The Prometheus name is the same by scrape and through a collector; "
        "histograms add `_bucket`, `_sum` and `_count` to it. Labels are the attribute keys with dots as underscores.",
        "",
    ]
    for domain in DOMAINS:
        lines += _domain_section(domain)
    return "\n".join([*lines, *_bucket_section()]) + "\n"


def coverage_reference() -> str:
    """Render which metric answers which requirement row of the reference systems, as Markdown."""
    answers: dict[str, list[str]] = {}
    for domain in DOMAINS:
        for metric in domain.metrics:
            for row in metric.answers:
                answers.setdefault(row, []).append(f"`{metric.name}` ({metric.id})")
    rows = [f"| {row} | {', '.join(metrics)} |" for row, metrics in sorted(answers.items(), key=_row_order)]
    return "\n".join(
        [
            _NOTE,
            "",
            "# Coverage",
            "",
            "otelbridge sets out to serve five monitoring systems that exist. Each of their metrics has a row id "
            "(system, then `M` and a number); this table says which instruments answer it.",
            "",
            "| Row | Answered by |",
            "| --- | --- |",
            *rows,
            "",
        ]
    )


DOCUMENTS: Mapping[str, Callable[[], str]] = {
    "metrics.md": metrics_reference,
    "coverage.md": coverage_reference,
}
"""Every generated document: file name in the docs folder, and what renders it."""


def _row_order(entry: tuple[str, list[str]]) -> tuple[str, int]:
    system, _, number = entry[0].partition("-M")
    return system, int(number) if number.isdigit() else 0


def _domain_section(domain: Domain) -> list[str]:
    lines = [f"## {domain.name.capitalize()}", "", f"{domain.brief} Meter: `{domain.meter}`.", ""]
    for metric in domain.metrics:
        lines += _metric_section(metric)
    return lines


def _metric_section(metric: Metric) -> list[str]:
    facts = [
        f"- Prometheus: `{metric_name(metric)}`",
        f"- Kind: {metric.kind.value.replace('_', ' ')}, unit `{metric.unit}`"
        + (f", buckets {metric.buckets.name}" if metric.buckets else ""),
        f"- Name: {'semantic convention' if metric.convention == 'semconv' else 'own'}",
    ]
    if metric.recorded_by != "otelbridge":
        facts.append(f"- Recorded by: `{metric.recorded_by}`")
    section = [f"### {metric.id} `{metric.name}`", "", metric.brief, "", *facts, ""]
    if metric.attributes:
        section += ["| Attribute | Label | Meaning |", "| --- | --- | --- |"]
        section += [_attribute_row(attribute) for attribute in metric.attributes]
        section.append("")
    return section


def _attribute_row(attribute: Attribute) -> str:
    values = ", ".join(f"`{value}`" for value in attribute.values)
    known = f" {'One of' if attribute.closed else 'For instance'} {values}." if values else ""
    return f"| `{attribute.key}` | `{prometheus_label(attribute.key)}` | {attribute.brief}{known} |"


def _bucket_section() -> Iterable[str]:
    used: dict[str, Buckets] = {}
    for domain in DOMAINS:
        for metric in domain.metrics:
            if metric.buckets:
                used.setdefault(metric.buckets.name, metric.buckets)
    for fit in FITS:
        used.setdefault(fit.buckets.name, fit.buckets)
    yield from ("## Buckets", "", "| Set | Upper bounds | Origin |", "| --- | --- | --- |")
    for buckets in used.values():
        bounds = ", ".join(f"{bound:g}" for bound in buckets.boundaries)
        yield f"| {buckets.name} | {bounds} | {buckets.origin} |"
    yield from (
        "",
        "Histograms of other libraries get these, unless the library brings boundaries of its own or a view of yours "
        "says some. The first row that fits counts.",
        "",
        "| Name | Unit | Set |",
        "| --- | --- | --- |",
    )
    for fit in FITS:
        yield f"| `{fit.name}` | `{fit.unit}` | {fit.buckets.name} |"
