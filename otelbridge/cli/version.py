"""``otelbridge version``."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from otelbridge.cli.command import say
from otelbridge.version import __version__

if TYPE_CHECKING:
    import argparse

_FOUNDATIONS = ("opentelemetry-api", "opentelemetry-sdk", "prometheus-client")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: there are none.

    Args:
        parser: The parser of this command.
    """
    parser.description = "Print the version of otelbridge and of what it stands on, for a report."


def run(arguments: argparse.Namespace) -> int:  # noqa: ARG001 - every command is called alike
    """Print the versions.

    Args:
        arguments: What was parsed.

    Returns:
        0.
    """
    say(f"otelbridge {__version__}")
    for package in _FOUNDATIONS:
        say(f"{package} {_installed(package)}")
    say(f"{platform.python_implementation()} {platform.python_version()}")
    return 0


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not installed"
