"""The table of commands: a new one is a module beside this one and a line here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from otelbridge.cli.command import Command

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "artifacts": Command("artifacts", "write or check the files for Prometheus that are made from the catalogue"),
        "catalogue": Command("catalogue", "list the metrics; write or check the documents made from them"),
        "run": Command("run", "run a program with otelbridge, without a changed line of it"),
        "stack": Command("stack", "find, start and stop a real Collector and Prometheus"),
        "version": Command("version", "print the version of otelbridge and of what it stands on"),
    }
)
