"""Which format a scraper is answered in.

Sources: Prometheus documentation, "Scrape protocol content negotiation"; RFC 9110, section 12.5.1.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from otelbridge.prometheus.translation import Escaping

_LONGEST = 4096  # of a header; Prometheus' own has 500 characters
_QUALITY = re.compile(r"(0(\.[0-9]*)?|1(\.0*)?)")


class Syntax(Enum):
    """The three ways to write a page."""

    TEXT = "text/plain"
    OPENMETRICS = "application/openmetrics-text"
    PROTOBUF = "application/vnd.google.protobuf"


class Format(NamedTuple):
    """One way to answer a scrape."""

    syntax: Syntax = Syntax.TEXT
    """How the page is written."""

    version: str = "0.0.4"
    """Version of the text formats; empty for protobuf."""

    escaping: Escaping = Escaping.UNDERSCORES
    """What is done about names beyond the classic ones."""

    @property
    def content_type(self) -> str:
        """The header ``Content-Type`` of the answer. Every part of it is ours, none the client's."""
        parameters = _PARAMETERS.get(self.syntax, f"version={self.version}; charset=utf-8")
        escaping = f"; escaping={self.escaping.value}" if self._names_escaping else ""
        return f"{self.syntax.value}; {parameters}{escaping}"

    @property
    def _names_escaping(self) -> bool:
        # The older text formats know no such parameter.
        return self.syntax is Syntax.PROTOBUF or self.version == "1.0.0"


DEFAULT = Format()
"""What everybody understands, and everybody gets who asks for nothing we have."""

_PARAMETERS = {Syntax.PROTOBUF: "proto=io.prometheus.client.MetricFamily; encoding=delimited"}
_VERSIONS = {Syntax.TEXT: ("0.0.4", "1.0.0"), Syntax.OPENMETRICS: ("1.0.0", "0.0.1")}
"""The first is meant where a client names none."""
_WILDCARDS = {"*/*": Syntax.TEXT, "text/*": Syntax.TEXT, "application/*": Syntax.OPENMETRICS}


def choose(accept: str | None) -> Format:
    """Choose the format a client likes best.

    Args:
        accept: The header ``Accept``, whatever it is. None where there is none.

    Returns:
        The format with the highest quality, of equal ones the first named. `DEFAULT` where none fits,
        where the header cannot be read, or where there is none.
    """
    best, best_quality = DEFAULT, 0.0
    for media_range in (accept or "")[:_LONGEST].split(","):
        media_type, *rest = (part.strip() for part in media_range.split(";"))
        parameters = _read(rest)
        quality = _quality(parameters.get("q", "1"))
        if quality > best_quality:
            found = _match(media_type.lower(), parameters)
            if found is not None:
                best, best_quality = found, quality
    return best


def _read(parts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if equals:
            found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return found


def _quality(text: str) -> float:
    return float(text) if _QUALITY.fullmatch(text) else 0.0


def _match(media_type: str, parameters: dict[str, str]) -> Format | None:
    syntax = _WILDCARDS.get(media_type)
    if syntax is not None:
        return Format(syntax, _VERSIONS[syntax][0])
    syntax = next((each for each in Syntax if each.value == media_type), None)
    if syntax is None:
        return None
    if syntax is Syntax.PROTOBUF:
        wanted = (parameters.get("proto"), parameters.get("encoding"))
        return Format(syntax, "", _escaping(parameters)) if wanted == _PROTOBUF else None
    version = parameters.get("version") or _VERSIONS[syntax][0]
    if version not in _VERSIONS[syntax]:
        return None
    found = Format(syntax, version, _escaping(parameters))
    if version == "1.0.0" or found.escaping is not Escaping.ALLOW_UTF8:
        return found
    return Format(syntax, version)  # the older versions cannot quote names


_PROTOBUF = ("io.prometheus.client.MetricFamily", "delimited")


def _escaping(parameters: dict[str, str]) -> Escaping:
    wanted = parameters.get("escaping")
    return next((each for each in Escaping if each.value == wanted), Escaping.UNDERSCORES)
