"""The shape every timed domain call has: a context manager, sync and async, that is a decorator too.

Used as a decorator it follows the function it wraps: a coroutine function is timed until it returns, a
generator (sync or async) until it is exhausted or closed, so that a streamed answer counts whole.
"""

from __future__ import annotations

import functools
import inspect
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from otelbridge.diagnostics import origin_of, warn_once

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from types import TracebackType

    from typing_extensions import Self

_Function = TypeVar("_Function", bound="Callable[..., Any]")


class Operation:
    """Base of the timed operations of the domains.

    A subclass implements `_started` and `_finished`, which record, and `_again`, which gives a fresh
    operation with the same settings. One object times one run; the decorator takes a fresh one a call.
    """

    __slots__ = ("_begin",)

    def __init__(self) -> None:
        self._begin: float | None = None

    def _again(self) -> Self:
        """Give a fresh operation with the same settings."""
        raise NotImplementedError

    def _active(self) -> bool:
        """Tell whether recording goes anywhere; otherwise the operation only runs the code."""
        raise NotImplementedError

    def _started(self) -> None:
        """Record what is known at the start. May raise; that is reported, never passed on."""

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        """Record the outcome. May raise; that is reported, never passed on.

        Args:
            seconds: Time since the start.
            error: What left the block, or None.
        """
        raise NotImplementedError

    def _returned(self, result: object) -> None:
        """See what a decorated function or coroutine function returned, before `_finished`. May raise."""

    def _suspended(self) -> None:
        """A decorated generator hands over to its consumer, perhaps to go on in another task. Must not raise."""

    def _resumed(self) -> None:
        """A decorated generator goes on. Must not raise."""

    def __enter__(self) -> Self:
        if self._active():
            self._begin = perf_counter()
            self._guard(self._started)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        begin, self._begin = self._begin, None
        if begin is not None:
            seconds = perf_counter() - begin
            # A consumer that stops reading a stream closes its generator; that is no failure.
            failure = None if isinstance(error, GeneratorExit) else error
            self._guard(lambda: self._finished(seconds, failure))

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def __call__(self, function: _Function) -> _Function:
        """Wrap a function so that each call of it is one operation.

        Args:
            function: A function, coroutine function, generator function or async generator function.

        Returns:
            A function of the same kind and signature.
        """
        return cast("_Function", _wrapper_of(function)(self, function))

    def _guard(self, record: Callable[[], None]) -> None:
        try:
            record()
        except Exception as error:  # telemetry never raises into the application
            warn_once(
                (type(self).__name__, "raised"), "Recording a %s raised %s.", type(self).__name__, origin_of(error)
            )


def class_name(kind: type) -> str:
    """Name a class as ``error.type`` wants it.

    Args:
        kind: The class.

    Returns:
        Its name, with its module unless that is ``builtins``, as the semantic conventions for ``error.type``
        recommend (a canonical class name of low cardinality).
    """
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_type(error: BaseException) -> str:
    """Name an exception as ``error.type`` wants it.

    Args:
        error: The exception.

    Returns:
        What `class_name` makes of its class.
    """
    return class_name(type(error))


def _wrapper_of(function: Callable[..., Any]) -> Callable[[Operation, Callable[..., Any]], Callable[..., Any]]:
    if inspect.isasyncgenfunction(function):
        return _wrap_async_generator
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return _wrap_coroutine
    if inspect.isgeneratorfunction(function):
        return _wrap_generator
    return _wrap_function


def _wrap_function(operation: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with operation._again() as current:  # pyright: ignore[reportPrivateUsage]
            result = function(*args, **kwargs)
            current._guard(lambda: current._returned(result))  # pyright: ignore[reportPrivateUsage]
            return result

    return run


def _wrap_coroutine(operation: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        with operation._again() as current:  # pyright: ignore[reportPrivateUsage]
            result = await function(*args, **kwargs)
            current._guard(lambda: current._returned(result))  # pyright: ignore[reportPrivateUsage]
            return result

    return run


# A generator is left at each yield and may go on in another context, so `yield from` (which exists for
# the sync kind only) would not do: the operation has to know when its code runs.


def _wrap_generator(operation: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with operation._again() as current:  # pyright: ignore[reportPrivateUsage]
            stream = cast("Generator[Any, Any, Any]", function(*args, **kwargs))
            advance: Callable[[], Any] = functools.partial(stream.send, None)
            try:
                while True:
                    item = advance()
                    try:
                        with _Suspension(current):
                            sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # what the consumer throws is for the wrapped generator
                        advance = functools.partial(stream.throw, error)
                    else:
                        advance = functools.partial(stream.send, sent)
            except StopIteration as stop:
                return stop.value
            finally:
                stream.close()

    return run


def _wrap_async_generator(operation: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with operation._again() as current:  # pyright: ignore[reportPrivateUsage]
            stream = cast("AsyncGenerator[Any, Any]", function(*args, **kwargs))
            advance: Callable[[], Any] = functools.partial(stream.asend, None)
            try:
                while True:
                    item = await advance()
                    try:
                        with _Suspension(current):
                            sent = yield item
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # as above
                        advance = functools.partial(stream.athrow, error)
                    else:
                        advance = functools.partial(stream.asend, sent)
            except StopAsyncIteration:
                return
            finally:
                await stream.aclose()

    return run


class _Suspension:
    """The time a generator's consumer has the word."""

    __slots__ = ("_operation",)

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def __enter__(self) -> None:
        self._operation._suspended()  # pyright: ignore[reportPrivateUsage]

    def __exit__(self, *_error: object) -> None:
        self._operation._resumed()  # pyright: ignore[reportPrivateUsage]
