"""Acts on a module as soon as the application imports it, and never imports it itself."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.domains.recording import Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def when_imported(name: str, act: Callable[[ModuleType], object]) -> Registration:
    """Call a function with a module: now, if it is imported already, else right after it was executed.

    Args:
        name: Full name of the module.
        act: Called once, in the thread that imports the module. What it raises is reported, and the import goes on.

    Returns:
        A handle whose `close()` ends the waiting.
    """
    finder = _Finder(name, act)
    sys.meta_path.insert(0, finder)
    if name in sys.modules:
        # Another thread may be in the middle of it; this waits until that has ended.
        finder.found(import_module(name))
    return Registration(finder.close)


class _Finder(MetaPathFinder):
    def __init__(self, name: str, act: Callable[[ModuleType], object]) -> None:
        self._name = name
        self._act = act

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name or self not in sys.meta_path:
            return None
        behind = sys.meta_path[sys.meta_path.index(self) + 1 :]
        # Finders and loaders of Pythons before 3.4, which old libraries bring along, have other methods.
        specs = (finder.find_spec(fullname, path, target) for finder in behind if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader = _Loader(spec.loader, self.found)
        return spec

    def found(self, module: ModuleType) -> None:
        self.close()
        try:
            self._act(module)
        except Exception as error:  # telemetry never raises into the application
            warn_once(("imported", self._name), "Instrumenting %s raised %r; it is left as it is.", self._name, error)

    def close(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class _Loader(Loader):
    """Stands in for the loader of a module until that executes the module.

    Args:
        loader: The real one.
        found: Called with the executed module.
    """

    def __init__(self, loader: Any, found: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._found = found

    def __getattr__(self, name: str) -> Any:
        # A loader may be asked for more, for instance for the source, by who finds a module and does not import it.
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._found(module)
