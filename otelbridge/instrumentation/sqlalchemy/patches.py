"""Methods replaced on single objects, in a way that can be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_ABSENT = object()


class Patches:
    """The methods replaced on one object. Its class, and so every other object, stays as it is.

    Args:
        target: The object.
    """

    def __init__(self, target: Any) -> None:
        self._target = target
        self._replaced: list[tuple[str, object, object]] = []

    def wrap(self, name: str, make: Callable[[Any], Any]) -> None:
        """Replace a method, if the object has it.

        Args:
            name: Name of the method.
            make: Gets the method as it was, bound, and gives what stands in for it.
        """
        method = getattr(self._target, name, None)
        if method is None:
            return
        before = self._own().get(name, _ABSENT)
        wrapper = make(method)
        setattr(self._target, name, wrapper)
        self._replaced.append((name, before, wrapper))

    def undo(self) -> None:
        """Put back what was there.

        A method that somebody else has replaced since is left alone: taking ours out from under it is
        not possible, so the wrapper must be able to rest on its own.
        """
        while self._replaced:
            name, before, wrapper = self._replaced.pop()
            if self._own().get(name) is not wrapper:
                continue
            if before is _ABSENT:
                delattr(self._target, name)
            else:
                setattr(self._target, name, before)

    def _own(self) -> dict[str, object]:
        return self._target.__dict__
