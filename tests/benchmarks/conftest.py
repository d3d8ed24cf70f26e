from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.table import BEGIN, END

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A document with a table of an earlier run."""
    path = tmp_path / "benchmarks.md"
    path.write_text(f"# Before\n\n{BEGIN}\nstale numbers\n{END}\n\nAfter\n")
    return path
