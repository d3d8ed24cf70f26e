"""What the interpreter really executes between the comments that promise that nothing comes in between."""

from __future__ import annotations

import dis
import inspect
import sys
from types import SimpleNamespace
from typing import Any

_BEGIN, _END = "# Atomic from here", "# to here."
_INTERRUPTS = ("CALL", "PRECALL", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "RESUME", "YIELD", "SEND", "FOR_ITER", "IMPORT")
_STORES = ("STORE_ATTR", "STORE_SUBSCR")
_CONDITIONS = ("POP_JUMP_IF", "JUMP_IF")


def functions_of(owner: Any) -> dict[str, Any]:
    """The functions of a module, or of the classes in it, that have such comments."""
    found: dict[str, Any] = {}
    for value in vars(owner).values():
        if getattr(value, "__module__", None) != owner.__name__:
            continue
        inner = vars(value).values() if inspect.isclass(value) else [value]
        found.update(
            (each.__qualname__, each)
            for each in inner
            if inspect.isfunction(each) and _BEGIN in inspect.getsource(each)
        )
    return found


def atomic_runs(function: Any) -> list[set[int]]:
    """The lines between each two of the comments, but for the way out when 64 bits are not enough."""
    source, first = inspect.getsourcelines(function)
    found: list[set[int]] = []
    inside = False
    for at, line in enumerate(source):
        text = line.strip()
        if text in (_BEGIN, _END):
            inside = text == _BEGIN
            found += [set()] if inside else []
        elif inside and not text.startswith(("except ValueError", "#")) and not text.endswith(".spill()"):
            found[-1].add(first + at)
    assert not inside
    return found


def interrupts(function: Any, lines: set[int]) -> list[str]:
    """Instructions on some lines at which another thread, a signal handler or a finalizer could run."""
    instructions = {each.offset: each for each in _with_lines(function) if each.line in lines}
    found = [each for each in instructions.values() if each.name.startswith(_INTERRUPTS)]
    if sys.version_info < (3, 12):
        # A new container may begin a garbage collection, unless nothing has been read or stored yet.
        begun = [offset for offset, each in instructions.items() if each.name.startswith(("LOAD_ATTR", *_STORES))]
        found += [each for each in instructions.values() if each.name.startswith("BUILD") and each.offset > min(begun)]
    if sys.version_info < (3, 11):
        found += _stores_after_jumps(instructions)
    return [f"{each.name} in line {each.line}" for each in found]


def stores(function: Any, lines: set[int]) -> list[str]:
    """Instructions on some lines that store into an object."""
    return [each.name for each in _with_lines(function) if each.line in lines and each.name.startswith(_STORES)]


def _stores_after_jumps(instructions: dict[int, SimpleNamespace]) -> list[SimpleNamespace]:
    """This version also switches where a condition jumps: then nothing may be stored both before and after."""
    found: dict[int, SimpleNamespace] = {}
    todo, seen = [(min(instructions), False, False)], set()
    while todo:
        offset, stored, interrupted = state = todo.pop()
        each = instructions.get(offset)
        if each is None or state in seen:
            continue
        seen.add(state)
        if each.name.startswith(_STORES):
            stored = True
            if interrupted:
                found[offset] = each
        if each.name.startswith(_CONDITIONS):
            todo.append((each.target, stored, interrupted or stored))
        if each.name == "JUMP_FORWARD":
            todo.append((each.target, stored, interrupted))
        elif each.name != "RETURN_VALUE":
            todo.append((offset + 2, stored, interrupted))
    return list(found.values())


def _with_lines(function: Any) -> list[SimpleNamespace]:
    found, line = [], None
    for instruction in dis.get_instructions(function):
        position = getattr(instruction, "positions", None)
        if position is not None and position.lineno is not None:
            line = position.lineno
        elif isinstance(instruction.starts_line, int) and not isinstance(instruction.starts_line, bool):
            line = instruction.starts_line
        found.append(
            SimpleNamespace(name=instruction.opname, offset=instruction.offset, target=instruction.argval, line=line)
        )
    return found
