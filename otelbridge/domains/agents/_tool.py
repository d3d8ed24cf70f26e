"""One tool execution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.catalogue.agents import EXECUTE_TOOL_DURATION
from otelbridge.domains.agents._context import current
from otelbridge.domains.agents._step import Step, meter

if TYPE_CHECKING:
    from otelbridge.domains.agents._invocation import Invocation

_duration = meter.recorder(EXECUTE_TOOL_DURATION)


class Tool(Step):
    """One execution of a tool, timed as ``gen_ai.execute_tool.duration``.

    It counts as a tool call of the invocation it starts in, and carries the name of its agent.

    Args:
        name: Name of the tool.
        type: Where it runs: ``function`` at the client, ``extension`` at the model's side, ``datastore``.
        domain: Field of work it belongs to.
        invocation: The invocation it belongs to. Default: the one running in this context.
    """

    __slots__ = ("_invocation", "domain", "name", "type")

    def __init__(
        self,
        name: str,
        *,
        type: str | None = None,  # noqa: A002 -- the word of the conventions, and keyword only
        domain: str | None = None,
        invocation: Invocation | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.type = type
        self.domain = domain
        self._invocation = invocation

    def _again(self) -> Tool:
        return Tool(self.name, type=self.type, domain=self.domain, invocation=self._invocation)

    def _started(self) -> None:
        self._invocation = self._invocation or current()
        if self._invocation is not None:
            self._invocation.calls.tool_started()

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        _duration.record(
            seconds,
            {
                "gen_ai.tool.name": self.name,
                "gen_ai.tool.type": self.type,
                "gen_ai.agent.name": self._invocation.agent if self._invocation else None,
                "agent.domain": self.domain,
                "error.type": self._error_type(error),
            },
        )
