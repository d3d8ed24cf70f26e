"""Lists of ``name=value`` pairs, as OpenTelemetry writes attributes and headers in one text.

The form is that of W3C Baggage without properties: pairs divided by commas, values percent-encoded
(resource SDK specification, "Specifying resource information via an environment variable"; OTLP exporter
specification, "Specifying headers via environment variables"). The specification wants a list with an
error discarded as a whole and reported. Here the report is an error at the start, so that nobody runs
for weeks without the attributes, or the credentials, that were meant.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

from otelbridge.config import checks
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FORM = "name1=value1,name2=value2, with a comma, space or percent sign in a value written as %2C, %20, %25"
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def attributes(where: str, value: str) -> Mapping[str, str]:
    """Read resource attributes.

    Args:
        where: The variable or key that holds the text.
        value: The text.

    Returns:
        Attribute values by key. The last of several values of a key counts.

    Raises:
        ConfigError: An entry has no ``=`` or key, or its percent-encoding is broken.
    """
    found: dict[str, str] = {}
    for number, entry in _entries(value):
        key, divider, encoded = (part.strip() for part in entry.partition("="))
        decoded = _decode(encoded)
        if not divider or not key or decoded is None:
            raise ConfigError(f"{where} cannot be read at entry {number}, {entry!r}", f"Write {_FORM}")
        found[_decode(key) or key] = decoded
    return found


def headers(where: str, value: str) -> Mapping[str, str]:
    """Read request headers.

    Args:
        where: The variable or key that holds the text.
        value: The text.

    Returns:
        Values by header name in lower case.

    Raises:
        ConfigError: An entry cannot be read. The message says which, and never shows it: headers are
            credentials.
    """
    found: dict[str, str] = {}
    for number, entry in _entries(value):
        name, divider, encoded = (part.strip() for part in entry.partition("="))
        decoded = _decode(encoded)
        if not divider or not name or decoded is None:
            raise ConfigError(
                f"{where} cannot be read at entry {number} (not shown, it may be secret)", f"Write {_FORM}"
            )
        found.update([checks.header(where, name, decoded)])
    return found


def _entries(value: str) -> Iterator[tuple[int, str]]:
    for number, entry in enumerate(value.split(","), start=1):
        if entry.strip():
            yield number, entry.strip()


def _decode(value: str) -> str | None:
    if _STRAY_PERCENT.search(value):
        return None
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        return None
