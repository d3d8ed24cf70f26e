"""Nothing is logged while a lock of ours is held."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from otelbridge import diagnostics
from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_is_reported_under_locks_is_logged_after_the_last(caplog: pytest.LogCaptureFixture) -> None:
    outer, inner = forks.lock(), forks.lock()
    with diagnostics.late_warnings, outer:
        with diagnostics.late_warnings, inner:
            diagnostics.warn("one")
        diagnostics.warn_once(("test", "two"), "%s", "two")
        diagnostics.warn_once(("test", "two"), "%s", "again")
        assert caplog.messages == []
    assert caplog.messages == ["one", "two"]


def test_another_thread_that_holds_none_logs_it_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    with diagnostics.late_warnings, forks.lock():
        diagnostics.warn("late")
        thread = threading.Thread(target=diagnostics.log_waiting)
        thread.start()
        thread.join()
        assert caplog.messages == ["late"]
    assert caplog.messages == ["late"]


def test_an_exception_does_not_keep_it_from_being_logged(caplog: pytest.LogCaptureFixture) -> None:
    try:
        with diagnostics.late_warnings, forks.lock():
            diagnostics.warn("late")
            raise ValueError
    except ValueError:
        assert caplog.messages == ["late"]


def test_loggers_of_others_wait_too(caplog: pytest.LogCaptureFixture) -> None:
    diagnostics.delay_logs("tests.theirs")
    logger = logging.getLogger("tests.theirs")
    with diagnostics.late_warnings, forks.lock():
        logger.warning("theirs %d", 1)
        assert caplog.messages == []
    logger.warning("at once")
    assert caplog.messages == ["theirs 1", "at once"]


def test_a_handler_that_records_makes_instruments_scrapes_and_flushes_hangs_nowhere(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OTELBRIDGE_GROUP"}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "tests.concurrency.handlers", str(tmp_path)],
        env=environment | {"OTELBRIDGE_RUN_DIRECTORY": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"silent": [], "locked": [], "waiting": 0}
