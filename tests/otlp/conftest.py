"""Programs that record and are killed, for the tests that need some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.otlp.spooling import Launcher, Programs
from tests.squid import running_squid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.squid import Squid


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    """What programs are forked off from; a module's programs share it, as it takes a while to start."""
    found = Launcher()
    yield found
    found.close()


@pytest.fixture
def started(launcher: Launcher, tmp_path: Path) -> Iterator[Programs]:
    """Starts programs that are gone at the end of the test."""
    found = Programs(launcher, tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="session")
def squid() -> Iterator[Squid]:
    """A proxy; the tests of a run share it."""
    with running_squid() as found:
        yield found
