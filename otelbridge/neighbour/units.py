"""Units: prometheus_client has words, OpenTelemetry has UCUM.

Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", section "Metric Metadata".
"""

from __future__ import annotations

_UCUM = {
    "days": "d",
    "hours": "h",
    "minutes": "min",
    "seconds": "s",
    "milliseconds": "ms",
    "microseconds": "us",
    "nanoseconds": "ns",
    "bytes": "By",
    "kibibytes": "KiBy",
    "mebibytes": "MiBy",
    "gibibytes": "GiBy",
    "kilobytes": "KBy",
    "megabytes": "MBy",
    "gigabytes": "GBy",
    "meters": "m",
    "volts": "V",
    "amperes": "A",
    "joules": "J",
    "watts": "W",
    "grams": "g",
    "celsius": "Cel",
    "hertz": "Hz",
    "percent": "%",
    "ratio": "1",
}


def ucum(words: str) -> str:
    """Translate a unit in words.

    Args:
        words: For instance ``seconds``.

    Returns:
        For instance ``s``; words that UCUM has no code for as they are.
    """
    return _UCUM.get(words, words)
