"""A place for the groups of each test, which goes with it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY = Path("/dev/shm")


@pytest.fixture
def run_directory() -> Iterator[Path]:
    """A directory that lives in memory where the system has one."""
    base = _MEMORY if _MEMORY.is_dir() else None
    directory = Path(tempfile.mkdtemp(prefix="otelbridge-workers-", dir=base))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def environment(run_directory: Path) -> dict[str, str]:
    """Variables for a program whose groups go into `run_directory`."""
    return {"OTELBRIDGE_RUN_DIRECTORY": str(run_directory)}
