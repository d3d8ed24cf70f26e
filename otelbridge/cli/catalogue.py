"""``otelbridge catalogue``: what is declared, and the documents made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.catalogue.documents import DOCUMENTS
from otelbridge.catalogue.naming import metric_name
from otelbridge.catalogue.registry import DOMAINS
from otelbridge.cli import generated
from otelbridge.cli.command import say

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: The parser of this command.
    """
    parser.description = "List every metric of the catalogue, or write or check the documents made from it."
    generated.configure(parser, "documents")


def run(arguments: argparse.Namespace) -> int:
    """List, write or check.

    Args:
        arguments: What was parsed.

    Returns:
        0; 1 when a checked document is not current.
    """
    done = generated.write_or_check(arguments, DOCUMENTS, "catalogue")
    if done is not None:
        return done
    for domain in DOMAINS:
        say(f"{domain.name}: {domain.brief}")
        for metric in domain.metrics:
            say(f"  {metric.id:<4} {metric_name(metric)}")
    return 0
