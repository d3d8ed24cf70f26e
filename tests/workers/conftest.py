"""A place for the groups of each test, which goes with it, and the figures of a run of full length."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.leftovers import memory_directory
from tests.workers.programs import GROUP, Observer, observed
from tests.workers.soak import SOAKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def run_directory() -> Iterator[Path]:
    """A directory that lives in memory where the system has one."""
    with memory_directory("workers-") as directory:
        yield directory


@pytest.fixture
def environment(run_directory: Path) -> dict[str, str]:
    """Variables for a program whose groups go into `run_directory`."""
    return {"OTELBRIDGE_RUN_DIRECTORY": str(run_directory)}


@pytest.fixture(scope="module")
def observer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observer]:
    """A process that lives on and shows what the programs of its group, which the tests of a module start, counted."""
    with memory_directory("workers-") as directory:
        environment = {"OTELBRIDGE_RUN_DIRECTORY": str(directory), **GROUP}
        with observed(environment, tmp_path_factory.mktemp("observer")) as observer:
            yield observer


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what tests of full length counted."""
    if not SOAKING:
        return
    for report in terminalreporter.getreports("passed"):
        if report.user_properties:
            figures = ", ".join(f"{name} {value:,}" for name, value in report.user_properties)
            terminalreporter.write_line(f"{report.nodeid}: {figures}")
