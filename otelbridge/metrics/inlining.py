"""Puts the statements of a method in the place of a call to it, where the call would cost as much as the work.

So what must happen in one go stands in one place, and the recording paths have it without a call. All of it gets the
line of the call: a tracer that lets other threads in at every new line lets none in between.
"""

from __future__ import annotations
import __future__

import ast
import linecache
import re
import textwrap
from functools import cache
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
            bodies = {method.__name__: _statements(method) for method in methods}
            definition = _definition(function)
        except (OSError, SyntaxError):
            return function
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


@cache
def _statements(method: Callable[..., Any]) -> str:
    return ast.unparse(ast.Module(list(_definition(method).body[1:]), []))  # without the docstring


def _definition(function: Callable[..., Any]) -> ast.FunctionDef:
    before = function.__code__.co_firstlineno - 1
    found = ast.parse("\n" * before + _source(function, before)).body[0]
    assert isinstance(found, ast.FunctionDef)  # noqa: S101  # nothing else has a code object and a def
    return found


def _source(function: Callable[..., Any], before: int) -> str:
    """Give the lines of a function. `inspect.getsource` takes ten times as long, which every start would pay."""
    lines = linecache.getlines(function.__code__.co_filename, function.__globals__)[before:]
    if not lines:
        raise OSError(f"there is no source of {function.__qualname__}")
    margin = len(lines[0]) - len(lines[0].lstrip())
    # Up to an empty line before something that is not within it.
    block = re.split(rf"\n\n+(?= {{0,{margin}}}\S)", "".join(lines), maxsplit=1)[0]
    return textwrap.dedent(block)


class _Inlining(ast.NodeTransformer):
    def __init__(self, bodies: dict[str, str]) -> None:
        self._bodies = bodies

    def visit(self, node: ast.AST) -> Any:
        return node if isinstance(node, ast.expr) else super().visit(node)  # no expression has statements within

    def visit_Expr(self, node: ast.Expr) -> Any:  # the name is the library's
        match node.value:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)) if name in self._bodies:
                return _Placing(owner, node).visit(ast.parse(self._bodies[name])).body
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
