"""How OpenTelemetry names reach a scraper: the configured strategy, then the escaping it asked for.

Source: Prometheus, "UTF-8 escaping schemes". What is before the escaping stands in `otelbridge.catalogue.naming`.
Labels with two leading underscores are as the Collector has them.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from otelbridge.catalogue.naming import NAMELESS, Shape, Strategy, encodable, family_name, prometheus_label


class Escaping(Enum):
    """What a scraper wants made of characters beyond the classic ones; the values are those of its header."""

    ALLOW_UTF8 = "allow-utf-8"
    UNDERSCORES = "underscores"
    DOTS = "dots"
    VALUES = "values"


class Translation(NamedTuple):
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


class _Replacements(NamedTuple):
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
