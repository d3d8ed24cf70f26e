"""Files that are made from the catalogue: to write them, and to tell whether they are current."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.cli.command import say
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping


def configure(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare the arguments of a command that lists, writes or checks.

    Args:
        parser: The parser of the command.
        what: What the files are, in one or two words.
    """
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--write", metavar="DIR", type=Path, help=f"write the {what} into a folder")
    choice.add_argument("--check", metavar="DIR", type=Path, help=f"exit 1 unless the {what} in a folder are current")


def write_or_check(arguments: argparse.Namespace, files: Mapping[str, Callable[[], str]], command: str) -> int | None:
    """Do what was asked for.

    Args:
        arguments: What was parsed.
        files: What makes each file, by its path in the folder.
        command: The command that writes them.

    Returns:
        The exit code: 1 when a checked file is not current; None when neither was asked for.
    """
    if arguments.write is not None:
        return _write(arguments.write, files)
    if arguments.check is not None:
        return _check(arguments.check, files, command)
    return None


def _write(folder: Path, files: Mapping[str, Callable[[], str]]) -> int:
    for name, render in files.items():
        path = folder / name
        try:
            if folder.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(render(), encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written ({error.strerror or error})",
                "Name a folder that exists and can be written to",
            ) from error
        say(f"wrote {path}")
    return 0


def _check(folder: Path, files: Mapping[str, Callable[[], str]], command: str) -> int:
    stale = [name for name, render in files.items() if _text(folder / name) != render()]
    for name in stale:
        say(f"{folder / name} is not what the catalogue says; run: otelbridge {command} --write {folder}")
    return 1 if stale else 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
