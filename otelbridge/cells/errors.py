"""The one error of this room that is not the system's own."""

from __future__ import annotations


class UnusableError(OSError):
    """Shared cells cannot be had here: no usable directory, or a system without the locks they need."""
