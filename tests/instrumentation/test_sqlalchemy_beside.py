"""OpenTelemetry's own instrumentation of SQLAlchemy beside ours: spans and metrics, each once, in any order.

It takes SQLAlchemy below 2.1, so a program does it, with such a version.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components import missing

PROGRAM = Path(__file__).with_name("sqlalchemy_beside.py")

pytestmark = [pytest.mark.components, pytest.mark.endtoend]


def play(version, url, story):
    directory = Path(sys.prefix) / f"sqlalchemy-{version}"
    if not directory.is_dir():
        missing(f"SQLAlchemy {version}", f"it is not in {directory}")
    path = os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, str(PROGRAM), url, *story.split()],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OTEL_TRACES_SAMPLER": "always_on"},
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


STORIES = [
    "theirs make init use",
    "theirs init make use",
    "init theirs make use",
    "make init theirs_with_engine use",
    "make theirs_with_engine init use",
    "make theirs_with_engine init give use",
    "make init give theirs_with_engine use",
    "theirs make init_traces use",
    "theirs init_traces make use",
    "make theirs_with_engine init_traces give use",
    "init_traces theirs make use",
    "make init_traces give theirs_with_engine use",
    "make init_traces use",
    "init_traces make use",
    "init_traces make give use",
]
SETTINGS = [("2.0", "sqlite", story) for story in STORIES]
SETTINGS += [("2.0", "sqlite+aiosqlite", story) for story in STORIES[::3]]
SETTINGS += [("1.4", "sqlite", story) for story in STORIES[1::4]]


@pytest.mark.parametrize(("version", "dialect", "story"), SETTINGS)
def test_one_span_and_one_measurement(tmp_path, version, dialect, story):
    told = play(version, f"{dialect}:///{tmp_path}/shop.db", story)
    assert (len(told["spans"]), told["statements"]) == (1, 1)
    assert "db_client_operation_duration_seconds" in told["metrics"]
    assert not [name for name in told["metrics"] if name.startswith("db_client_connections_usage")]
    before = story.partition("give" if "give" in story else "use")[0]
    steps_aside = "init_traces" in before and "theirs" in before
    assert len(told["log"]) == steps_aside, told["log"]


def test_a_handle_ends_the_spans_of_its_engine_alone(tmp_path):
    url = f"sqlite:///{tmp_path}/shop.db"
    told = play("2.0", url, "init_traces make give make give use take use make use")
    assert (len(told["spans"]), told["statements"]) == (2, 2)


def test_the_end_leaves_their_instrumentation_free(tmp_path):
    url = f"sqlite:///{tmp_path}/shop.db"
    told = play("2.0", url, "make init_traces give use end theirs_with_engine init use")
    assert (len(told["spans"]), told["statements"]) == (2, 1)
