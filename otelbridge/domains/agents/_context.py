"""Which invocation is running here, and what has been called in it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from otelbridge.concurrency import forks

if TYPE_CHECKING:
    from otelbridge.domains.agents._invocation import Invocation

innermost: ContextVar[Invocation | None] = ContextVar("otelbridge_agent_invocation", default=None)
"""The invocation entered last in this context. It may be over: a block that is left in another context
than it was entered in cannot take itself out of the first, so readers go through `current`."""


def current() -> Invocation | None:
    """Give the innermost invocation that is running in this context.

    Returns:
        The invocation, or None outside of all. Contexts are those of `contextvars`: asyncio tasks see the
        invocation they were started in, plain threads see none. It is there before `otelbridge.init()`
        too, so that code which reports to it need not know whether anything is recorded.
    """
    found = innermost.get()
    while found is not None and not found.running:
        found = found.outer
    return found


# One for all invocations: it is held for one addition, and making a lock costs more than taking it.
_lock = forks.lock()


class Calls:
    """Counts the calls made in one invocation, from any thread."""

    __slots__ = ("_open", "inferences", "tools")

    def __init__(self) -> None:
        self._open = 0
        self.inferences = 0
        self.tools = 0

    def tool_started(self) -> None:
        """Count a tool call."""
        with _lock:
            self.tools += 1

    def inference_started(self) -> None:
        """Count a model call."""
        with _lock:
            self.inferences += 1
            self._open += 1

    def inference_finished(self) -> None:
        """Note that a model call is over."""
        with _lock:
            self._open -= 1

    def tokens_reported(self) -> None:
        """Count the model call that spent tokens, unless it is one that is being timed."""
        with _lock:
            if not self._open:
                self.inferences += 1
