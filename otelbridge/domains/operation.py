"""The shape every timed domain call has: a context manager, sync and async, that is a decorator too.

Used as a decorator it follows the function it wraps: a coroutine function is timed until it returns, a
generator (sync or async) until it is exhausted or closed, so that a streamed answer counts whole.
"""

from __future__ import annotations

import functools
import inspect
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, cast

from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator
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
            warn_once((type(self).__name__, "raised"), "Recording a %s raised %r.", type(self).__name__, error)


def error_type(error: BaseException) -> str:
    """Name an exception as ``error.type`` wants it.

    Args:
        error: The exception.

    Returns:
        The class name, with its module unless that is ``builtins``, as the semantic conventions for
        ``error.type`` recommend (a canonical class name of low cardinality).
    """
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _wrapper_of(function: Callable[..., Any]) -> Callable[[Operation, Callable[..., Any]], Callable[..., Any]]:
    if inspect.isasyncgenfunction(function):
        return _wrap_async_generator
    if inspect.iscoroutinefunction(function):
        return _wrap_coroutine
    if inspect.isgeneratorfunction(function):
        return _wrap_generator
    return _wrap_function


def _wrap_function(operation: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with operation._again():  # pyright: ignore[reportPrivateUsage]
            return function(*args, **kwargs)

    return run


def _wrap_coroutine(operation: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        with operation._again():  # pyright: ignore[reportPrivateUsage]
            return await function(*args, **kwargs)

    return run


def _wrap_generator(operation: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        with operation._again():  # pyright: ignore[reportPrivateUsage]
            return (yield from function(*args, **kwargs))

    return run


def _wrap_async_generator(operation: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        with operation._again():  # pyright: ignore[reportPrivateUsage]
            stream = function(*args, **kwargs)
            try:
                async for item in stream:
                    yield item
            finally:
                await stream.aclose()

    return run
