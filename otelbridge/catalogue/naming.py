"""The one function from an instrument to its name in Prometheus.

Both export paths must agree: what the scrape endpoint shows and what a collector or Prometheus makes
of OTLP. The rules are those of the OpenTelemetry specification, "Prometheus and OpenMetrics
Compatibility", section "Metric Metadata", in the strategy `UnderscoreEscapingWithSuffixes`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otelbridge.catalogue.model import Kind, Metric

_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
}
_PER_UNITS = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}
_ANNOTATION = re.compile(r"\{[^}]*\}")
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_:]+")
_REPEATED = re.compile(r"_{2,}")


def prometheus_unit(unit: str) -> str:
    """Translate a UCUM unit to the words Prometheus names use.

    Args:
        unit: UCUM unit, for instance ``s``, ``By/s`` or ``{request}``.

    Returns:
        The words joined by underscores (``seconds``, ``bytes_per_second``); empty for ``1`` and for
        pure annotations.
    """
    main, _, per = _ANNOTATION.sub("", unit).partition("/")
    main, per = main.strip(), per.strip()
    words = "" if main == "1" else _UNITS.get(main, main)
    if per:
        words = f"{words}_per_{_PER_UNITS.get(per, per)}".lstrip("_")
    return _REPEATED.sub("_", _ILLEGAL.sub("_", words)).strip("_")


def prometheus_name(name: str, unit: str, kind: Kind) -> str:
    """Translate an instrument to the name of its Prometheus metric family.

    Args:
        name: Instrument name, for instance ``http.server.request.duration``.
        unit: UCUM unit of the instrument.
        kind: Instrument kind; monotonic sums get the suffix ``_total``.

    Returns:
        The family name, for instance ``http_server_request_duration_seconds``. Histograms add
        ``_bucket``, ``_sum`` and ``_count`` to it.
    """
    words = _REPEATED.sub("_", _ILLEGAL.sub("_", name))
    suffix = prometheus_unit(unit)
    stem = words.removesuffix("_total") if kind.monotonic else words
    if suffix and not stem.endswith(f"_{suffix}"):
        stem = f"{stem}_{suffix}"
    full = f"{stem}_total" if kind.monotonic else stem
    return f"_{full}" if full[:1].isdigit() else full


def prometheus_label(key: str) -> str:
    """Translate an attribute key to a Prometheus label name.

    Args:
        key: Attribute key, for instance ``http.request.method``.

    Returns:
        The label name, for instance ``http_request_method``.
    """
    label = re.sub(r"[^a-zA-Z0-9_]", "_", key)
    return f"key_{label}" if label[:1].isdigit() else label


def metric_name(metric: Metric) -> str:
    """Give the Prometheus family name of a declared metric."""
    return prometheus_name(metric.name, metric.unit, metric.kind)
