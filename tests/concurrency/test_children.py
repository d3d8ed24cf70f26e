"""Children that are forked while other threads of their parent work end well, every one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_FORKS = 2000 if os.environ.get("OTELBRIDGE_SOAK") == "1" else 60


@pytest.mark.endtoend
@pytest.mark.parametrize("meanwhile", ["create", "scrape", "push", "shutdown", "import"])
def test_no_child_hangs_whatever_its_parent_does_meanwhile(tmp_path: Path, meanwhile: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OTELBRIDGE_GROUP"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.concurrency.children", meanwhile, str(_FORKS)],
        env=environment | {"OTELBRIDGE_RUN_DIRECTORY": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300 + 2 * _FORKS,
        check=False,
    )
    assert done.stdout.endswith("bad: 0\n"), done.stderr[-5000:]
