"""The process's and interpreter's metrics, against other ways to ask the kernel."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from otelbridge.instrumentation.system import instrument_process, instrument_runtime

pytestmark = pytest.mark.endtoend

PROCESS = (
    "process.uptime",
    "process.cpu.time",
    "process.memory.usage",
    "process.thread.count",
    "process.unix.file_descriptor.count",
)


@pytest.fixture(params=["/proc", "psutil"])
def observed(request, recorded, monkeypatch):
    if request.param == "psutil":
        # As on a system without /proc: every reading of it fails, so psutil is asked.
        from otelbridge.instrumentation.system import process

        monkeypatch.setattr(process, "_PROC", process.Path("/no/such/proc"))
    registration = instrument_process()
    yield recorded
    registration.close()


def test_uptime_is_that_of_the_process_not_of_the_import(observed) -> None:
    before = time.time() - psutil.Process().create_time()
    uptime = observed.value("process.uptime")
    after = time.time() - psutil.Process().create_time()
    # The kernel gives the start in ticks of 10 ms, and the time of boot in whole seconds.
    assert before - 1.1 <= uptime <= after + 1.1
    assert isinstance(uptime, float)


def test_cpu_time_lies_between_two_readings(observed) -> None:
    before = os.times()
    sum(range(10**6))
    points = {attributes["cpu.mode"]: value for attributes, value in observed.points("process.cpu.time")}
    after = os.times()
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert set(points) == {"user", "system"}
    assert before.user - tick <= points["user"] <= after.user + tick
    assert before.system - tick <= points["system"] <= after.system + tick


def test_memory_follows_what_is_allocated(observed) -> None:
    before = observed.value("process.memory.usage")
    block = b"x" * 64 * 2**20
    after = observed.value("process.memory.usage")
    assert after - before == pytest.approx(len(block), rel=0.2)


def test_descriptors_follow_what_is_opened(observed) -> None:
    before = observed.value("process.unix.file_descriptor.count")
    pipes = [os.pipe() for _ in range(5)]
    assert observed.value("process.unix.file_descriptor.count") == before + 10
    for ends in pipes:
        for end in ends:
            os.close(end)


SCRIPT = """
import json, os, sys, threading, time
if "no psutil" in sys.argv:
    sys.modules["psutil"] = None
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from otelbridge.instrumentation.system import instrument_process, instrument_runtime
from otelbridge.instrumentation.system import process
from otelbridge.metrics.switch import switch

if "no proc" in sys.argv:
    process._PROC = process.Path("/no/such/proc")

def read():
    reader = InMemoryMetricReader()
    # Left to itself, the provider detects its resource in a thread that may still be there.
    switch.connect(MeterProvider([reader], resource=Resource({})))
    data = json.loads(reader.get_metrics_data().to_json())
    metrics = data["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    return {metric["name"]: [point["value"] for point in metric["data"]["data_points"]] for metric in metrics}

instrument_process()
instrument_runtime()
if "fork" in sys.argv:
    sum(range(10**7))
    files = [open(os.devnull) for _ in range(50)]
    time.sleep(0.3)
    parent = read()
    into, out = os.pipe()
    back, forth = os.pipe()
    child = os.fork()
    if child == 0:
        for file in files:
            file.close()
        os.write(forth, json.dumps(read()).encode())
        os._exit(0)
    os.close(forth)
    with os.fdopen(back) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    print(json.dumps([parent, json.loads(text)]))
elif "threads" in sys.argv:
    before, leave = read(), threading.Event()
    started = [threading.Thread(target=leave.wait) for _ in range(3)]
    for thread in started:
        thread.start()
    print(json.dumps([before, read()]))
    leave.set()
else:
    print(json.dumps(read()))
"""


def run(*arguments: str):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_everything_without_psutil_where_there_is_proc() -> None:
    assert set(run("no psutil")) == {*PROCESS, "cpython.gc.collections"}


def test_without_both_the_standard_library_answers_and_the_rest_is_absent() -> None:
    values = run("no psutil", "no proc")
    assert set(values) == {"process.uptime", "process.cpu.time", "process.thread.count", "cpython.gc.collections"}
    assert values["process.thread.count"] == [1]
    assert values["process.uptime"][0] > 0


@pytest.mark.parametrize("arguments", [(), ("no proc",)], ids=["/proc", "psutil"])
def test_forked_child_reports_itself(arguments) -> None:
    parent, child = run("fork", *arguments)
    assert child["process.uptime"][0] < parent["process.uptime"][0]
    assert sum(child["process.cpu.time"]) < sum(parent["process.cpu.time"])
    assert child["process.unix.file_descriptor.count"][0] < parent["process.unix.file_descriptor.count"][0] - 40


@pytest.mark.parametrize(
    "arguments", [(), ("no proc",), ("no proc", "no psutil")], ids=["/proc", "psutil", "standard library"]
)
def test_threads_are_counted(arguments) -> None:
    before, after = run("threads", *arguments)
    assert after["process.thread.count"] == [before["process.thread.count"][0] + 3]


def test_descriptors_are_those_that_are_open() -> None:
    # Nothing but the three standard streams is open in a fresh interpreter.
    assert run("no psutil")["process.unix.file_descriptor.count"] == [3]


def test_garbage_collections(recorded) -> None:
    registration = instrument_runtime()

    def points() -> dict[int, int]:
        return {
            attributes["cpython.gc.generation"]: value
            for attributes, value in recorded.points("cpython.gc.collections")
        }

    before = points()
    gc.collect()
    after = points()
    assert set(before) == set(range(len(gc.get_stats())))
    oldest = max(before)
    assert after[oldest] == before[oldest] + 1
    registration.close()
    assert points() == {}


def test_twice_observes_once(recorded) -> None:
    first, second = instrument_process(), instrument_process()
    assert isinstance(recorded.value("process.uptime"), float)
    first.close()
    second.close()
    assert recorded.points("process.uptime") == []
