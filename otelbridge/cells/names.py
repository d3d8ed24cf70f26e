"""The names of the files in a group's directory."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

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

_UID = re.compile(r"[0-9a-f]{16}-\d+-[0-9a-f]{8}")


def owner_of(name: str) -> str:
    """Tell which book a file belongs to.

    Args:
        name: The name of a file in a group's directory.

    Returns:
        The uid of the book; empty when it belongs to none.
    """
    uid = name.partition(".")[0]
    return uid if _UID.fullmatch(uid) else ""


def names_in(directory: Path) -> list[str]:
    """List a directory.

    Args:
        directory: The directory.

    Returns:
        The names in it.

    Raises:
        OSError: If it cannot be listed now.
    """
    return os.listdir(directory)  # noqa: PTH208  # one step, which a signal handler cannot leave half done


def uids_in(directory: Path) -> set[str]:
    """List the books of a group, those of the dead as well.

    Args:
        directory: The directory of the group.

    Returns:
        Their uids.

    Raises:
        OSError: If the directory cannot be listed now.
    """
    return {name.removesuffix(KEYS) for name in names_in(directory) if name.endswith(KEYS)}
