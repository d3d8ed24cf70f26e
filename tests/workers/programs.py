"""Starts the programs of this directory, and looks at what they counted from a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from tests.cells.servers import ROOT, clean_environment, eventually, running
from tests.workers.load import Values, counters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_PATIENCE = 60.0
GROUP = {"OTELBRIDGE_GROUP": "one"}
"""Makes whatever is started with it one group."""


class Observer:
    """A process of a group, that shows what all of its processes have counted.

    Args:
        url: Where it is scraped.
        environment: Variables for more programs of the group.
    """

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self._url = url

    def page(self) -> str:
        """What a scrape gets."""
        with urlopen(self._url, timeout=_PATIENCE) as answer:
            return answer.read().decode()

    def counters(self) -> Values:
        """The samples that may only rise."""
        return counters(self.page())


@contextmanager
def observed(environment: Mapping[str, str], tmp_path: Path) -> Iterator[Observer]:
    """Run an observer for as long as the block lasts."""
    urls = tmp_path / "urls"
    settings = {**environment, "SERVICE_URLS": str(urls)}
    with running(
        [sys.executable, "-m", "tests.workers.observer"], log_file=tmp_path / "observer.log", environment=settings
    ) as server:
        eventually(lambda: urls.exists() and urls.read_text().endswith("\n"), lambda: f"it listens: {server.log()}")
        yield Observer(urls.read_text().split()[0], environment)
        server.process.terminate()


def run(module: str, *arguments: str, environment: Mapping[str, str], timeout: float = 300.0) -> Any:
    """Run a program to its end; what it printed last, as JSON."""
    done = attempt([sys.executable, "-m", module, *arguments], environment=environment, timeout=timeout)
    assert done.returncode == 0, f"{module} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def attempt(
    command: list[str], *, environment: Mapping[str, str], timeout: float = 300.0
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, which must come within the time; nothing it started is left after that."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            # Its children, if it has left any, are in its session.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, out, err)
