"""The wrappers and guards every timed operation shares."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from contextlib import aclosing

import pytest

from otelbridge.diagnostics import forget_warnings
from otelbridge.domains.operation import Operation, error_type


class Noted(Operation):
    """Notes what it is told, in a list that all runs share."""

    def __init__(self, notes: list[object], active: bool = True) -> None:
        super().__init__()
        self.notes = notes
        self.active = active

    def _again(self) -> Noted:
        return Noted(self.notes, self.active)

    def _active(self) -> bool:
        return self.active

    def _started(self) -> None:
        self.notes.append("started")

    def _returned(self, result: object) -> None:
        self.notes.append(("returned", result))

    def _suspended(self) -> None:
        self.notes.append("suspended")

    def _resumed(self) -> None:
        self.notes.append("resumed")

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        assert seconds >= 0
        self.notes.append(("finished", None if error is None else error_type(error)))


class Broken(Noted):
    def _again(self) -> Broken:
        return Broken(self.notes)

    def _started(self) -> None:
        raise RuntimeError("started")

    def _returned(self, result: object) -> None:
        raise RuntimeError("returned")

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        raise RuntimeError("finished")


@pytest.fixture
def notes() -> list[object]:
    return []


def outcome(notes: list[object]) -> list[object]:
    return [note for note in notes if note not in ("suspended", "resumed")]


def test_a_block_is_started_and_finished(notes):
    with Noted(notes) as operation:
        assert isinstance(operation, Noted)
    assert notes == ["started", ("finished", None)]


def test_a_failure_is_seen_and_raised_on(notes):
    with pytest.raises(KeyError), Noted(notes):
        raise KeyError("x")
    assert notes == ["started", ("finished", "KeyError")]


def test_an_inactive_operation_only_runs_the_code(notes):
    with Noted(notes, active=False):
        pass
    assert notes == []


async def test_an_async_block(notes):
    async with Noted(notes):
        pass
    assert notes == ["started", ("finished", None)]


def test_errors_of_recording_stay_inside_and_are_reported_once(notes, caplog):
    forget_warnings()

    @Broken(notes)
    def work() -> int:
        return 7

    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        assert work() == 7
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "Broken" in caplog.text


def test_a_function_keeps_its_face_and_result(notes):
    @Noted(notes)
    def work(number: int, *, factor: int = 2) -> int:
        """Multiply."""
        return number * factor

    assert work(3, factor=5) == 15
    assert (work.__name__, work.__doc__) == ("work", "Multiply.")
    assert list(inspect.signature(work).parameters) == ["number", "factor"]
    assert notes == ["started", ("returned", 15), ("finished", None)]


def test_recursion_times_every_call(notes):
    @Noted(notes)
    def down(depth: int) -> int:
        return 0 if depth == 0 else down(depth - 1)

    down(2)
    assert notes.count("started") == 3
    assert notes.count(("finished", None)) == 3


async def test_a_coroutine_function_stays_one(notes):
    @Noted(notes)
    async def work() -> str:
        return "done"

    assert inspect.iscoroutinefunction(work)
    assert await work() == "done"
    assert notes == ["started", ("returned", "done"), ("finished", None)]


async def test_an_object_with_an_async_call_is_timed_until_it_returns(notes):
    class Worker:
        async def __call__(self) -> str:
            notes.append("working")
            return "done"

    assert await Noted(notes)(Worker())() == "done"
    assert notes == ["started", "working", ("returned", "done"), ("finished", None)]


async def test_a_partial_of_a_coroutine_function(notes):
    async def work(word: str) -> str:
        return word

    assert await Noted(notes)(functools.partial(work, "done"))() == "done"
    assert outcome(notes)[-1] == ("finished", None)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_cancelled_task_is_a_failure(notes, anyio_backend):
    @Noted(notes)
    async def work() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert notes == ["started", ("finished", "asyncio.exceptions.CancelledError")]


def test_a_generator_is_timed_until_it_is_exhausted(notes):
    @Noted(notes)
    def letters():
        yield "a"
        yield "b"
        return "end"

    stream = letters()
    assert notes == []
    assert next(stream) == "a"
    assert next(stream) == "b"
    with pytest.raises(StopIteration) as stop:
        next(stream)
    assert stop.value.value == "end"
    assert notes == ["started", "suspended", "resumed", "suspended", "resumed", ("finished", None)]


def test_a_generator_passes_values_and_exceptions_both_ways(notes):
    @Noted(notes)
    def echo():
        sent = yield "ready"
        while True:
            try:
                sent = yield sent
            except ValueError as error:
                sent = f"caught {error}"

    stream = echo()
    assert next(stream) == "ready"
    assert stream.send("hello") == "hello"
    assert stream.throw(ValueError("x")) == "caught x"
    with pytest.raises(KeyError):
        stream.throw(KeyError("y"))
    assert outcome(notes) == ["started", ("finished", "KeyError")]


def test_closing_a_generator_is_no_failure_and_runs_its_cleanup_first(notes):
    @Noted(notes)
    def letters():
        try:
            yield "a"
        finally:
            notes.append("cleanup")

    stream = letters()
    next(stream)
    stream.close()
    assert outcome(notes) == ["started", "cleanup", ("finished", None)]


async def test_an_async_generator_is_timed_until_it_is_exhausted(notes):
    @Noted(notes)
    async def letters():
        yield "a"
        yield "b"

    assert [letter async for letter in letters()] == ["a", "b"]
    assert notes == ["started", "suspended", "resumed", "suspended", "resumed", ("finished", None)]


async def test_an_async_generator_passes_values_and_exceptions_both_ways(notes):
    @Noted(notes)
    async def echo():
        sent = yield "ready"
        while True:
            try:
                sent = yield sent
            except ValueError as error:
                sent = f"caught {error}"

    stream = echo()
    assert await stream.__anext__() == "ready"
    assert await stream.asend("hello") == "hello"
    assert await stream.athrow(ValueError("x")) == "caught x"
    with pytest.raises(KeyError):
        await stream.athrow(KeyError("y"))
    assert outcome(notes) == ["started", ("finished", "KeyError")]


async def test_closing_an_async_generator_is_no_failure_and_runs_its_cleanup_first(notes):
    @Noted(notes)
    async def letters():
        try:
            yield "a"
            yield "b"
        finally:
            notes.append("cleanup")

    async with aclosing(letters()) as stream:
        assert await stream.__anext__() == "a"
    assert outcome(notes) == ["started", "cleanup", ("finished", None)]


async def test_a_failing_async_generator(notes):
    @Noted(notes)
    async def letters():
        yield "a"
        raise LookupError

    with pytest.raises(LookupError):
        [letter async for letter in letters()]
    assert outcome(notes) == ["started", ("finished", "LookupError")]


class CustomError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("secret"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (CustomError(), f"{__name__}.CustomError"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
    ],
)
def test_the_type_of_an_error_is_its_class(error, expected):
    assert error_type(error) == expected
