"""Every test is told everything anew."""

import pytest

from otelbridge.diagnostics import forget_warnings


@pytest.fixture(autouse=True)
def _told_anew() -> None:
    forget_warnings()
