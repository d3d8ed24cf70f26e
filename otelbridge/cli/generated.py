"""Files that are made from the catalogue: to write them, and to tell whether they are current."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.cli.command import say
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def write(folder: Path, files: Mapping[str, Callable[[], str]]) -> int:
    """Write files.

    Args:
        folder: Where to.
        files: What makes each, by its path in the folder.

    Returns:
        The exit code, 0.

    Raises:
        ConfigError: One cannot be written.
    """
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


def check(folder: Path, files: Mapping[str, Callable[[], str]], command: str) -> int:
    """Tell whether files are current.

    Args:
        folder: Where they are.
        files: What makes each, by its path in the folder.
        command: The command that writes them.

    Returns:
        The exit code: 1 when one is not.
    """
    stale = [name for name, render in files.items() if _text(folder / name) != render()]
    for name in stale:
        say(f"{folder / name} is not what the catalogue says; run: otelbridge {command} --write {folder}")
    return 1 if stale else 0


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
