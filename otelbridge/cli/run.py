"""``otelbridge run``."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.automatic import HOOK
from otelbridge.errors import ConfigError
from otelbridge.lifecycle import decide_automatically

if TYPE_CHECKING:
    from collections.abc import Mapping

# Python ignores these, and what takes its place would do so too.
_IGNORED = ("SIGPIPE", "SIGXFSZ")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: The parser of this command.
    """
    parser.description = (
        "Run a program with otelbridge started before its own code: its FastAPI and Starlette applications are "
        "recorded and serve /metrics, and so does a port of its own; see docs/beside.md. Settings come from the "
        "environment (OTEL_SERVICE_NAME, OTEL_EXPORTER_OTLP_ENDPOINT, OTELBRIDGE_...)."
    )
    parser.usage = "otelbridge run PROGRAM [ARGUMENT ...]"
    # One list, since what follows the program is the program's, whatever it looks like.
    parser.add_argument(
        "program",
        nargs=argparse.REMAINDER,
        metavar="PROGRAM",
        help="the program and its arguments, as without otelbridge, for instance: uvicorn app:app --workers 4",
    )


def run(arguments: argparse.Namespace) -> int:
    """Put the program in the place of this process: signals and the exit code are its own.

    Args:
        arguments: What was parsed.

    Returns:
        Never.

    Raises:
        ConfigError: There is no such program, it cannot be run, or a setting cannot be used.
    """
    program: list[str] = arguments.program
    found = _find(program)
    decide_automatically()
    for name in _IGNORED:
        number = getattr(signal, name, None)
        if number is not None:
            signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    try:
        os.execve(found, program, _hooked(os.environ))  # noqa: S606  # what the user wrote, without a shell
    except OSError as error:
        raise _no_program(program, error.strerror or str(error)) from error


def _find(program: list[str]) -> str:
    found = shutil.which(program[0]) if program else None
    if found is not None:
        return found
    if program and Path(program[0]).is_file():
        raise _no_program(program, "it is not executable, or not on the PATH")
    problem = f"There is no program {program[0]!r}" if program else "No program is named"
    raise ConfigError(problem, "Write what is to be run, for instance: otelbridge run uvicorn app:app")


def _no_program(program: list[str], reason: str) -> ConfigError:
    return ConfigError(
        f"{program[0]!r} cannot be run as a program ({reason})",
        f"Name what runs it in front of it, for instance: otelbridge run python {shlex.join(program)}",
    )


def _hooked(environ: Mapping[str, str]) -> dict[str, str]:
    hook = str(HOOK)
    others = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in ("", hook)]
    return {**environ, "PYTHONPATH": os.pathsep.join([hook, *others])}
