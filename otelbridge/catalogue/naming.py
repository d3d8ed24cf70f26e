"""The one function from an instrument to its name in Prometheus, and that from an attribute to its label.

Both export paths must agree: what the scrape endpoint shows and what a collector or Prometheus makes of OTLP.
Sources: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility" (sections "Metric Metadata",
"Metric Attributes") and "Metrics Exporter - Prometheus" (section "Translation Strategy"). The specification leaves
room (it says nothing of unit ``1``, of words like ``total`` and ``seconds`` in the midst of a name, or of annotations
behind a unit). There the names are those of the Collector and of Prometheus' own OTLP receiver, so that what is
scraped and what is pushed is one series.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from otelbridge.catalogue.model import Kind

if TYPE_CHECKING:
    from otelbridge.catalogue.model import Metric

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
    "1": "",
}
_PER_UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}

_BRACES = re.compile(r"[{}]")
_NOT_WORD = re.compile(r"[^a-zA-Z0-9:]+")
_NOT_NAME = re.compile(r"[^a-zA-Z0-9:_]+")
_NOT_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_REPEATED = re.compile(r"_{2,}")

NAMELESS = "_"
"""What a name becomes of which nothing is left."""


class Shape(Enum):
    """What a metric is in the data model, as far as its name depends on it."""

    COUNTER = "monotonic sum"
    UP_DOWN = "non-monotonic sum"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Strategy(Enum):
    """How names are translated; the values are those of the specification."""

    UNDERSCORES_WITH_SUFFIXES = "UnderscoreEscapingWithSuffixes"
    UNDERSCORES = "UnderscoreEscapingWithoutSuffixes"
    UTF8_WITH_SUFFIXES = "NoUTF8EscapingWithSuffixes"
    UTF8 = "NoTranslation"

    @property
    def escapes(self) -> bool:
        """Whether only the classic characters of Prometheus are left."""
        return self in (Strategy.UNDERSCORES_WITH_SUFFIXES, Strategy.UNDERSCORES)

    @property
    def suffixes(self) -> bool:
        """Whether unit and type are put at the end of the name."""
        return self in (Strategy.UNDERSCORES_WITH_SUFFIXES, Strategy.UTF8_WITH_SUFFIXES)


SHAPES = {
    Kind.COUNTER: Shape.COUNTER,
    Kind.OBSERVABLE_COUNTER: Shape.COUNTER,
    Kind.UP_DOWN_COUNTER: Shape.UP_DOWN,
    Kind.OBSERVABLE_UP_DOWN_COUNTER: Shape.UP_DOWN,
    Kind.GAUGE: Shape.GAUGE,
    Kind.OBSERVABLE_GAUGE: Shape.GAUGE,
    Kind.HISTOGRAM: Shape.HISTOGRAM,
}
"""What the data of each kind of instrument is."""


def family_name(name: str, unit: str, shape: Shape, strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES) -> str:
    """Translate the name of an instrument, before any escaping for a scraper.

    Args:
        name: Name of the instrument; half surrogate pairs become question marks.
        unit: Its UCUM unit.
        shape: What its data is.
        strategy: How to translate.

    Returns:
        The name of the family, never empty.
    """
    return _NAMERS[strategy](encodable(name), encodable(unit), shape) or NAMELESS


def unit_words(unit: str) -> str:
    """Translate a UCUM unit to the words Prometheus uses.

    Args:
        unit: For instance ``s``, ``By/s`` or ``{request}``.

    Returns:
        For instance ``seconds``, ``bytes_per_second`` or nothing at all.
    """
    return "_".join(word for word in map(_clean, _suffixes(encodable(unit))) if word).strip("_")


def encodable(text: str) -> str:
    """Replace what no UTF-8 holds (half a surrogate pair) by question marks.

    Args:
        text: Any text. One such character would make a whole page fail.

    Returns:
        The text, the same object where it is in order.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def prometheus_label(key: str) -> str:
    """Translate an attribute key to a Prometheus label name.

    Args:
        key: Attribute key, for instance ``http.request.method``.

    Returns:
        The label name, for instance ``http_request_method``.
    """
    label = _NOT_LABEL.sub("_", key)
    return f"key_{label}" if label[:1].isdigit() else label


def metric_name(metric: Metric) -> str:
    """Give the Prometheus family name of a declared metric."""
    return family_name(metric.name, metric.unit, SHAPES[metric.kind])


def _suffixes(unit: str) -> tuple[str, str]:
    main, _, per = unit.partition("/")
    main, per = ("" if _BRACES.search(part) else part.strip() for part in (main, per))
    return _UNITS.get(main, main), f"per_{_PER_UNITS.get(per, per)}" if per else ""


def _clean(words: str) -> str:
    return _REPEATED.sub("_", _NOT_WORD.sub("_", words)).removeprefix("_")


def _classic_with_suffixes(name: str, unit: str, shape: Shape) -> str:
    words = [word for word in _NOT_WORD.split(name) if word]
    main, per = map(_clean, _suffixes(unit))
    per = per.removesuffix("_")
    if per == "per":  # nothing legal was left of it
        per = ""
    if main in words:
        main = ""
    words += [word for word in (main.removesuffix("_") if per else main, per) if word]
    if last := _type_suffix(unit, shape):
        words = [*(word for word in words if word != last), last]
    full = "_".join(words)
    return f"_{full}" if full[:1].isdigit() else full


def _classic(name: str, unit: str, shape: Shape) -> str:
    del unit, shape
    full = "_".join(word for word in _NOT_NAME.split(name) if word)
    return f"_{full}" if full[:1].isdigit() else full


def _utf8_with_suffixes(name: str, unit: str, shape: Shape) -> str:
    main, per = _suffixes(unit)
    last = _type_suffix(unit, shape)
    stem = _without(_without(name, last), per)
    if main and not _ends_with(stem, main):
        stem = f"{stem}_{main}"
    return "_".join(word for word in (stem, per, last) if word)


def _utf8(name: str, unit: str, shape: Shape) -> str:
    del unit, shape
    return name


_NAMERS = {
    Strategy.UNDERSCORES_WITH_SUFFIXES: _classic_with_suffixes,
    Strategy.UNDERSCORES: _classic,
    Strategy.UTF8_WITH_SUFFIXES: _utf8_with_suffixes,
    Strategy.UTF8: _utf8,
}


def _type_suffix(unit: str, shape: Shape) -> str:
    if shape is Shape.COUNTER:
        return "total"
    # Only for gauges: many a counter of things is given the unit 1, and no sum is a ratio.
    return "ratio" if shape is Shape.GAUGE and unit == "1" else ""


def _ends_with(name: str, word: str) -> bool:
    return name.endswith(word) and not name[-len(word) - 1 : -len(word)].isalnum()


def _without(name: str, word: str) -> str:
    if not word or not _ends_with(name, word) or len(name) <= len(word) + 1:
        return name
    return name[: -len(word) - 1]
