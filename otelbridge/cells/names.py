"""The names of the files in a group's directory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otelbridge.cells.private import Directory

KEYS: Final = ".keys"
"""Ending of the key log of a book. A visible one without a lock means that its owner is dead."""

VALUES: Final = ".vals"
"""Ending of the values file of a book."""

NEW: Final = ".new"
"""Ending of a key log whose owner does not hold the lock yet."""

BASE: Final = "base"
"""What dead processes had counted."""

DRAFT: Final = "base.tmp"
"""The next base, not yet valid."""

STARTED: Final = "started"
"""When the group began."""

STARTING: Final = "started.tmp-"
"""Begin of the name of a file that may become `STARTED`."""

DESERTED: Final = "deserted"
"""Marks a group in which no process was left when somebody looked; its age is that of the marker."""

RESOURCE: Final = "resource.json"
"""Whose totals these are. Where it is, they are pushed, and the group is kept until what it had counted has arrived."""

FOLDER: Final = "fold.lock"
"""Held by the one who folds."""

MEMBERS: Final = "members.lock"
"""Shared by those who are about to make files; whoever removes leftovers holds it alone."""

PRESENT: Final = "present.lock"
"""Shared by the processes of the group as long as they live."""

RECEIPT: Final = "sent-"
"""Begin of the name of a receipt of the last totals; the key of the destination follows."""

LEDGER: Final = "deltas-"
"""Begin of the name of what a destination of deltas has acknowledged; the key of the destination follows."""

GROUP: Final = re.compile(r"\w[\w.-]{0,39}-[0-9a-f]{12}", re.ASCII)
"""The name of a group's directory, as `otelbridge.cells.evidence` makes it."""

_UID = re.compile(r"[0-9a-f]{16}-\d+-[0-9a-f]{8}")
_DRAFT = r"(\.tmp-\d+-[0-9a-f]{8})?"
_OURS = re.compile(
    rf"{_UID.pattern}\.(keys|new|vals|bell)|base(\.tmp)?|deserted|[\w-]+\.lock"
    rf"|(started|resource\.json|{RECEIPT}[\w-]+|{LEDGER}[\w-]+(\.unclear)?){_DRAFT}",
    re.ASCII,
)


def is_ours(name: str) -> bool:
    """Tell whether a file of that name in a group's directory can be one of this package."""
    return _OURS.fullmatch(name) is not None


def owner_of(name: str) -> str:
    """Give the uid of the book that a file in a group's directory belongs to; empty when it belongs to none."""
    uid = name.partition(".")[0]
    return uid if _UID.fullmatch(uid) else ""


def lineage(uid: str) -> str:
    """Give what the uid of a book has in common with that of a book that takes its place: all but the time."""
    return uid.partition("-")[2]


def uids_in(directory: Directory) -> set[str]:
    """Give the uids of the books of a group, those of the dead as well.

    Raises:
        OSError: If the directory cannot be listed now.
    """
    return {name.removesuffix(KEYS) for name in directory.names() if name.endswith(KEYS)}
