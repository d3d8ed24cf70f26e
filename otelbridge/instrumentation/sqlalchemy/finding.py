"""Finds the engines of a process: each when it opens a connection for the first time.

All ways to a connection lead through one method of the engine's class, those of async engines, sessions and option
engines too. So it does not matter when an engine was made, or by which function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.instrumentation.imports import when_imported
from otelbridge.instrumentation.patches import Patches
from otelbridge.instrumentation.sqlalchemy.identity import sync_engine_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from sqlalchemy.engine import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine


class EngineFinder:
    """Tells of every engine once. SQLAlchemy is not imported by it.

    Args:
        found: Called with the sync engine before its first connection, in the thread that asks for that. What it raises
            is reported.
    """

    def __init__(self, found: Callable[[Engine], object]) -> None:
        self._found = found
        self._known: WeakSet[Engine] = WeakSet()
        self._lock = forks.lock()
        self._patches: Patches | None = None
        self._waiting = when_imported("sqlalchemy.engine.base", self._start)

    def know(self, engine: Engine | AsyncEngine) -> None:
        """Tell no more of an engine."""
        with self._lock:
            self._known.add(sync_engine_of(engine))

    def close(self) -> None:
        """Find no more."""
        self._waiting.close()
        with late_warnings, self._lock:
            self._found = _nothing
        if self._patches is not None:
            self._patches.undo()

    def _start(self, module: ModuleType) -> None:
        self._patches = patches = Patches(module.Engine)
        patches.wrap("raw_connection", self._wrap)

    def _wrap(self, original: Any) -> Any:
        known = self._known

        def raw_connection(engine: Engine, *args: Any, **options: Any) -> Any:
            if engine not in known:
                self._tell(engine)
            return original(engine, *args, **options)

        return raw_connection

    def _tell(self, engine: Engine) -> None:
        try:
            owner = sync_engine_of(engine)
            with late_warnings, self._lock:
                if owner not in self._known:
                    self._found(owner)
                self._known.update((owner, engine))
        except Exception as error:  # telemetry never raises into the application
            self.know(engine)
            warn_once(("sqlalchemy", "found"), "Instrumenting an engine raised %r; it is left as it is.", error)


def _nothing(_engine: Engine) -> None: ...
