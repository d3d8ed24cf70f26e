"""A group whose processes are all gone, as a process of another one sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.cells.evidence import Membership
from otelbridge.metrics.processes import Processes

if TYPE_CHECKING:
    from pathlib import Path

    from otelbridge.cells.book import Book
    from otelbridge.cells.group import GroupDirectory


class Visit(Processes):
    """The processes of a deserted group: their totals can be read, and nothing is added to them.

    Hand it to a `otelbridge.metrics.provider.MeterProvider` that nobody records to. Neither the environment nor the
    number of the group's processes changes by it.

    Args:
        directory: The group's directory, as `otelbridge.cells.group.enter_deserted` gives it. Whoever has entered it
            leaves it.
    """

    joined = False

    def __init__(self, directory: GroupDirectory) -> None:
        self._visited = directory
        super().__init__("")

    def _join(self, service: str, directory: Path | None) -> None:
        del service, directory
        self.membership = Membership(self._visited.path.name, "visit", None)
        self._enter(self._visited)

    def _open(self) -> Book | None:
        return None

    def _leave(self, directory: GroupDirectory, membership: Membership) -> None:
        del directory, membership
