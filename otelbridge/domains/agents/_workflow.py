"""One execution of a workflow, that is of a whole system of agents."""

from __future__ import annotations

from otelbridge.catalogue.agents import INVOKE_WORKFLOW_DURATION
from otelbridge.domains.agents._step import Step, meter

_duration = meter.recorder(INVOKE_WORKFLOW_DURATION)


class Workflow(Step):
    """One execution of a workflow, timed as ``gen_ai.invoke_workflow.duration``.

    Args:
        name: Name of the workflow.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def _again(self) -> Workflow:
        return Workflow(self.name)

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        _duration.record(seconds, {"gen_ai.workflow.name": self.name, "error.type": self._error_type(error)})
