"""A group whose processes are all gone, as a process of another one sees it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from otelbridge.cells.evidence import Membership
from otelbridge.diagnostics import warn_once
from otelbridge.metrics.identity import StreamIdentity
from otelbridge.metrics.processes import Processes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from otelbridge.cells.book import Book
    from otelbridge.cells.group import GroupDirectory
    from otelbridge.metrics.readers import Storage


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

    def recognise(self, storage: Storage) -> None:
        """Find the streams again that the group knows under the view or limit of another version of the program.

        Call it where the storage is read, before anything else.

        Args:
            storage: What the provider gives a reader.
        """
        totals = self.totals
        if totals is None:
            return
        wanted = set(_identities(storage))
        places = dict(totals.places)
        spare = {_kin(identity): identity for identity in places if identity not in wanted}
        for identity in wanted - places.keys():
            known = spare.pop(_kin(identity), None)
            if known is not None:
                places[identity] = totals.places[known]
        read = {_named(identity) for identity in wanted & places.keys()}
        # One that is not read may be meant for another reader, but then this one has the instrument's other.
        for identity in spare.values():
            lasting = any(place.shape.outlives for place in places[identity].values())
            if lasting and _named(identity) not in read:
                _report(identity)
        totals.places = places

    def _join(self, service: str, directory: Path | None) -> None:
        del service, directory
        self.membership = Membership(self._visited.path.name, "visit", None)
        self._enter(self._visited)

    def _open(self) -> Book | None:
        return None

    def _leave(self, directory: GroupDirectory, membership: Membership) -> None:
        del directory, membership


def _identities(storage: Storage) -> Iterable[bytes]:
    for _, matches in storage.all_matches():
        for match in matches:
            sharing: Any = getattr(getattr(match, "stream", None), "sharing", None)
            if sharing is not None:
                yield sharing.identity


def _kin(identity: bytes) -> StreamIdentity | bytes:
    """Give what two versions of a program agree on: not where a view stands among the others, nor a reader's limit."""
    try:
        return replace(StreamIdentity.decode(identity), view=-1, limit=0)
    except ValueError:
        return identity


def _named(identity: bytes) -> tuple[str, str] | bytes:
    kin = _kin(identity)
    return (kin.scope, kin.name) if isinstance(kin, StreamIdentity) else kin


def _report(identity: bytes) -> None:
    warn_once(
        ("visit", str(_named(identity))),
        "What processes that were killed had counted of %.200r is not delivered: this version of the program "
        "aggregates it in another way.",
        _named(identity),
    )
