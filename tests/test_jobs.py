"""Programs that do one thing and end: what they recorded has arrived before they do."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

import otelbridge
from otelbridge.config.options import OtlpOptions
from otelbridge.jobs import Job
from tests.otlp import faults
from tests.otlp.faults import Receiver, answer
from tests.otlp.pushing import SLACK, points, run_directory, timed
from tests.workers.programs import attempt

pytestmark = pytest.mark.endtoend

ROOT = Path(__file__).parents[1]


@pytest.fixture
def receiver():
    with Receiver(answer()) as receiver:
        yield receiver


@pytest.fixture
def started(receiver):
    _init(receiver.url)
    yield
    otelbridge.shutdown(1)


@pytest.fixture
def environment():
    with run_directory() as directory:
        yield {"PYTHONPATH": str(ROOT), "OTELBRIDGE_RUN_DIRECTORY": directory}


def _init(url: str) -> None:
    otelbridge.init(
        service_name="nightly",
        prometheus="off",
        otlp=OtlpOptions(metrics_endpoint=url, interval=3600),
        instrument=False,
        workers="separate",
    )


def runs(receiver: Receiver) -> dict[tuple[str, str], int]:
    """Runs by name and result, as they came last."""
    found = points(exchange.body for exchange in receiver.exchanges).get("task.duration", [])
    return {(where["task.name"], where["task.result"]): count for where, (count, _) in found}


def test_the_outcome_is_there_before_the_block_is_left(receiver, started) -> None:
    with otelbridge.job("nightly", queue="cron"):
        otelbridge.business.revenue.add(5, {"currency": "EUR"})
        assert not receiver.exchanges
    assert runs(receiver) == {("nightly", "success"): 1}
    pushed = points(exchange.body for exchange in receiver.exchanges)
    assert pushed["task.duration"][0][0]["task.queue.name"] == "cron"
    assert pushed["task.active"][-1][1] == 0
    assert "business.revenue" in pushed


def test_an_exception_goes_on_and_is_pushed_as_a_failure(receiver, started) -> None:
    error = ValueError("out of order")
    with pytest.raises(ValueError, match="out of order") as raised, otelbridge.job("nightly"):
        raise error
    assert raised.value is error
    assert runs(receiver) == {("nightly", "failure"): 1}


def test_what_the_job_says_of_itself_counts(receiver, started) -> None:
    with otelbridge.job("nightly") as job:
        job.retry()
    assert runs(receiver) == {("nightly", "retry"): 1}


def test_as_a_decorator_each_call_is_a_job(receiver, started) -> None:
    @otelbridge.job("nightly", timeout=7)
    def work(number: int) -> int:
        return number + 1

    @otelbridge.job("hourly")
    async def work_later() -> str:
        return "done"

    assert [work(1), work(2)] == [2, 3]
    assert len(receiver.exchanges) == 2
    assert asyncio.run(work_later()) == "done"
    assert runs(receiver) == {("nightly", "success"): 2, ("hourly", "success"): 1}
    assert Job("nightly", queue="q", timeout=7)._again().timeout == 7


def test_in_an_event_loop(receiver, started) -> None:
    async def main() -> None:
        async with otelbridge.job("nightly"):
            await asyncio.sleep(0)

    asyncio.run(main())
    assert runs(receiver) == {("nightly", "success"): 1}


@pytest.mark.parametrize("behaviour", [faults.hang, faults.reset, answer(503), answer(401)])
def test_a_receiver_in_trouble_costs_its_time_and_nothing_else(behaviour) -> None:
    with Receiver(behaviour) as receiver:
        _init(receiver.url)

        @otelbridge.job("nightly", timeout=0.3)
        def work() -> str:
            return "done"

        done = timed(work)
        otelbridge.shutdown(0.3)
    assert done.result == "done"
    assert done.seconds < SLACK


def test_without_metrics_it_only_runs_the_code() -> None:
    with otelbridge.job("nightly") as job:
        done = True
    assert done
    assert isinstance(job, Job)


_PROGRAM = """
import sys
import otelbridge
otelbridge.init(service_name="nightly", prometheus="off", otlp=sys.argv[1], instrument=False)
with otelbridge.job("nightly", timeout=0.5):
    {body}
"""


@pytest.mark.parametrize(
    ("body", "code", "result"),
    [
        ("pass", 0, "success"),
        ("sys.exit()", 0, "success"),
        ("sys.exit(0)", 0, "success"),
        ("sys.exit(3)", 3, "failure"),
        ("sys.exit('the end')", 1, "failure"),
        ("raise ValueError('the end')", 1, "failure"),
        ("raise KeyboardInterrupt", -2, "failure"),
    ],
)
def test_the_exit_code_of_a_program_stays_what_it_is(body, code, result, receiver, environment) -> None:
    url = f"http://127.0.0.1:{receiver.port}"
    ended = attempt([sys.executable, "-c", _PROGRAM.format(body=body), url], environment=environment)
    assert ended.returncode == code
    assert runs(receiver) == {("nightly", result): 1}
    assert "Metrics do not arrive" not in ended.stderr


def test_the_exit_code_is_that_of_the_job_though_nothing_arrives(environment) -> None:
    with Receiver(answer(401)) as receiver:
        url = f"http://127.0.0.1:{receiver.port}"
        program = _PROGRAM.format(body="sys.exit(3)")
        ended = attempt([sys.executable, "-c", program, url], environment=environment)
    assert ended.returncode == 3
    assert ended.stderr.count("Metrics do not arrive") == 1


def test_a_program_that_is_killed_after_its_job_has_lost_nothing_of_it(receiver, environment) -> None:
    script = _PROGRAM.format(body="pass") + "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    attempt([sys.executable, "-c", script, f"http://127.0.0.1:{receiver.port}"], environment=environment)
    assert runs(receiver) == {("nightly", "success"): 1}
