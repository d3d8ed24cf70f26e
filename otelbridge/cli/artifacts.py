"""``otelbridge artifacts``: files for Prometheus, made from the catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.artifacts.files import ARTIFACTS
from otelbridge.cli.command import say
from otelbridge.cli.generated import check, write

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: The parser of this command.
    """
    parser.description = "List the files made from the catalogue for other programs, or write or check them."
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", metavar="DIR", type=Path, help="write the files into a folder, subfolders included")
    what.add_argument("--check", metavar="DIR", type=Path, help="exit 1 unless the files in a folder are current")


def run(arguments: argparse.Namespace) -> int:
    """List, write or check.

    Args:
        arguments: What was parsed.

    Returns:
        0; 1 when a checked file is not current.
    """
    if arguments.write is not None:
        return write(arguments.write, ARTIFACTS)
    if arguments.check is not None:
        return check(arguments.check, ARTIFACTS, "artifacts")
    for name in ARTIFACTS:
        say(name)
    return 0
