"""Series of a text page, brought to a form in which two ways to the same data can be compared."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

# What only one side can have, each with its reason in docs/parity.md.
OWN_LABELS = frozenset({"job", "instance"})

# Read from the machine or the clock at each collection, so two collections differ by nature.
MOVING = ("system_", "process_", "cpython_", "otel_sdk_", "otelbridge_push_", "target_info")

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(page: str) -> Series:
    """Samples by name and labels; a series that stands there twice fails."""
    found: Series = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            labels = {key: value for key, value in sample.labels.items() if value and key not in OWN_LABELS}
            if "le" in labels:
                labels["le"] = repr(float(labels["le"]))
            key = (sample.name, frozenset(labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def names(series: Series) -> set[str]:
    """Names of the samples."""
    return {name for name, _ in series}


def resting(series: Series) -> Series:
    """The series that stand still when nobody uses the service."""
    return {key: value for key, value in series.items() if not key[0].startswith(MOVING)}


def families(page: str) -> dict[str, tuple[str, str]]:
    """Type and help text of every family."""
    return {family.name: (family.type, family.documentation) for family in text_string_to_metric_families(page)}
