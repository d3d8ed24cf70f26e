"""Starts otelbridge in a program that does not call it: by `otelbridge run`, or by `opentelemetry-instrument`."""

from __future__ import annotations

import sys
from pathlib import Path

from otelbridge.diagnostics import warn
from otelbridge.lifecycle import init_automatically

HOOK = Path(__file__).parent / "hook"
"""The folder that is put in front of ``PYTHONPATH``: the interpreter reads the ``sitecustomize`` in it at its start."""

# Helpers of the standard library that run none of the program's code.
_HELPERS = ("multiprocessing.resource_tracker",)


def start() -> None:
    """Start it as the environment says, before the code of the program runs. Never raises."""
    if any(helper in argument for helper in _HELPERS for argument in sys.orig_argv):
        return
    try:
        init_automatically()
    except Exception as error:  # telemetry does not keep a program from running
        warn("otelbridge is not started, and the program runs without it: %s", error)
