"""Middlewares put into applications: around the whole stack of Starlette or FastAPI, or into that of another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack


class Stack:
    """Wraps an application's whole stack, whether it was built already or not.

    Starlette builds the stack at the first event, which is the start-up of the lifespan, and takes no
    middleware after it. So the building itself is wrapped, and a stack that exists is wrapped at once. That
    one is never built anew: the application's own middlewares may hold state.

    Args:
        app: A Starlette or FastAPI application.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._own = cast("dict[str, Any]", vars(app))
        self._override: Any = self._own.get("build_middleware_stack")
        self._build: Callable[[], Any] = app.build_middleware_stack
        self._plain: Any = app.middleware_stack
        self._reuse = self._plain is not None

    def plain(self) -> Any:
        """Give the application's own stack: the one in use the first time, then what it builds anew."""
        if self._reuse:
            self._reuse = False
        else:
            self._plain = self._build()
        return self._plain

    def wrap(self, build: Callable[[], Any]) -> None:
        """Have the application use what `build` makes, which should contain `plain`."""
        self._app.build_middleware_stack = build
        if self._app.middleware_stack is not None:
            self._app.middleware_stack = build()

    def restore(self) -> None:
        """Give the application its own stack back, with the middlewares it has been running."""
        if self._override is None:
            self._own.pop("build_middleware_stack", None)
        else:
            self._app.build_middleware_stack = self._override
        self._app.middleware_stack = self._plain


def add_middleware(app: Any, wrap: Callable[[Any], Any], undo: ExitStack) -> None:
    """Put a middleware into an application that cannot give it back.

    Args:
        app: An application with a Starlette-like ``add_middleware``.
        wrap: Makes the middleware around what it runs; while its ``open`` is false it lets everything pass.
        undo: Gets what closes it.
    """
    wrapped: list[Any] = []

    def middleware(inner: Any) -> Any:
        wrapped.append(wrap(inner))
        wrapped[-1].open = registered
        return wrapped[-1]

    def close() -> None:
        nonlocal registered
        registered = False
        for each in wrapped:
            each.open = False

    registered = True
    app.add_middleware(middleware)
    undo.callback(close)
