"""What is recorded while the interpreter ends, and whether the last push has it."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import popen_fork
from typing import TYPE_CHECKING

import pytest

from tests.cells.servers import clean_environment
from tests.otlp.faults import Receiver, answer
from tests.otlp.spooling import points

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend

_PROGRAM = """
import atexit, multiprocessing, sys, threading
from concurrent.futures import ThreadPoolExecutor

atexit.register(lambda: orders.add(1))  # before otelbridge is imported: it runs after the last push

import otelbridge
from opentelemetry import metrics

bridge = otelbridge.init(
    service_name="shop", prometheus="off", instrument=False, domains=[],
    otlp=otelbridge.OtlpOptions(metrics_endpoint=sys.argv[1], interval=3600),
)
orders = metrics.get_meter("shop").create_counter("orders")
over = threading.Event()

def wait(amount):
    over.wait(30)
    orders.add(amount)

def in_a_child():
    atexit.register(lambda: orders.add(10_000_000))
    orders.add(1_000_000)

atexit.register(lambda: orders.add(10))
threading._register_atexit(lambda: (over.set(), orders.add(100)))
threading.Thread(target=wait, args=(1_000,)).start()
ThreadPoolExecutor(1).submit(wait, 10_000)
if sys.argv[2] == "children":
    child = multiprocessing.get_context("fork").Process(target=in_a_child)
    child.start()
    child.join()
    sys.exit(child.exitcode)
"""


@pytest.mark.parametrize("ending", ["alone", "children"])
def test_the_last_push_has_what_python_ends_before_it(tmp_path: Path, ending) -> None:
    environ = {**clean_environment(), "OTELBRIDGE_RUN_DIRECTORY": str(tmp_path)}
    with Receiver(answer()) as receiver:
        ran = subprocess.run(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _PROGRAM, receiver.url, ending],
            capture_output=True,
            text=True,
            timeout=120,
            env=environ,
            check=False,
        )
        *_, last = points(receiver, "orders")
    assert ran.returncode == 0
    assert "Traceback" not in ran.stderr
    # A child counts in its group however it ends: with the hooks of its threads, and its own where Python runs them.
    hooks = 100 + (10_000_000 if hasattr(popen_fork, "atexit") else 0)
    assert last.value == 11_110 + (1_000_000 + hooks if ending == "children" else 0)
