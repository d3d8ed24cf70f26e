"""The command line."""

from otelbridge.cli.app import main

__all__ = ["main"]
