"""Sub-interpreters: `init` says that it cannot run there, and leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from otelbridge.interpreters import refuse_subinterpreter

_IN_THERE = """
import sys, threading
sys.path[:] = {path!r}
import otelbridge
from otelbridge.errors import ConfigError
{settings}
try:
    otelbridge.init(service_name="sub", prometheus="off", otlp=False)
except ConfigError as error:
    told = str(error)
else:
    told = "nothing"
with open({found!r}, "w") as file:
    print(told, threading.active_count(), file=file)
"""

_START = """
import sys
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    failure = interpreters.exec(interpreters.create({config!r}), {script!r})
    assert failure is None, failure
else:
    import _xxsubinterpreters as interpreters
    interpreters.run_string(interpreters.create(isolated={config!r} == "isolated"), {script!r})
"""


def _told(directory, config: str, settings: str = "") -> str:
    """What `init` says in a sub-interpreter of a fresh process, and how many threads there are then."""
    found = directory / "found"
    script = _IN_THERE.format(path=sys.path, found=str(found), settings=settings)
    subprocess.run([sys.executable, "-c", _START.format(config=config, script=script)], check=True, timeout=120)
    return found.read_text().strip()


# Isolated ones may start no threads at all. Those of WSGI servers may; where Python has the API for them.
@pytest.mark.parametrize("config", ["isolated", "legacy"])
def test_a_subinterpreter_is_refused_in_clear_words(tmp_path, config) -> None:
    told = _told(tmp_path, config)
    assert told.startswith("otelbridge was started in a sub-interpreter")
    assert "Call init() in the main interpreter" in told
    assert told.endswith(" 1")


def test_so_is_one_that_cannot_even_import_what_is_needed(tmp_path) -> None:
    told = _told(tmp_path, "isolated", "sys.modules['opentelemetry.sdk.metrics'] = None")
    assert told.startswith("otelbridge was started in a sub-interpreter")


def test_switched_off_it_may_be_called_anywhere(tmp_path) -> None:
    assert _told(tmp_path, "legacy", "import os; os.environ['OTEL_SDK_DISABLED'] = 'true'") == "nothing 1"


def test_the_main_interpreter_is_not_refused() -> None:
    refuse_subinterpreter()
