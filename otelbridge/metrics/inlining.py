"""Puts the statements of a method in the place of a call to it, where the call would cost as much as the work.

So what must happen in one go stands in one place, and the recording paths have it without a call. All of it gets the
line of the call: a tracer that lets other threads in at every new line lets none in between.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import textwrap
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Function = TypeVar("_Function", bound="Callable[..., Any]")


def inlined(*methods: Callable[..., None]) -> Callable[[_Function], _Function]:
    """Make a decorator that replaces statements such as ``series.add_int(amount)`` by what the method does.

    Args:
        methods: Their parameters have the names of the arguments at each call, but for ``self``. They use no globals.

    Returns:
        It takes a function of a module. Where there is no source to be had, it gives the function back as it is, which
        does the same and takes longer.
    """

    def decorate(function: _Function) -> _Function:
        try:
            bodies = {method.__name__: _definition(method).body[1:] for method in methods}  # without the docstring
            definition = _definition(function)
        except (OSError, SyntaxError):
            return function
        ast.increment_lineno(definition, function.__code__.co_firstlineno - 1)
        definition.decorator_list.clear()
        _Inlining(bodies).visit(definition)
        code = compile(
            ast.Module([definition], []),
            function.__code__.co_filename,
            "exec",
            flags=__future__.annotations.compiler_flag,
            dont_inherit=True,
        )
        made: dict[str, Any] = {}
        exec(code, function.__globals__, made)  # noqa: S102  # of this package's own source
        return made[function.__name__]

    return decorate


def _definition(function: Callable[..., Any]) -> ast.FunctionDef:
    found = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(found, ast.FunctionDef)  # noqa: S101  # nothing else has a code object and a def
    return found


class _Inlining(ast.NodeTransformer):
    def __init__(self, bodies: dict[str, list[ast.stmt]]) -> None:
        self._bodies = bodies

    def visit_Expr(self, node: ast.Expr) -> Any:  # the name is the library's
        match node.value:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if name in self._bodies:
                body = ast.Module(self._bodies[name], [])
                return _Placing(owner, node).visit(ast.parse(ast.unparse(body))).body
            case _:
                return node


class _Placing(ast.NodeTransformer):
    """Renames ``self``, and moves everything to one line; what an exception leads to is no part of it."""

    def __init__(self, owner: str, at: ast.Expr) -> None:
        self._owner = owner
        self._at = at

    def visit(self, node: ast.AST) -> Any:
        ast.copy_location(node, self._at)
        if isinstance(node, ast.ExceptHandler):
            node.lineno += 1
            node.end_lineno = node.lineno
            self._at = node
        if isinstance(node, ast.Name) and node.id == "self":
            node.id = self._owner
        return self.generic_visit(node)
