"""The guide does what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "prometheus-client.md"


def test_the_code_of_the_guide_runs_and_its_series_are_there(tmp_path) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL", "PYTHONWARNINGS"))}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.docs.blocks", str(GUIDE)],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(ROOT), "OTEL_EXPORTER_PROMETHEUS_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
