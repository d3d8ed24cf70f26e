"""The callbacks of observable instruments: all that were given, each once, whoever made the instrument first.

The SDK has no public name for them, nor any way to add some. They are touched here and not in
`otelbridge.metrics._sdk`, since the switch needs this module, and who only records through it does not load the SDK.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine, Generator
from types import MethodType
from typing import TYPE_CHECKING, Any, cast

from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.metrics import CallbackOptions, CallbackT, Observation

    _Readings = Generator[Iterable[Observation], CallbackOptions, None]

# A caller that adds callbacks without end must not fill the memory.
_MOST_CALLBACKS = 1000


def callbacks_of(instrument: Any) -> Sequence[Callable[[CallbackOptions], Iterable[Any]]]:
    """Give the callbacks of an observable instrument of the SDK."""
    return instrument._callbacks


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
    if not hasattr(instrument, "_callbacks"):  # another implementation's, which keeps them to itself
        return instrument
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
        # A new list, since somebody may be going through the old one.
        instrument._callbacks = [*there, *new.values()]
    return instrument


def name_returned(returned: object) -> str:
    """Name, for a log, what a callback returned that it should not have.

    Args:
        returned: What it returned. A coroutine is closed, since nobody awaits it, nor complains that nobody did.
    """
    if isinstance(returned, Coroutine):
        returned.close()
        return "a coroutine, which nobody awaits"
    if isinstance(returned, AsyncIterator):
        return "an async generator, which nobody awaits"
    if returned is None:
        return "None"
    kind = type(returned)
    return f"the number {returned!r:.50}" if kind in (int, float) else f"an object of the type {kind.__qualname__}"


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
