"""Run by the interpreter at its start, where `otelbridge run` has put this folder in front of ``PYTHONPATH``."""  # noqa: INP001

# The folder is no package: all that is to be found in it is this name.
from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _run_hidden() -> None:
    """Run the ``sitecustomize`` of the system or of another tool, which this one hides."""
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = module_from_spec(spec)
        spec.loader.exec_module(module)


def _start() -> None:
    try:
        from otelbridge.automatic import start
    except ImportError as error:  # an interpreter of another environment
        sys.stderr.write(f"otelbridge is not started: {sys.executable} cannot import it ({error})\n")
        return
    # A resource detector may run a Python program, which would start it again, and so on.
    hooked = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(_without_this(hooked.split(os.pathsep)))
    try:
        start()
    finally:
        os.environ["PYTHONPATH"] = hooked


def _without_this(entries: list[str]) -> list[str]:
    return [entry for entry in entries if Path(entry).resolve() != _HERE]


sys.path[:] = _without_this(sys.path)
_start()
_run_hidden()
