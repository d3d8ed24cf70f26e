"""What identifies a process."""

from __future__ import annotations

import os
import subprocess
import sys

from otelbridge.cells.processes import place, started, started_by_ps


def test_a_process_keeps_its_start() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        first = started(process.pid)
        assert first is not None
        assert started(process.pid) == first
        assert int(first) >= int(started(os.getpid()) or "0")
        process.kill()
    assert started(process.pid) is None


def test_a_name_with_brackets_and_spaces_does_not_confuse() -> None:
    program = "import os; open('/proc/self/comm', 'w').write(') 1 (x'); print(flush=True); input()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        before = started(process.pid)
        assert process.stdout is not None
        process.stdout.readline()
        assert started(process.pid) == before is not None
        process.kill()


def test_where_pids_mean_something_is_the_same_for_a_child() -> None:
    program = "from otelbridge.cells.processes import place; print(place())"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == place()
    assert place()


def test_ps_tells_the_start_too() -> None:
    assert started_by_ps(os.getpid()) == started_by_ps(os.getpid())
    assert started_by_ps(os.getpid())
    assert started_by_ps(2**22 + 1) is None
