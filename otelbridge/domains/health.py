"""How well the service is: ``otelbridge.health.exception(error, origin="task")``."""

from __future__ import annotations

from otelbridge.catalogue.health import DOMAIN, EXCEPTIONS
from otelbridge.diagnostics import warn_once
from otelbridge.domains.operation import error_type
from otelbridge.domains.recording import DomainMeter

_meter = DomainMeter(DOMAIN)
_exceptions = _meter.recorder(EXCEPTIONS)

_COUNTED = "_otelbridge_counted"


def exception(error: BaseException, origin: str) -> None:
    """Count an exception that nobody handled. Never raises.

    An exception passes several boundaries on its way out (a task, then the request that ran it). The first
    one that counts it marks it, so that it is counted once.

    Args:
        error: The exception.
        origin: Where nobody caught it: ``http``, ``task``, ``agent`` or a word of the application.
    """
    if not _meter.active:
        return
    if not isinstance(error, BaseException):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers are not all typed
        warn_once(("health.exceptions", "type"), "health.exception() takes an exception, not %.100r.", error)
        return
    if _first(error):
        _exceptions.record(1, {"error.type": error_type(error), "health.exception.origin": origin})


def _first(error: BaseException) -> bool:
    # Every exception has a dictionary of its own. Its attributes would not do: a class may refuse new ones
    # (a frozen dataclass) or answer for any name.
    try:
        own = vars(error)
    except Exception:  # counting it twice is better than losing it
        return True
    if _COUNTED in own:
        return False
    own[_COUNTED] = True
    return True
