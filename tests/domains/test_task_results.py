"""What task runners and programs raise to steer: run by them where they need no server, else by their classes."""

from __future__ import annotations

import asyncio
import contextlib

import arq.worker
import celery.exceptions
import click
import dramatiq
import dramatiq.brokers.stub
import dramatiq.middleware
import gevent
import httpx
import pytest
import rq
import rq.exceptions
import taskiq
import taskiq.exceptions
import trio
import typer
from celery import Celery

import otelbridge
from otelbridge.domains import tasks


def runs(recorded):
    """Results of runs, with error.type and how many there were."""
    return {
        (attributes["task.result"], attributes.get("error.type")): count
        for attributes, (count, _) in recorded.points("task.duration")
    }


def exceptions(recorded):
    return {attributes["error.type"]: value for attributes, value in recorded.points("health.exceptions")}


STEERING = [
    (celery.exceptions.Retry("again"), "retry"),
    (celery.exceptions.Ignore(), "ignored"),
    (celery.exceptions.Reject("not mine", requeue=False), "rejected"),
    (arq.worker.Retry(defer=1), "retry"),
    (arq.worker.RetryJob(), "retry"),
    (dramatiq.Retry("again"), "retry"),
    (dramatiq.RateLimitExceeded("too many"), "retry"),
    (dramatiq.middleware.SkipMessage(), "ignored"),
    (taskiq.exceptions.NoResultError(), "ignored"),
    (taskiq.exceptions.TaskRejectedError(), "rejected"),
    (SystemExit(), "success"),
    (SystemExit(0), "success"),
    (click.exceptions.Exit(0), "success"),
    (typer.Exit(), "success"),
    (typer.Exit(0), "success"),
]


@pytest.mark.parametrize("run", [tasks.task, otelbridge.job])
@pytest.mark.parametrize(
    ("error", "result"), STEERING, ids=[f"{type(error).__module__}-{error!r}" for error, _ in STEERING]
)
def test_what_steers_is_no_failure_and_is_raised_on(recorded, run, error, result):
    with pytest.raises(type(error)) as raised, run("job"):
        raise error
    assert raised.value is error
    assert runs(recorded) == {(result, None): 1}
    assert exceptions(recorded) == {}


@pytest.mark.parametrize(
    ("error", "type_"),
    [
        (celery.exceptions.WorkerShutdown(0), "celery.exceptions.WorkerShutdown"),
        (celery.exceptions.WorkerTerminate(), "celery.exceptions.WorkerTerminate"),
        (dramatiq.middleware.Shutdown(), "dramatiq.middleware.shutdown.Shutdown"),
        (gevent.GreenletExit(), "greenlet.GreenletExit"),
        (rq.exceptions.ShutDownImminentException("stop", []), "rq.exceptions.ShutDownImminentException"),
    ],
)
def test_a_worker_that_stops_cancels(recorded, error, type_):
    with pytest.raises(type(error)), tasks.task("job"):
        raise error
    assert runs(recorded) == {("cancelled", type_): 1}
    assert exceptions(recorded) == {}


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(1),
        SystemExit("out of order"),
        SystemExit(""),
        typer.Exit(2),
        click.exceptions.Exit(1),
        click.Abort(),
        arq.worker.JobExecutionFailed(),
        celery.exceptions.MaxRetriesExceededError(),
        celery.exceptions.TaskRevokedError(),
        rq.exceptions.AbandonedJobError(),
    ],
    ids=repr,
)
def test_what_does_not_is_a_failure(recorded, error):
    with pytest.raises(type(error)), tasks.task("job"):
        raise error
    [(result, type_)] = runs(recorded)
    assert (result, type_.rpartition(".")[2]) == ("failure", type(error).__name__)
    assert sum(exceptions(recorded).values()) == isinstance(error, Exception)


def test_a_class_of_the_application_is_what_its_base_is(recorded):
    class NotYetError(celery.exceptions.Retry):
        pass

    with contextlib.suppress(NotYetError), tasks.task("job"):
        raise NotYetError
    assert runs(recorded) == {("retry", None): 1}


def test_what_the_task_said_goes_before(recorded):
    with contextlib.suppress(celery.exceptions.Ignore), tasks.task("job") as run:
        run.result("failure")
        raise celery.exceptions.Ignore
    assert runs(recorded) == {("failure", None): 1}
    assert exceptions(recorded) == {}


def test_a_timeout_of_a_client_is_a_timeout(recorded):
    with contextlib.suppress(httpx.ReadTimeout), tasks.task("job"):
        raise httpx.ReadTimeout("late")
    with contextlib.suppress(httpx.PoolTimeout), tasks.dependencies("job"):
        raise httpx.PoolTimeout("late")
    assert runs(recorded) == {("timeout", "httpx.ReadTimeout"): 1}
    assert exceptions(recorded) == {"httpx.ReadTimeout": 1}
    assert recorded.points("task.dependency.duration")[0][0]["task.dependency.result"] == "timeout"


def test_trio_cancels_and_ends_for_its_time(recorded):
    async def job(seconds):
        with trio.fail_after(seconds):
            async with tasks.task("job"):
                await trio.sleep_forever()

    async def dropped():
        with trio.CancelScope() as scope:
            scope.cancel()
            await job(60)

    async def late():
        async with tasks.task("outer"):
            await job(0)

    trio.run(dropped)
    with pytest.raises(trio.TooSlowError):
        trio.run(late)
    assert runs(recorded) == {("cancelled", "trio.Cancelled"): 2, ("timeout", "trio.TooSlowError"): 1}
    assert exceptions(recorded) == {"trio.TooSlowError": 1}


async def _late():
    with trio.fail_after(0):
        await trio.sleep_forever()


async def _fail():
    raise ValueError


@pytest.mark.parametrize(
    ("together", "result"),
    [
        ((trio.sleep_forever, trio.sleep_forever), "cancelled"),
        ((_late, trio.sleep_forever), "timeout"),
        ((_fail, trio.sleep_forever), "failure"),
    ],
)
def test_a_group_is_cancelled_or_late_where_all_in_it_are(recorded, together, result):
    async def job():
        with trio.CancelScope() as scope:
            async with tasks.task("job"), trio.open_nursery() as nursery:
                for each in together:
                    nursery.start_soon(each)
                if result == "cancelled":
                    scope.cancel()

    with contextlib.suppress(Exception):
        trio.run(job)
    assert [ended for ended, _ in runs(recorded)] == [result]


def test_celery_tries_again_ignores_and_rejects(recorded):
    app = Celery("service", broker="memory://")

    @app.task(bind=True, max_retries=2, name="steer")
    @tasks.task("steer")
    def steer(self, state):
        if state == "again":
            raise self.retry(exc=ConnectionError("not yet"), countdown=0)
        raise {"IGNORED": celery.exceptions.Ignore, "REJECTED": celery.exceptions.Reject}[state]

    assert steer.apply(("IGNORED",)).state == "IGNORED"
    assert steer.apply(("REJECTED",)).state == "REJECTED"
    assert steer.apply(("again",)).state == "FAILURE"
    # Two times it is tried again. Then Celery raises what it was given, and that is a failure.
    assert runs(recorded) == {
        ("ignored", None): 1,
        ("rejected", None): 1,
        ("retry", None): 2,
        ("failure", "ConnectionError"): 1,
    }
    assert exceptions(recorded) == {"ConnectionError": 1}


def test_dramatiq_tries_again_and_keeps_its_limits(recorded):
    broker = dramatiq.brokers.stub.StubBroker(
        middleware=[dramatiq.middleware.Retries(min_backoff=1, max_backoff=1), dramatiq.middleware.Callbacks()]
    )
    broker.emit_after("process_boot")
    raised = [dramatiq.Retry("again", delay=1), dramatiq.RateLimitExceeded("too many"), None]

    @dramatiq.actor(broker=broker, actor_name="steer")
    @tasks.task("steer")
    def steer() -> None:
        error = raised.pop(0)
        if error is not None:
            raise error

    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=1)
    worker.start()
    try:
        steer.send()
        broker.join(steer.queue_name, timeout=60_000)
        worker.join()
    finally:
        worker.stop()
        broker.close()
    assert runs(recorded) == {("retry", None): 2, ("success", None): 1}
    assert exceptions(recorded) == {}


async def test_taskiq_queues_again_and_rejects(recorded):
    broker = taskiq.InMemoryBroker(await_inplace=True)
    requeued = []

    @broker.task(task_name="steer")
    @tasks.task("steer")
    async def steer(what: str, context: taskiq.Context = taskiq.TaskiqDepends()) -> None:  # noqa: B008
        if what == "reject":
            context.reject()
        if what == "requeue" and not requeued:
            requeued.append(what)
            await context.requeue()

    await broker.startup()
    await steer.kiq("reject")
    await steer.kiq("requeue")
    await broker.wait_all()
    await broker.shutdown()
    assert runs(recorded) == {("rejected", None): 1, ("ignored", None): 1, ("success", None): 1}
    assert exceptions(recorded) == {}


def test_rq_is_told_by_what_a_job_returns(recorded):
    @tasks.task("job")
    def job(result):
        return result

    @tasks.task("job")
    async def async_job(result):
        return result

    class Soon(rq.Retry):
        pass

    for again in (rq.Retry(max=3), Soon(max=3)):
        assert job(again) is again
        assert asyncio.run(async_job(again)) is again
    assert job(ValueError("a value, not raised")).args
    assert runs(recorded) == {("retry", None): 4, ("success", None): 1}


def test_a_program_of_typer_that_is_done_is_a_success(recorded):
    app = typer.Typer()

    @app.command()
    @otelbridge.job("nightly")
    def nightly() -> None:
        raise typer.Exit

    with pytest.raises(SystemExit) as ended:
        app([])
    assert ended.value.code == 0
    assert runs(recorded) == {("success", None): 1}
