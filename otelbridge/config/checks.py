"""Checks of single values. Each names the setting as the user wrote it, the value and the cure.

Every check takes where the value was written (an argument, a variable, a key path of the file) and the
value, and returns the value in the form the settings hold.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from otelbridge.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[str, object], object]

DETECTORS = ("process", "host", "os", "container", "kubernetes")
PROMETHEUS_MODES = ("app", "server", "off", "auto")
PROTOCOLS = ("http/protobuf", "grpc")
COMPRESSIONS = ("gzip", "none")
TEMPORALITIES = ("cumulative", "delta", "lowmemory")
HISTOGRAM_AGGREGATIONS = ("explicit_bucket_histogram", "base2_exponential_bucket_histogram")
EXEMPLAR_FILTERS = ("always_on", "always_off", "trace_based")
WORKERS = ("merged", "separate")
# Declarative configuration, "CardinalityLimits".
INSTRUMENT_KINDS = (
    "default",
    "counter",
    "up_down_counter",
    "histogram",
    "gauge",
    "observable_counter",
    "observable_up_down_counter",
    "observable_gauge",
)

_MAX_PORT = 65535
# RFC 9110 section 5.1: a field name is a token.
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def text(where: str, value: object) -> str:
    """Check a text that must say something."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where} is {value!r}, which is no text", "Give a text with at least one character")
    return value


def flag(where: str, value: object) -> bool:
    """Check a truth value."""
    if not isinstance(value, bool):
        raise ConfigError(f"{where} is {value!r}, which is neither true nor false", "Give true or false")
    return value


def choice(known: Iterable[str]) -> Callable[[str, object], str]:
    """Make the check for one of a few words.

    Args:
        known: The words.

    Returns:
        A check that suggests the closest word when it meets another.
    """
    words = tuple(known)

    def check(where: str, value: object) -> str:
        if value not in words:
            raise unknown_name(f"value of {where}", value, words)
        return str(value)

    return check


def protocol(where: str, value: object) -> str:
    """Check the wire protocol of OTLP."""
    if value == "http/json":
        raise ConfigError(
            f"{where} is 'http/json', which otelbridge does not speak",
            "Use 'http/protobuf', usually on the same port, or 'grpc'",
        )
    return choice(PROTOCOLS)(where, value)


def port(where: str, value: object) -> int:
    """Check a TCP port; 0 takes a free one."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_PORT:
        raise ConfigError(f"{where} is {value!r}, which is no port", f"Give a whole number from 0 to {_MAX_PORT}")
    return value


def limit(where: str, value: object) -> int:
    """Check how many of something there may be, at least one."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{where} is {value!r}, which is no limit", "Give a whole number above 0")
    return value


def cardinality_limits(where: str, value: object) -> dict[str, int]:
    """Check numbers of attribute sets by kind of instrument."""
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{where} is {value!r}, which is no mapping",
            f"Give a mapping of kinds of instruments to numbers; kinds are {', '.join(INSTRUMENT_KINDS)}",
        )
    said = cast("Mapping[object, object]", value)
    for kind in said:
        if kind not in INSTRUMENT_KINDS:
            raise unknown_name(f"kind of instrument in {where}", kind, INSTRUMENT_KINDS)
    return {str(kind): limit(f"{where}.{kind}", number) for kind, number in said.items()}


def file(where: str, value: object) -> str:
    """Check the path of a file. Whether it exists is not asked here. Errors never show what is no path.

    What is given by mistake for the path of a key is the key itself.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{where} is {type(value).__name__}, not the path of a file", "Give the path as text")
    if _CONTROL.search(value):
        raise ConfigError(
            f"{where} holds line breaks or other control characters (not shown, it may be secret)",
            "Give the path of the file, not what is in it",
        )
    return text(where, value)


def headers_file(where: str, value: object) -> str:
    """Check the path of a file with headers. Errors never show headers that are given in its place."""
    path = file(where, value)
    if "=" in path.partition("/")[0]:
        raise ConfigError(
            f"{where} looks like headers, not like the path of a file with them (not shown, it may be secret)",
            "Give the path of the file; write ./ before one whose name has an equals sign",
        )
    return path


def directory(where: str, value: object) -> Path:
    """Check the path of a directory. Whether it exists is not asked here."""
    found = Path(value) if isinstance(value, str) and not _CONTROL.search(value) else None
    # Workers may have different working directories, and must mean the same place.
    if found is None or not found.is_absolute():
        raise ConfigError(
            f"{where} is {value!r}, which is no absolute path of a directory",
            "Give the whole path, for instance /run/shop; ~ and variables are not replaced",
        )
    return found


def path(where: str, value: object) -> str:
    """Check the path of the scrape endpoint."""
    if not isinstance(value, str) or not value.startswith("/") or re.search(r"[\s?#]", value):
        raise ConfigError(
            f"{where} is {value!r}, which is no path",
            "Give a path that starts with '/' and has no space, '?' or '#', for instance /metrics",
        )
    return value


def seconds(where: str, value: object) -> float:
    """Check a duration in seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{where} is {value!r}, which is no duration", "Give a number of seconds above 0")
    return float(value)


def milliseconds(where: str, value: object) -> float:
    """Check a duration in whole milliseconds.

    Returns:
        The duration in seconds.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise ConfigError(f"{where} is {value!r}, which is no duration", "Give a whole number of milliseconds above 0")
    return value / 1000


def host(where: str, value: object) -> str:
    """Check the address of a server. IPv6 may stand in brackets, as in a URL."""
    said = text(where, value)
    return said[1:-1] if said.startswith("[") and said.endswith("]") else said


def names(where: str, value: object) -> tuple[str, ...]:
    """Check a list of names. Doubles are dropped, order is kept."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"{where} is {value!r}, which is no list of names", "Give a list of names")
    return tuple(dict.fromkeys(text(where, item) for item in value))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def detectors(where: str, value: object) -> tuple[str, ...]:
    """Check names of resource detectors."""
    found = names(where, value)
    for name in found:
        if name not in DETECTORS:
            raise unknown_name(f"resource detector in {where}", name, DETECTORS)
    return found


def header(where: str, name: object, value: object) -> tuple[str, str]:
    """Check one request header. Errors never show the value.

    Returns:
        The name in lower case, as gRPC demands and HTTP allows, and the value.
    """
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise ConfigError(
            f"{where} has a header whose name is not allowed (the header is not shown, it may be secret)",
            "A header name is made of letters, digits and !#$%&'*+-.^_`|~",
        )
    if not isinstance(value, str) or _CONTROL.search(value) or not value.isascii() or value != value.strip():
        raise ConfigError(
            f"{where} has a value for the header {name!r} that is not allowed (it is not shown, it may be secret)",
            "Give a text of ASCII characters without line breaks, other control characters and spaces around it",
        )
    return name.lower(), value
