"""A place for the groups of each test, which goes with it, and the figures of a run of full length."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.leftovers import memory_directory
from tests.workers.programs import GROUP, Observer, observed
from tests.workers.soak import SOAKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_LONG_SECONDS = 5.0


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


class _Figures:
    """Tells, as they pass, what tests of full length counted and how long they took."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" or not report.passed:
            return
        if report.user_properties or report.duration > _LONG_SECONDS:
            reporter = self._config.pluginmanager.getplugin("terminalreporter")
            figures = "".join(f", {name} {value:,}" for name, value in report.user_properties)
            reporter.ensure_newline()
            reporter.write_line(f"{time.strftime('%H:%M')} {report.nodeid}: {report.duration:.0f} s{figures}")


def pytest_configure(config: pytest.Config) -> None:
    if SOAKING:
        config.pluginmanager.register(_Figures(config))
