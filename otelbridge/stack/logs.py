"""Reading the end of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_LINES = 20
_BYTES = 16_384


def tail(log: Path) -> str:
    """Read the last lines of a log, for an error message.

    Args:
        log: The file; it need not exist.

    Returns:
        Up to 20 lines, indented; a remark if there is nothing.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()[-_LINES:]
    except OSError:
        lines = []
    return "\n".join(f"    {line}" for line in lines) or "    (the log is empty)"
