"""What a measurement may be: an exact int or float, made so before it reaches a series.

The recording path adds without a lock, which is atomic only while adding runs no Python code. A subclass
of float with its own ``__radd__`` would run some, so everything but exact numbers is converted first.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING

from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from decimal import Decimal


def exact(amount: object) -> int | float | None:
    """Convert any number to an exact int or float.

    Args:
        amount: What the caller gave.

    Returns:
        The number; None for what is no finite real number.
    """
    try:
        if isinstance(amount, int):
            float(amount)  # one that no float can hold could not be shown by Prometheus
            return int.__int__(amount)
        if isinstance(amount, Real) or hasattr(amount, "__float__"):
            value = float(amount)  # pyright: ignore[reportArgumentType]
            return value if math.isfinite(value) else None
    except Exception:  # a number of the caller's own making may raise anything
        return None
    return None


def reject(name: str, amount: float | Decimal | object, *, negative: bool) -> None:
    """Say once that a measurement is left out, and why."""
    reason = "it cannot go down" if negative else "it takes finite numbers"
    try:
        text = f"{amount!r:.100}"
    except Exception:  # a number of the caller's own making may raise anything, as may an int too long to print
        text = type(amount).__name__
    warn_once((name, "amount", reason), "%s leaves out the amount %s: %s.", name, text, reason)
