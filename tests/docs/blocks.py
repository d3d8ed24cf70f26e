"""Runs a Markdown document: its Python, and what it says comes of it.

    python -m tests.docs.blocks DOCUMENT [PRELUDE]

Blocks of one document run in order and share one namespace. A Python block whose first line names a file
(``# shop.py``) begins a program: whatever `init` had started is shut down before it. Lines of a
``prometheus`` block have to be in what ``bridge`` renders at that point, without labels that are empty there;
names in a ``promql`` block have to be on that page. A ``yaml`` block that names a file is written to it.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

import otelbridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")
_QUOTED_OR_DURATION = re.compile(r'"[^"]*"|\[[^\]]*\]')
_NAME = re.compile(r"[a-zA-Z_]\w*(?!\w)(?!\s*\()")
_SET_BY_PROMETHEUS = {"job", "instance", "le"}
_KEYWORDS = {"sum", "max", "by", "on", "group_left"}


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file its first line names."""
        named = _FILE.match(self.text)
        return named[1] if named else None


def blocks(document: Path) -> Iterator[Block]:
    """Give the fenced blocks of a document."""
    text = document.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start()) + 2)


def series(page: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read a page of metrics; an empty label is an absent one."""
    return {
        (sample.name, frozenset((key, value) for key, value in sample.labels.items() if value)): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def names(query: str) -> set[str]:
    """Give the names of series and labels in a query."""
    return set(_NAME.findall(_QUOTED_OR_DURATION.sub("", query))) - _KEYWORDS


class Program:
    """The namespace of one document."""

    def __init__(self, document: Path) -> None:
        self._document = document
        module = ModuleType("__main__")
        sys.modules["__main__"] = module
        self.names: dict[str, Any] = vars(module)

    def python(self, block: Block) -> None:
        if block.file:
            otelbridge.shutdown()
        # Empty lines before it, so that a traceback names the line of the document.
        exec(compile("\n" * (block.line - 1) + block.text, self._document, "exec"), self.names)  # the point of it

    def prometheus(self, block: Block) -> None:
        there = series(self.names["bridge"].render())
        expected = series(block.text)
        found = {key: there.get(key) for key in expected}
        assert found == expected, f"{self._document}:{block.line} shows other series than there are: {found}"

    def promql(self, block: Block) -> None:
        there = series(self.names["bridge"].render())
        known = {name for name, _ in there} | {key for _, labels in there for key, _ in labels} | _SET_BY_PROMETHEUS
        unknown = names(block.text) - known
        assert not unknown, f"{self._document}:{block.line} asks for what is not there: {sorted(unknown)}"

    def yaml(self, block: Block) -> None:
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")


_RUNNERS: dict[str, Callable[[Program, Block], None]] = {
    "python": Program.python,
    "prometheus": Program.prometheus,
    "promql": Program.promql,
    "yaml": Program.yaml,
}


def main(document: str, prelude: str = "", finale: str = "") -> None:
    """Run a document in the current folder, with code of the test before and after it."""
    program = Program(Path(document))
    exec(prelude, program.names)
    for block in blocks(Path(document)):
        run = _RUNNERS.get(block.language)
        if run is not None:
            run(program, block)
    exec(finale, program.names)
    otelbridge.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
