"""A line tracer lets other threads in where the interpreter lets none: nothing raises, and the cells are right soon."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from otelbridge.metrics import bound, exponential, series, streams
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View
from tests.leftovers import memory_directory

if TYPE_CHECKING:
    from collections.abc import Callable

A = {"k": "a"}
_FILES = {module.__file__ for module in (bound, series, exponential, streams)}
KINDS = {"counter": "add", "up_down_counter": "add", "gauge": "set", "histogram": "record", "exponential": "record"}


def interposed(work: Callable[[], Any], between: Callable[[], Any], number: int) -> bool:
    """Do something, and something else in another thread before a line of it; whether there are so many lines."""
    left = number

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in _FILES:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                thread = threading.Thread(target=between)
                thread.start()
                thread.join(0.2)  # which may wait for a lock that this one has
                waiting.append(thread)
        return trace

    waiting: list[threading.Thread] = []
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    for thread in waiting:
        thread.join(30)
    return left <= 0


@pytest.mark.endtoend
@pytest.mark.parametrize("kind", KINDS)
def test_no_recording_raises_and_every_cell_is_written_again(kind) -> None:
    with memory_directory("traced-") as directory:
        processes, reader = Processes("traced", directory), InMemoryMetricReader()
        aggregation = ExponentialBucketHistogramAggregation(4) if kind == "exponential" else None
        view = View(instrument_name="i", aggregation=aggregation)
        provider = MeterProvider([reader], views=[view], processes=processes, shutdown_on_exit=False)
        instrument = getattr(provider.get_meter("m"), f"create_{kind.replace('exponential', 'histogram')}")("i")
        stream = next(each for each in provider._consumer._streams.all() if each.name == "i")
        handle = getattr(instrument.bind(A), KINDS[kind])
        handle(1)
        errors: list[BaseException] = []
        amounts = iter(range(10**9))

        def record() -> None:
            try:
                handle(2.0 ** (next(amounts) * 7 % 60))
            except BaseException as error:  # any is too many
                errors.append(error)

        def record_much() -> None:
            for _ in range(20):
                record()

        for work, between in (
            (record, record_much),
            (record, lambda: instrument.remove(A)),
            (lambda: instrument.remove(A), record_much),
            (reader.get_metrics_data, record_much),
        ):
            number = 1
            while interposed(work, between, number):
                number += 1
                record()
            assert number > 1
        assert errors == []
        record()
        provider._consumer._streams.publish()
        (own,) = (each for each in stream.all() if each.attributes)
        assert own.has_cell
        cell = processes.place(stream.sharing.identity, stream.sharing.shape, own.code)
        published = stream._new({}, 0)
        published.load(cell)
        if kind == "gauge":
            assert abs(cell.marks[cell.marks_at]) == own.last[0]
        else:
            assert told(published) == told(own)
        provider.shutdown()


def told(one: Any) -> Any:
    total = one.total()
    return (total.count, total.sum, total.distribution) if hasattr(total, "distribution") else total
