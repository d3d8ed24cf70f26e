"""How OpenTelemetry names become Prometheus names: four strategies, and the escaping a scraper asked for.

Sources: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility" (sections "Metric Metadata",
"Metric Attributes") and "Metrics Exporter - Prometheus" (section "Translation Strategy"); Prometheus, "UTF-8
escaping schemes". The specification leaves room (it says nothing of unit ``1``, of words like ``total`` and
``seconds`` in the midst of a name, of annotations behind a unit, or of labels with two underscores). There the names
are those of the Collector and of Prometheus' own OTLP receiver, so that what is scraped and what is pushed is one
series.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from otelbridge.catalogue.naming import prometheus_label

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


class Escaping(Enum):
    """What a scraper wants made of characters beyond the classic ones; the values are those of its header."""

    ALLOW_UTF8 = "allow-utf-8"
    UNDERSCORES = "underscores"
    DOTS = "dots"
    VALUES = "values"


@dataclass(frozen=True)
class Translation:
    """Names for one answer: the configured strategy first, then what the scraper asked for.

    Args:
        strategy: How names are translated.
        escaping: What is done about characters that are left beyond the classic ones.
    """

    strategy: Strategy = Strategy.UNDERSCORES_WITH_SUFFIXES
    escaping: Escaping = Escaping.UNDERSCORES

    @classmethod
    def settle(cls, strategy: Strategy, escaping: Escaping) -> Translation:
        """Choose among the translations that yield the same names always the same one.

        Args:
            strategy: As configured.
            escaping: As negotiated.

        Returns:
            A translation to keep caches by.
        """
        # Only "dots" changes names that are classic already.
        indifferent = strategy.escapes and escaping is not Escaping.DOTS
        return cls(strategy, Escaping.UNDERSCORES if indifferent else escaping)

    def family(self, name: str, unit: str, shape: Shape) -> str:
        """Name the Prometheus metric of an instrument.

        Args:
            name: Name of the instrument, for instance ``http.server.request.duration``.
            unit: Its UCUM unit.
            shape: What its data is.

        Returns:
            The name of the family, for instance ``http_server_request_duration_seconds``; for counters with
            ``_total`` where the strategy has suffixes. Never empty.
        """
        return escape(family_name(name, unit, shape, self.strategy), self.escaping)

    def label(self, key: str) -> str:
        """Name the label of an attribute.

        Args:
            key: Attribute key, for instance ``http.request.method``.

        Returns:
            The label name, never empty. Names with two leading underscores, which Prometheus keeps for
            itself (``__name__``), begin with one.
        """
        key = encodable(key)
        name = (prometheus_label(key) if self.strategy.escapes else key) or NAMELESS
        name = escape(name, self.escaping, label=True)
        return f"_{name.lstrip('_')}" if name.startswith("__") else name


def family_name(name: str, unit: str, shape: Shape, strategy: Strategy) -> str:
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


def is_legacy(name: str, *, label: bool = False) -> bool:
    """Tell whether a name has the classic characters only, so that it needs no quotes anywhere.

    Args:
        name: Name of a family or a label.
        label: Whether it is a label, which may have no colons.

    Returns:
        Whether it is classic.
    """
    # Among ASCII, identifiers of Python are just the classic label names.
    return name.isascii() and (name if label else name.replace(":", "_")).isidentifier()


def escape(name: str, escaping: Escaping, *, label: bool = False) -> str:
    """Escape a translated name as a scraper asked for.

    Args:
        name: Name of a family or a label, encodable.
        escaping: The scheme; Prometheus documentation, "UTF-8 escaping schemes".
        label: Whether it is a label.

    Returns:
        The name, classic except under ``allow-utf-8``.
    """
    if escaping is Escaping.ALLOW_UTF8:
        # Prometheus' text parser takes a NUL in a quoted name for the end of the page.
        return name.replace("\0", "\ufffd")
    if escaping is not Escaping.DOTS and is_legacy(name, label=label):
        return name
    replacements = _REPLACEMENTS[escaping]
    characters = (
        replacements.plain.get(char) or (char if _allowed(char, at, label) else replacements.other(char))
        for at, char in enumerate(name)
    )
    return replacements.prefix + "".join(characters)


@dataclass(frozen=True)
class _Replacements:
    prefix: str
    plain: dict[str, str]
    hexadecimal: bool
    filler: str

    def other(self, char: str) -> str:
        return f"_{ord(char):x}_" if self.hexadecimal else self.filler


_REPLACEMENTS = {
    Escaping.UNDERSCORES: _Replacements("", {}, hexadecimal=False, filler="_"),
    Escaping.DOTS: _Replacements("", {"_": "__", ".": "_dot_"}, hexadecimal=False, filler="__"),
    Escaping.VALUES: _Replacements("U__", {"_": "__"}, hexadecimal=True, filler=""),
}


def _allowed(char: str, at: int, label: bool) -> bool:
    if not char.isascii():
        return False
    return char.isalpha() or char == "_" or (char == ":" and not label) or (at > 0 and char.isdigit())


def _suffixes(unit: str) -> tuple[str, str]:
    main, _, per = unit.partition("/")
    main, per = ("" if _BRACES.search(part) else part.strip() for part in (main, per))
    return _UNITS.get(main, main), f"per_{_PER_UNITS.get(per, per)}" if per else ""


def _clean(words: str) -> str:
    return re.sub("_{2,}", "_", _NOT_WORD.sub("_", words)).removeprefix("_")


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
