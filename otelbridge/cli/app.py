"""From arguments to a command, and from an error to an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from otelbridge.cli.commands import COMMANDS
from otelbridge.errors import OtelbridgeError, unknown_name
from otelbridge.stack.errors import ToolMissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

# The first that fits decides; 2 is also what argparse uses for arguments it cannot read.
_EXIT_CODES: tuple[tuple[type[OtelbridgeError], int], ...] = ((ToolMissingError, 3), (OtelbridgeError, 2))
_INTERRUPTED = 130
_READER_GONE = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments without the program. Default: those of this process.

    Returns:
        The exit code: 0 for success, 2 for an error that can be cured, 3 for a missing component, 130 after
        Ctrl-C; a command may have codes of its own, 1 for instance when a check fails.
    """
    try:
        return _dispatch(sys.argv[1:] if argv is None else argv)
    except OtelbridgeError as error:
        sys.stderr.write(_describe(error))
        return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # `otelbridge ... | head`: nobody reads on, which is no error; the interpreter must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_GONE


def _dispatch(argv: Sequence[str]) -> int:
    listing = "".join(f"\n  {name:<10} {command.help}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="otelbridge",
        usage="otelbridge COMMAND [...]",
        description="Metrics for Python services, to Prometheus and OTLP at once.",
        epilog=f"commands:{listing}\n\n`otelbridge COMMAND --help` explains one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Only the chosen command's module is imported, so its arguments are parsed in a second step.
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    if not argv:
        parser.print_help(sys.stderr)
        return 2
    chosen = parser.parse_args(argv)
    name: str = chosen.command
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS)
    module = COMMANDS[name].load()
    own = argparse.ArgumentParser(prog=f"otelbridge {name}", description=COMMANDS[name].help)
    module.configure(own)
    return module.run(own.parse_args(chosen.rest))


def _describe(error: OtelbridgeError) -> str:
    problem = getattr(error, "problem", None) or str(error)
    cure = getattr(error, "cure", None)
    return f"error: {problem}\n" + (f"cure: {cure}\n" if cure else "")
