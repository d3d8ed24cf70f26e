"""Runs of tasks, what they wait for, their queues and workers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelbridge.diagnostics import forget_warnings
from otelbridge.domains import tasks
from otelbridge.domains.recording import Registration
from otelbridge.metrics.switch import switch

ANYTHING = st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.binary(), st.lists(st.integers()))


class RefusedError(Exception):
    pass


def runs(recorded):
    """Runs by (result, error.type), with how many there were."""
    return {
        (attributes["task.result"], attributes.get("error.type")): count
        for attributes, (count, _) in recorded.points("task.duration")
    }


def running(recorded):
    return [value for _, value in recorded.points("task.active")]


def exceptions(recorded):
    return {attributes["error.type"]: value for attributes, value in recorded.points("health.exceptions")}


async def test_a_coroutine_function_is_a_task(recorded):
    @tasks.task("send_invoice", queue="billing")
    async def send_invoice(order):
        inside.extend(recorded.points("task.active"))
        return order * 2

    inside = []
    assert await send_invoice(21) == 42
    where = {"task.name": "send_invoice", "task.queue.name": "billing"}
    assert inside == [(where, 1)]
    assert recorded.points("task.active") == [(where, 0)]
    [(attributes, (count, seconds))] = recorded.points("task.duration")
    assert attributes == {**where, "task.result": "success"}
    assert count == 1
    assert seconds >= 0


def test_a_function_keeps_its_name_and_what_it_returns(recorded):
    @tasks.task("double")
    def double(number: int) -> int:
        """Twice as much."""
        return 2 * number

    assert (double(4), double.__name__, double.__doc__) == (8, "double", "Twice as much.")
    assert recorded.points("task.active") == [({"task.name": "double"}, 0)]


@pytest.mark.parametrize(
    ("error", "result", "type_", "counted"),
    [
        (ValueError("no"), "failure", "ValueError", True),
        (TimeoutError(), "timeout", "TimeoutError", True),
        (asyncio.CancelledError(), "cancelled", "asyncio.exceptions.CancelledError", False),
        (KeyboardInterrupt(), "failure", "KeyboardInterrupt", False),
    ],
)
def test_what_leaves_a_task_decides_and_is_raised_on(recorded, error, result, type_, counted):
    with pytest.raises(type(error)) as raised, tasks.task("job"):
        raise error
    assert raised.value is error
    assert runs(recorded) == {(result, type_): 1}
    assert exceptions(recorded) == ({type_: 1} if counted else {})
    assert running(recorded) == [0]


async def test_the_timeout_of_asyncio_is_a_timeout(recorded):
    @tasks.task("slow")
    async def slow():
        await asyncio.wait_for(asyncio.sleep(60), 0.001)

    with pytest.raises(asyncio.TimeoutError):
        await slow()
    assert [result for result, _ in runs(recorded)] == ["timeout"]


async def test_a_cancelled_task_is_cancelled_and_no_longer_active(recorded):
    @tasks.task("forever")
    async def forever():
        started.set()
        await asyncio.sleep(60)

    started = asyncio.Event()
    work = asyncio.create_task(forever())
    await started.wait()
    assert running(recorded) == [1]
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert [result for result, _ in runs(recorded)] == ["cancelled"]
    assert running(recorded) == [0]
    assert exceptions(recorded) == {}


def test_a_task_can_say_how_it_ended(recorded):
    with tasks.task("job") as run:
        run.retry()
    with tasks.task("job") as run:
        run.result("failure")
    with tasks.task("job") as run:
        run.retry()
        run.result("success")
    assert runs(recorded) == {("retry", None): 1, ("failure", None): 1, ("success", None): 1}


def test_an_exception_of_a_run_that_is_tried_again_is_no_unhandled_one(recorded):
    with contextlib.suppress(RefusedError), tasks.task("job") as run:
        run.retry()
        raise RefusedError
    [(result, kind)] = runs(recorded)
    assert (result, kind.rpartition(".")[2]) == ("retry", "RefusedError")
    assert exceptions(recorded) == {}


def test_an_exception_that_leaves_two_tasks_counts_once(recorded):
    with contextlib.suppress(ValueError), tasks.task("outer"), tasks.task("inner"):
        raise ValueError
    assert exceptions(recorded) == {"ValueError": 1}
    assert recorded.points("health.exceptions")[0][0]["health.exception.origin"] == "task"
    assert runs(recorded) == {("failure", "ValueError"): 1}
    assert len(recorded.points("task.duration")) == 2


def test_a_result_nobody_knows_still_counts(recorded, caplog):
    with caplog.at_level(logging.WARNING, logger="otelbridge"), tasks.task("job") as run:
        run.result("done")
    assert runs(recorded) == {("_OTHER", None): 1}
    assert "'done' is no value of task.result" in caplog.text


def test_an_object_used_again_starts_afresh(recorded):
    job = tasks.task("job")
    with job:
        job.retry()
    with job:
        pass
    assert runs(recorded) == {("retry", None): 1, ("success", None): 1}


def test_an_object_entered_twice_leaves_nothing_active(recorded):
    job = tasks.task("job")
    with job, job:
        pass
    assert running(recorded) == [0]


def test_a_renamed_run_is_taken_back_under_its_first_name(recorded):
    with tasks.task("job") as run:
        run.name = "other"
    assert recorded.points("task.active") == [({"task.name": "job"}, 0)]


def test_a_generator_runs_until_it_is_exhausted(recorded):
    @tasks.task("export")
    def export():
        yield from range(3)

    stream = export()
    assert recorded.points("task.active") == []
    assert next(stream) == 0
    assert running(recorded) == [1]
    assert list(stream) == [1, 2]
    assert running(recorded) == [0]
    assert runs(recorded) == {("success", None): 1}


async def test_an_async_generator_that_is_closed_ends_without_failure(recorded):
    @tasks.task("export")
    async def export():
        yield 1
        yield 2

    stream = export()
    assert await stream.__anext__() == 1
    assert running(recorded) == [1]
    await stream.aclose()
    assert running(recorded) == [0]
    assert runs(recorded) == {("success", None): 1}
    assert exceptions(recorded) == {}


def test_a_run_that_starts_before_the_provider_is_not_taken_back(recorded):
    switch.disconnect()
    with tasks.task("job"):
        switch.connect(recorded.provider)
    assert recorded.points("task.active") == []
    assert recorded.points("task.duration") == []


def test_a_run_that_outlives_its_provider_is_not_taken_back_from_the_next(recorded):
    reader = InMemoryMetricReader()
    other = MeterProvider([reader], shutdown_on_exit=False)
    with tasks.task("job"):
        switch.disconnect()
        switch.connect(other)
    names = {
        metric.name
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    other.shutdown()
    assert "task.duration" in names
    assert "task.active" not in names


def test_a_run_is_taken_back_from_the_provider_that_came_back(recorded):
    with tasks.task("job"):
        switch.disconnect()
        switch.connect(recorded.provider)
    assert running(recorded) == [0]


def test_without_a_provider_only_the_code_runs(recorded):
    switch.disconnect()

    @tasks.task("job")
    def job():
        return "done"

    def fail():
        with tasks.task("job") as run, tasks.dependencies("job"):
            run.retry()
            raise ValueError("as it was")

    with pytest.raises(ValueError, match="as it was"):
        fail()
    assert job() == "done"
    switch.connect(recorded.provider)
    assert recorded.metrics() == {}


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "resolved"),
        (LookupError("gone"), "failed"),
        (TimeoutError(), "timeout"),
        (asyncio.TimeoutError(), "timeout"),
    ],
)
def test_waiting_for_dependencies(recorded, error, result):
    with contextlib.suppress(LookupError, TimeoutError, asyncio.TimeoutError), tasks.dependencies("send_invoice"):
        if error is not None:
            raise error
    [(attributes, (count, _))] = recorded.points("task.dependency.duration")
    assert attributes == {"task.name": "send_invoice", "task.dependency.result": result}
    assert count == 1


async def test_dependencies_wrap_a_coroutine_function(recorded):
    @tasks.dependencies("send_invoice")
    async def gather():
        return ["order"]

    assert await gather() == ["order"]
    assert recorded.points("task.dependency.duration")[0][0]["task.dependency.result"] == "resolved"


def test_the_size_of_a_queue_is_read_at_each_collection(recorded):
    waiting = [1, 2, 3]
    registration = tasks.queue("billing", size=waiting.__len__)
    assert isinstance(registration, Registration)
    assert recorded.points("task.queue.size") == [({"task.queue.name": "billing"}, 3)]
    waiting.pop()
    assert recorded.value("task.queue.size") == 2
    registration.close()
    registration.close()
    assert recorded.points("task.queue.size") == []


def test_a_queue_reported_again_replaces_the_first_and_outlives_its_handle(recorded):
    first = tasks.queue("billing", size=lambda: 1)
    second = tasks.queue("billing", size=lambda: Decimal(2))
    first.close()
    assert recorded.value("task.queue.size") == 2
    second.close()


def test_a_broken_queue_costs_the_others_nothing(recorded, caplog):
    def broken():
        raise ConnectionError("no broker")

    handles = [tasks.queue("broken", size=broken), tasks.queue("whole", size=lambda: 4)]
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        assert recorded.points("task.queue.size") == [({"task.queue.name": "whole"}, 4)]
        assert recorded.value("task.queue.size") == 4
    assert len(caplog.records) == 1
    assert "no broker" in caplog.text
    for handle in handles:
        handle.close()


def test_workers_by_state(recorded):
    registration = tasks.workers("pool", lambda: {"busy": 2, "idle": 6})
    assert recorded.points("task.worker.count") == [
        ({"task.worker.pool.name": "pool", "task.worker.state": "busy"}, 2),
        ({"task.worker.pool.name": "pool", "task.worker.state": "idle"}, 6),
    ]
    registration.close()
    assert recorded.points("task.worker.count") == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=ANYTHING, queue=ANYTHING, result=ANYTHING)
def test_nothing_said_about_a_run_raises_or_leaves_it_active(recorded, name, queue, result):
    forget_warnings()
    with tasks.task(name, queue=queue) as run, tasks.dependencies(name):
        run.result(result)
    assert set(running(recorded)) == {0}
