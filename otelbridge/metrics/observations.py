"""What callbacks observe, made such that nothing in it can break a collection or fill a log."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.context import get_current
from opentelemetry.metrics import ObservableCounter

from otelbridge.diagnostics import origin_of, warn_once
from otelbridge.metrics._sdk import Measurement, is_enabled
from otelbridge.metrics.amounts import exact, reject
from otelbridge.metrics.observers import callbacks_of, name_returned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.metrics import CallbackOptions

# As many series a process has at most; a generator without end would fill the memory.
_MOST = 200_000


def observations(instrument: Any, options: CallbackOptions) -> Iterator[Measurement]:
    """Run the callbacks of an instrument, as the SDK's instruments do by themselves.

    What the SDK logs at every collection, traceback and all, is one line here, and what a callback raises ends it and
    nothing else, even ``SystemExit``.
    """
    if not is_enabled(instrument):
        return
    grows = _grows(instrument)
    for callback in callbacks_of(instrument):
        try:
            for number, observation in enumerate(_iterable(instrument.name, callback(options))):
                if number == _MOST:
                    _report_endless(instrument.name)
                    break
                if not hasattr(observation, "value"):
                    _report_wrong(instrument.name, "gave", observation)
                    continue
                value = exact(observation.value)
                if value is None or (grows and value < 0):
                    reject(instrument.name, observation.value, negative=value is not None)
                    continue
                context = observation.context or get_current()
                yield Measurement(value, time_ns(), instrument, context, observation.attributes)
        except BaseException as error:
            warn_once(
                (instrument.name, "callback", origin_of(error)),
                "A callback of %s raised %s; what it observes is left out.",
                instrument.name,
                origin_of(error),
            )


def _grows(instrument: object) -> bool:
    return isinstance(instrument, ObservableCounter)


def _iterable(name: str, returned: Any) -> Iterable[Any]:
    try:
        return iter(returned)
    except TypeError:
        _report_wrong(name, "returned", returned)
        return ()


def _report_wrong(name: str, verb: str, what: object) -> None:
    warn_once(
        (name, "callback", verb, type(what).__qualname__),
        "A callback of %s %s %s; it is left out. Let it be a plain function that returns observations, as in "
        "[Observation(5)], or a generator of them.",
        name,
        verb,
        name_returned(what),
    )


def _report_endless(name: str) -> None:
    warn_once(
        (name, "callback", "endless"),
        "A callback of %s observes more than %d values at a time; the rest is left out. Let it come to an end.",
        name,
        _MOST,
    )
