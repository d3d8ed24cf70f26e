"""Programs that do one thing and end: what they recorded has to leave before they do.

otelbridge.init(service_name="nightly", prometheus="off")
with otelbridge.job("nightly"):
    ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.domains.tasks import Task
from otelbridge.lifecycle import force_flush

if TYPE_CHECKING:
    from types import TracebackType


class Job(Task):
    """One run of a cron or batch job: a `otelbridge.tasks.task` whose outcome is pushed before the block is left.

    The exception that leaves the block, and with it the exit code of the program, stays what it is, whether the push
    arrives or not; what does not is in the log. ``sys.exit()``, ``sys.exit(0)`` and ``typer.Exit()`` are a success.

    Args:
        name: Name of the job, out of a small set; recorded as ``task.name``.
        queue: Queue it came from.
        timeout: Seconds the push may take. They pass in the block's thread, that of an event loop included.
    """

    __slots__ = ("timeout",)

    def __init__(self, name: str, *, queue: str | None = None, timeout: float = 10.0) -> None:
        super().__init__(name, queue=queue)
        self.timeout = timeout

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._guard(self._push)

    def _push(self) -> None:
        force_flush(self.timeout)

    def _again(self) -> Job:
        return Job(self.name, queue=self.queue, timeout=self.timeout)


job = Job
