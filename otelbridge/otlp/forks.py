"""What a child process must not share with its parent: connections, locks and counts."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from weakref import WeakSet


class ForkAware(ABC):
    """Something that begins anew in a forked child.

    The interpreter's hook sees to it at ``os.fork``. A fork made in C without that hook, as uWSGI makes
    by default, is noticed when `notice_fork` is called next.
    """

    def __init__(self) -> None:
        self._owner = os.getpid()
        _aware.add(self)

    @abstractmethod
    def begin_anew(self) -> None:
        """Drop what belongs to the parent without touching it, and take fresh locks."""

    def notice_fork(self) -> None:
        """Begin anew if this process is not the one that made or last used this."""
        if self._owner != os.getpid():
            self._owner = os.getpid()
            self.begin_anew()


_aware: WeakSet[ForkAware] = WeakSet()


def _after_fork_in_child() -> None:
    for each in tuple(_aware):
        each.notice_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
