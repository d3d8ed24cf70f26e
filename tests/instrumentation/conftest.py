"""Components the tests of this directory run against, and the conventions that hold for all of them."""

from __future__ import annotations

import pytest

from otelbridge.instrumentation.http.stability import choose_stable_conventions
from tests.components import mariadb, postgresql

__all__ = ["mariadb", "postgresql"]


@pytest.fixture(scope="session", autouse=True)
def _stable_conventions() -> None:
    """Chosen once a process, by whoever switches an official instrumentation on first; others begin a process."""
    choose_stable_conventions(metrics=False)
