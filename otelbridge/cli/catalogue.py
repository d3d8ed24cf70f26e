"""``otelbridge catalogue``: what is declared, and the documents made from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.catalogue.documents import DOCUMENTS
from otelbridge.catalogue.naming import metric_name
from otelbridge.catalogue.registry import DOMAINS
from otelbridge.cli.command import say
from otelbridge.cli.generated import check, write

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: The parser of this command.
    """
    parser.description = "List every metric of the catalogue, or write or check the documents made from it."
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--write", metavar="DIR", type=Path, help="write the reference documents into a folder")
    what.add_argument("--check", metavar="DIR", type=Path, help="exit 1 unless the documents in a folder are current")


def run(arguments: argparse.Namespace) -> int:
    """List, write or check.

    Args:
        arguments: What was parsed.

    Returns:
        0; 1 when a checked document is not current.
    """
    if arguments.write is not None:
        return write(arguments.write, DOCUMENTS)
    if arguments.check is not None:
        return check(arguments.check, DOCUMENTS, "catalogue")
    for domain in DOMAINS:
        say(f"{domain.name}: {domain.brief}")
        for metric in domain.metrics:
            say(f"  {metric.id:<4} {metric_name(metric)}")
    return 0
