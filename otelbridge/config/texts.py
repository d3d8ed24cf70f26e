"""Readers of variables: each makes the value of a setting from the text of a variable."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from otelbridge.config import checks
from otelbridge.diagnostics import logger
from otelbridge.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Reader = Callable[[str, str], object]

METRICS_EXPORTERS = ("otlp", "prometheus", "console", "none")
TRACES_EXPORTERS = ("otlp", "console", "none")

_TRUTH: Mapping[str, bool] = {"true": True, "false": False}
# Below this a timeout in milliseconds is more likely meant in seconds, as the Python SDK reads it.
_SUSPICIOUS_MILLISECONDS = 100
# These are on in every resource the SDK makes.
_ALWAYS_DETECTED = frozenset({"otel", "service_instance"})


def flag(name: str, text: str) -> bool:
    """Read ``true`` or ``false``, in any case."""
    if text.lower() not in _TRUTH:
        raise ConfigError(f"{name} is {text!r}, which is neither true nor false", "Set it to true or false")
    return _TRUTH[text.lower()]


def word(known: Iterable[str]) -> Reader:
    """Make the reader of one of a few words, in any case."""
    words = {each.lower(): each for each in known}
    check = checks.choice(words.values())
    return lambda name, text: check(name, words.get(text.lower(), text))


def protocol(name: str, text: str) -> str:
    """Read the wire protocol of OTLP."""
    return checks.protocol(name, text.lower())


def port(name: str, text: str) -> int:
    """Read a TCP port."""
    return checks.port(name, _whole(text))


def limit(name: str, text: str) -> int:
    """Read how many of something there may be, at least one."""
    return checks.limit(name, _whole(text))


def milliseconds(name: str, text: str) -> float:
    """Read a duration; the specification counts milliseconds. The result is in seconds."""
    return checks.milliseconds(name, _whole(text))


def otlp_timeout(name: str, text: str) -> float:
    """Read the timeout of OTLP in milliseconds, and say so where seconds seem to be meant."""
    timeout = milliseconds(name, text)
    if timeout * 1000 < _SUSPICIOUS_MILLISECONDS:
        logger.warning(
            "%s=%s is read as milliseconds, as the OpenTelemetry specification has it; OpenTelemetry's own SDK for "
            "Python reads seconds. For seconds write %s000.",
            name,
            text,
            text,
        )
    return timeout


def names(name: str, text: str) -> tuple[str, ...]:
    """Read a list divided by commas; ``none`` is the empty one."""
    found = checks.names(name, [item.strip() for item in text.split(",") if item.strip()])
    return _unless_none(name, found)


def detectors(name: str, text: str) -> tuple[str, ...]:
    """Read names of resource detectors; ``*`` is all of them."""
    found = names(name, text)
    return checks.DETECTORS if "*" in found else checks.detectors(name, found)


def sdk_detectors(name: str, text: str) -> tuple[str, ...]:
    """Read the SDK's list of resource detectors. The SDK itself runs those that other packages bring."""
    from importlib.metadata import entry_points

    group = "opentelemetry_resource_detector"
    foreign = _ALWAYS_DETECTED | {each.name for each in entry_points(group=group)}
    wanted = [item for item in names(name, text) if item in {*checks.DETECTORS, "*"} or item not in foreign]
    return detectors(name, ",".join(wanted)) if wanted else ()


def exporters(known: tuple[str, ...]) -> Reader:
    """Make the reader of a list of exporters, in any case; ``none`` is the empty one."""

    def read(name: str, text: str) -> tuple[str, ...]:
        found = tuple(item.strip().lower() for item in text.split(",") if item.strip())
        for item in found:
            if item not in known:
                raise unknown_name(f"exporter in {name}", item, known)
        return _unless_none(name, found)

    return read


def _unless_none(name: str, found: tuple[str, ...]) -> tuple[str, ...]:
    if "none" not in found:
        return found
    if len(found) > 1:
        raise ConfigError(f"{name} says 'none' beside other names", "Set it to none alone, or leave none out")
    return ()


def _whole(text: str) -> int | str:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,12}", text) else text
