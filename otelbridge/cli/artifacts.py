"""``otelbridge artifacts``: files for Prometheus, made from the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.artifacts.files import ARTIFACTS
from otelbridge.cli import generated
from otelbridge.cli.command import say

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: The parser of this command.
    """
    parser.description = "List the files made from the catalogue for other programs, or write or check them."
    generated.configure(parser, "files")


def run(arguments: argparse.Namespace) -> int:
    """List, write or check.

    Args:
        arguments: What was parsed.

    Returns:
        0; 1 when a checked file is not current.
    """
    done = generated.write_or_check(arguments, ARTIFACTS, "artifacts")
    if done is not None:
        return done
    for name in ARTIFACTS:
        say(name)
    return 0
