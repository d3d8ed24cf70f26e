"""What callbacks observe, made such that nothing in it can break a collection or fill a log."""

from __future__ import annotations

from collections.abc import Generator
from time import time_ns
from types import MethodType
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.context import get_current
from opentelemetry.metrics import ObservableCounter

from otelbridge.diagnostics import origin_of, warn_once
from otelbridge.metrics._sdk import Measurement, callbacks_of, is_enabled, set_callbacks
from otelbridge.metrics.amounts import exact, reject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.metrics import CallbackOptions, CallbackT, Observation

    _Readings = Generator[Iterable[Observation], CallbackOptions, None]

# A caller that adds callbacks without end must not fill the memory either.
_MOST_CALLBACKS = 1000
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
    grows = _grows(instrument)
    for callback in callbacks_of(instrument):
        try:
            for number, observation in enumerate(callback(options)):
                if number == _MOST:
                    _report_endless(instrument.name)
                    break
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


def _report_endless(name: str) -> None:
    warn_once(
        (name, "callback", "endless"),
        "A callback of %s observes more than %d values at a time; the rest is left out. Let it come to an end.",
        name,
        _MOST,
    )


def reusable(callbacks: Sequence[CallbackT] | None) -> list[CallbackT]:
    """Give callbacks that can be called by one provider after the other; generators are not callable by themselves."""
    return [
        _SentTo(cast("_Readings", callback)) if isinstance(callback, Generator) else callback
        for callback in callbacks or ()
    ]


def identify(callback: object) -> object:
    """Give what is equal for the same callback alone, as long as that lives."""
    if isinstance(callback, _SentTo):
        return id(callback.generator)
    # A method is a new object each time it is asked for.
    return (id(callback.__self__), id(callback.__func__)) if isinstance(callback, MethodType) else id(callback)


def add_callbacks(instrument: Any, callbacks: Sequence[CallbackT]) -> Any:
    """Let an observable instrument be read by callbacks, besides those it has. Not for several threads at once.

    Metrics API specification, "Asynchronous Instrument API": those of identical instruments are all read. The SDK heeds
    the first one's alone.

    Args:
        instrument: The instrument.
        callbacks: What `reusable` gave. One it has already is called once.

    Returns:
        The instrument.
    """
    there = callbacks_of(instrument)
    known = set(map(identify, there))
    new = {identify(callback): callback for callback in callbacks if identify(callback) not in known}
    if len(known) + len(new) > _MOST_CALLBACKS:
        warn_once(
            (instrument.name, "callbacks"),
            "%s has %d callbacks, and may have %d; further ones are not read. Create observable instruments once.",
            instrument.name,
            len(known),
            _MOST_CALLBACKS,
        )
    elif new:
        set_callbacks(instrument, [*there, *new.values()])
    return instrument


class _SentTo:
    """A generator that serves as a callback, made callable.

    The SDK advances one to its first yield when an instrument is created. Every provider would do so
    again and swallow values, so it is done here, once, when it is first read.
    """

    def __init__(self, generator: _Readings) -> None:
        self.generator = generator
        self._advanced = False

    def __call__(self, options: CallbackOptions) -> Iterable[Observation]:
        try:
            if not self._advanced:
                self._advanced = True
                next(self.generator)
            return self.generator.send(options)
        except StopIteration:
            return []
