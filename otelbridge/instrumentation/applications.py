"""Finds the Starlette and FastAPI applications of a process: each when it is called for the first time.

By then its routes are there, and it shows whether it is mounted in another one.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings, warn_once
from otelbridge.instrumentation.imports import when_imported

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

# FastAPI measures by itself, and puts itself into the scope, before it calls Starlette.
_KINDS = {"starlette.applications": "Starlette", "fastapi.applications": "FastAPI"}


class ApplicationFinder:
    """Tells of every application once, but not of those that are mounted in others. It imports no framework itself.

    Args:
        found: Called with the application, before its first request or its start-up. What it raises is reported.
    """

    def __init__(self, found: Callable[[Any], object]) -> None:
        self._found = found
        self._known: WeakSet[Any] = WeakSet()
        self._lock = forks.lock()
        self._closed = False
        self._undo = ExitStack()
        for module, kind in _KINDS.items():
            self._undo.callback(when_imported(module, partial(self._start, kind)).close)

    def close(self) -> None:
        """Find no more."""
        self._closed = True
        self._undo.close()

    def _start(self, name: str, module: ModuleType) -> None:
        kind = getattr(module, name)
        plain = kind.__call__

        async def __call__(app: Any, scope: Any, receive: Any, send: Any) -> None:  # noqa: N807  # it is in its place
            if self._is_new(app, scope) and scope["type"] != "lifespan":
                # The class's current method, since what measures the application may just have been put there.
                await kind.__call__(app, scope, receive, send)
            else:
                await plain(app, scope, receive, send)

        def undo() -> None:
            if kind.__call__ is __call__:  # else somebody has wrapped it, and it only passes on
                kind.__call__ = plain

        kind.__call__ = __call__
        self._undo.callback(undo)

    def _is_new(self, app: Any, scope: Any) -> bool:
        # A mounted application finds the outer one in the scope.
        if self._closed or app in self._known or "app" in scope:
            return False
        with late_warnings, self._lock:
            if app in self._known:
                return False
            self._known.add(app)
            try:
                self._found(app)
            except Exception as error:  # telemetry never raises into the application
                warn_once(
                    ("application", "found", str(error)),
                    "With an application that was found something does not work: %s",
                    error,
                )
        return True
