"""What is refused to a thread that would wait for itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.concurrency import forks
from otelbridge.concurrency.turn import during, inside
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable


def refuses(what: str) -> bool:
    """Tell whether a thread asks for something in the middle of what that may have to wait for, and warn if so.

    Args:
        what: What it asks for, for people.
    """
    # Other threads may need a lock that this one was interrupted with, of a new instrument for instance.
    middle = inside() or ("something short" if forks.holding() else "")
    if middle:
        warn_once(
            ("reentrance", what, middle),
            "%s did nothing, since a signal handler, finalizer or callback called it in the middle of %s, which its "
            "own thread is at and would have waited for. Let a handler note that it is wanted, and call it outside.",
            what,
            middle,
        )
    return bool(middle)


def unless_refused(what: str, work: Callable[[], bool]) -> bool:
    """Do what may have to wait for other threads, unless this thread is what they wait for.

    Args:
        what: The work, for people.
        work: What is to be done.

    Returns:
        What `work` gave; False at once where it is refused.
    """
    return not refuses(what) and during(what, work)
