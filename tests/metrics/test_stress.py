"""Four threads record while series are hidden and read, in three processes, one of which is killed: exact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.leftovers import memory_directory
from tests.workers.soak import LENGTHS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.endtoend


class Stressed:
    """A process of `tests.metrics.stress`."""

    def __init__(self, directory: Path, interval: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.metrics.stress", str(directory), str(interval)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OTELBRIDGE_GROUP": "stress"},
        )

    def ask(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[list[Stressed]]:
    with memory_directory("stress-") as directory:
        processes = [Stressed(directory, request.param) for _ in range(3)]
        yield processes
        for each in processes:
            each.kill()


@pytest.mark.parametrize("group", [0.005, 1e-6], indirect=True, ids=["5 ms", "1 us"])
def test_every_count_is_read_once_whatever_comes_and_goes(group: list[Stressed]) -> None:
    for each in group:
        assert each.answer() == "ready"
    time.sleep(LENGTHS.stress_seconds)  # the length of the load
    for each in group:
        each.ask()
    said = [each.answer() for each in group]
    for told in said:
        assert told["falls"] == []
        assert min(told["recorded"].values()) > 0
        assert told["given"] == [told["recorded"]] * 2
    group[0].kill()
    expected = sum((Counter(told["recorded"]) for told in said), Counter[str]())
    for each in (*group[1:], group[1]):
        each.ask()
        shown = each.answer()
        expected += Counter(dict.fromkeys(expected, shown["added"]))
        assert shown["shown"] == expected
