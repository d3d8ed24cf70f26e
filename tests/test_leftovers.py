"""What a run of the tests leaves when pytest is killed, and what a test is told that leaves something."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cells.servers import ROOT, eventually
from tests.leftovers import lasting

pytestmark = [
    pytest.mark.endtoend,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found by what Linux says of them"),
]

_SLEEPER = f"[{sys.executable!r}, '-c', 'import time; time.sleep(600)']"
_KILLED = f"""
import multiprocessing, os, subprocess, sys, time
from pathlib import Path

def test_something():
    program = subprocess.Popen({_SLEEPER}, start_new_session=True)
    child = os.fork()
    if not child:
        time.sleep(600)
    worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    worker.start()
    # A grandchild whose parent ends, so that it is no descendant any more.
    command = "import subprocess; print(subprocess.Popen({_SLEEPER}, stdout=-3, stderr=-3).pid)"
    orphan = int(subprocess.run([sys.executable, "-c", command], capture_output=True, check=True).stdout)
    place = Path(os.environ["XDG_RUNTIME_DIR"])
    (place / "kept").write_text("something")
    (Path(__file__).parent / "pids.new").write_text(
        "\\n".join(map(str, [place, os.getpid(), program.pid, child, worker.pid, orphan]))
    )
    (Path(__file__).parent / "pids.new").rename(Path(__file__).parent / "pids")
    time.sleep(600)
"""


def _pytest(test: Path, **streams: int) -> subprocess.Popen[str]:
    options = ["-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(test.parent), "-W", "ignore"]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, str(test)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        **streams,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_pytest_that_is_ended(number: int, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_KILLED)
    process = _pytest(tmp_path / "test_it.py", stdout=subprocess.DEVNULL)
    pids = tmp_path / "pids"
    eventually(lambda: pids.exists() or process.poll() is not None, "the test runs", 120)
    place, own, *others = pids.read_text().split()
    assert Path(place, "kept").exists()
    started = {int(pid) for pid in others}
    assert lasting(started, 0) == started
    os.kill(int(own), number)
    process.wait(60)
    assert lasting(started, 60) == set()
    eventually(lambda: not Path(place).parent.exists(), "its directory is gone", 60)


_LEAVING = {
    "a process": (f"subprocess.Popen({_SLEEPER})", "processes "),
    "an orphan": (
        "subprocess.run([sys.executable, '-c', "
        f'"import subprocess; subprocess.Popen({_SLEEPER}, stdout=-3, stderr=-3)"'
        "])",
        "processes ",
    ),
    "a zombie": (
        "subprocess.Popen([sys.executable, '-c', '']); os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)",
        "an ended child",
    ),
    "a thread": ("threading.Thread(target=time.sleep, args=(3,)).start()", "<Thread(Thread-"),
    "a timer": ("signal.setitimer(signal.ITIMER_REAL, 600)", "timers [True, False, False]"),
    "a handler": ("signal.signal(signal.SIGUSR1, lambda *_: None)", "handlers "),
    "a switch interval": ("sys.setswitchinterval(1)", "switch_interval 1.0 instead of 0.005"),
    "a variable": ("os.environ['LEFT'] = 'behind'", "variables LEFT"),
    "no collector": ("gc.disable()", "collection (False"),
}


@pytest.mark.parametrize("what", _LEAVING)
def test_a_test_that_leaves_something_fails_and_the_next_one_does_not(what: str, tmp_path: Path) -> None:
    leaving, said = _LEAVING[what]
    imports = "import gc, os, signal, subprocess, sys, threading, time\nfrom tests import guard\n"
    seconds = "guard._SECONDS_TO_END = 0.1\n"
    (tmp_path / "test_it.py").write_text(
        f"{imports}{seconds}\ndef test_first():\n    {leaving}\n\ndef test_second(): pass\n"
    )
    process = _pytest(tmp_path / "test_it.py", stdout=subprocess.PIPE)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1, output
    assert f"the test leaves behind: {said}" in output
    assert "2 passed, 1 error" in output
