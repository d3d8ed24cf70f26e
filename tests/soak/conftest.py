"""Long runs. By themselves they are short; with ``OTELBRIDGE_SOAK=1`` they are of full length."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: many measurements; of full length with OTELBRIDGE_SOAK=1")


@pytest.fixture
def full() -> bool:
    """Whether the run is of full length."""
    return os.environ.get("OTELBRIDGE_SOAK") == "1"
