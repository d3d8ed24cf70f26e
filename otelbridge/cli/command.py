"""What a command is, and how it speaks."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import argparse


class CommandModule(Protocol):
    """What the module of a command offers."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments of the command.

        Args:
            parser: The parser of this command alone.
        """
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it.

        Args:
            arguments: What was parsed.

        Returns:
            The exit code.
        """
        ...


@dataclass(frozen=True)
class Command:
    """An entry of the table of commands."""

    module: str
    """Module below ``otelbridge.cli``; imported only when the command runs, so that the others stay quick."""

    help: str
    """One line that says what it does."""

    def load(self) -> CommandModule:
        """Import the module of the command."""
        return cast("CommandModule", import_module(f"otelbridge.cli.{self.module}"))


def say(line: str) -> None:
    """Write a line to standard output at once, so that progress shows where output is piped.

    Args:
        line: The line, without its end.
    """
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
