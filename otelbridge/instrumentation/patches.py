"""Methods replaced on single objects, or on classes, in a way that can be undone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ABSENT = object()


class Patches:
    """The methods replaced on one object, or on one class for all its objects. Nothing else is touched.

    Args:
        target: The object or class.
    """

    def __init__(self, target: Any) -> None:
        self._target = target
        self._replaced: list[tuple[str, object, object]] = []
        self.missing: list[str] = []
        """Methods that were to be replaced, and are not there."""

    def wrap(self, name: str, make: Callable[[Any], Any]) -> None:
        """Replace a method, if the object has it.

        Args:
            name: Name of the method.
            make: Gets the method as it was, bound (of a class: the function), and gives what stands in for it.
        """
        method = getattr(self._target, name, None)
        if method is None:
            self.missing.append(name)
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

    def _own(self) -> Mapping[str, object]:
        return self._target.__dict__
