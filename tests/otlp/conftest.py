"""Programs that record and are killed, for the tests that need some."""

from __future__ import annotations

import os
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


@pytest.fixture(autouse=True)
def _no_proxy_variables(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may need a proxy; receivers of tests do not."""
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name == "REQUEST_METHOD":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def squid() -> Iterator[Squid]:
    """A proxy; the tests of a run share it."""
    with running_squid() as found:
        yield found
