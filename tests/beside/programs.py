"""Runs a program beside a neighbour: what is global in a process can be set once, so each has one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, NamedTuple

from tests.cells.servers import ROOT, clean_environment


class Outcome(NamedTuple):
    """What a program told."""

    told: Any
    """The value of its `tell`."""

    log: str
    """Its standard error, with the log."""

    def lines_of(self, logger: str) -> list[str]:
        """The lines that a logger wrote."""
        return [line for line in self.log.splitlines() if line.startswith(f"{logger}:")]


_BEGIN = """
import json, logging, sys
logging.basicConfig(level=logging.INFO, format="%(name)s:%(levelname)s:%(message)s")

def tell(value):
    print("told", json.dumps(value))

def counts(page, *names):
    found = {}
    for line in page.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in names:
            found[name] = found.get(name, 0) + float(line.rpartition(" ")[2])
    return found
"""


def outcome(program: str, *arguments: str, options: tuple[str, ...] = (), **environment: str) -> Outcome:
    """Run a program to its end.

    Args:
        program: Its text. It has `tell(value)`, and `counts(page, *names)`, which adds up samples by name.
        *arguments: For it.
        options: Of the interpreter.
        **environment: Added to its environment.
    """
    result = subprocess.run(
        [sys.executable, *options, "-c", _BEGIN + program, *arguments],
        capture_output=True,
        text=True,
        env=clean_environment(environment),
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    (told,) = (line for line in result.stdout.splitlines() if line.startswith("told "))
    return Outcome(json.loads(told.removeprefix("told ")), result.stderr)
