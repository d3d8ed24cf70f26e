"""What callbacks observe, made such that nothing in it can break a collection or fill a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.context import get_current

from otelbridge.diagnostics import origin_of, warn_once
from otelbridge.metrics._sdk import Measurement, callbacks_of, clean_attributes, is_enabled
from otelbridge.metrics.amounts import exact, reject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.metrics import CallbackOptions

# What the values of attributes are; OpenTelemetry common specification, "Attribute".
_TYPES: tuple[type[Any], ...] = (str, bool, int, float, bytes, Sequence, Mapping, type(None))
# As many series a process has at most; a generator without end would fill the memory.
_MOST = 200_000


def observations(instrument: Any, options: CallbackOptions) -> Iterator[Measurement]:
    """Run the callbacks of an instrument, as the SDK's instruments do by themselves.

    What the SDK logs at every collection, traceback and all, is one line here, and what a callback raises ends it and
    nothing else, even ``SystemExit``.

    Args:
        instrument: An observable instrument of the SDK.
        options: What callbacks are told.

    Yields:
        What was observed.
    """
    if not is_enabled(instrument):
        return
    for callback in callbacks_of(instrument):
        try:
            for number, observation in enumerate(callback(options)):
                if number == _MOST:
                    _report_endless(instrument.name)
                    break
                value = exact(observation.value)
                if value is None:
                    reject(instrument.name, observation.value, negative=False)
                    continue
                attributes = _sound(instrument.name, observation.attributes)
                yield Measurement(value, time_ns(), instrument, observation.context or get_current(), attributes)
        except BaseException as error:
            warn_once(
                (instrument.name, "callback", origin_of(error)),
                "A callback of %s raised %s; what it observes is left out.",
                instrument.name,
                origin_of(error),
            )


def _report_endless(name: str) -> None:
    warn_once(
        (name, "callback", "endless"),
        "A callback of %s observes more than %d values at a time; the rest is left out. Let it come to an end.",
        name,
        _MOST,
    )


def _sound(name: str, attributes: object) -> Any:
    """Give attributes at which the SDK has nothing to complain of, as it would each time."""
    if attributes is None or not isinstance(attributes, Mapping):
        return clean_attributes(attributes)
    given = cast("Mapping[object, object]", attributes)
    if all(isinstance(each, _TYPES) for each in given.values()):
        return given
    return {key: each if isinstance(each, _TYPES) else _text(name, key, each) for key, each in given.items()}


def _text(name: str, key: object, value: object) -> str | None:
    warn_once(
        (name, "callback", "attribute", type(value).__name__),
        "What a callback of %s observes has the attribute %.100r of type %s, which becomes a text. Give texts, "
        "numbers, or sequences of them.",
        name,
        key,
        type(value).__name__,
    )
    try:
        return str(value)
    except Exception:  # an object of the caller's own making may raise anything
        return None
