"""Groups of processes, and silence, for the tests that need them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.metrics.group import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., list[Worker]]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Nothing is logged: amounts are refused and views conflict thousands of times; other tests read the log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts worker processes of one group."""
    started: list[Worker] = []
    monkeypatch.setenv("OTELBRIDGE_GROUP", "test")

    def start(number: int, views: list[dict[str, Any]] | None = None, limit: int = 2000) -> list[Worker]:
        workers = [Worker(tmp_path, views or [], limit) for _ in range(number)]
        started.extend(workers)
        return workers

    yield start
    for worker in started:
        if worker.process.is_alive():
            worker.kill()
