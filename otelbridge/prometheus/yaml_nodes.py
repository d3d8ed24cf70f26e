"""YAML read strictly: no key twice or unknown, no type guessed, and no value in an error, as it may be secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelbridge.errors import ConfigError, MissingDependencyError, unknown_name

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

_MOST_BYTES = 256 * 1024
_NULL, _BOOL = "tag:yaml.org,2002:null", "tag:yaml.org,2002:bool"
_TRUE = frozenset({"true", "yes", "on"})


@dataclass(frozen=True, slots=True)
class Node:
    """A place in a YAML file."""

    where: str
    """The file and the keys that lead here, for errors."""

    raw: Any = field(repr=False)
    """The node as the package ``yaml`` composes it; None for an empty file."""

    @property
    def empty(self) -> bool:
        """Whether nothing is said here."""
        return self.raw is None or self.raw.tag == _NULL or self.raw.value == ""

    def fields(self, known: Collection[str] | None = None) -> dict[str, Node]:
        """Read a mapping.

        Args:
            known: The keys there may be; None allows any text.

        Returns:
            What stands at each key; known keys where nothing stands count as left out.

        Raises:
            ConfigError: It is no mapping, or a key is unknown or there twice.
        """
        if self.empty:
            return {}
        if self.raw.id != "mapping":
            raise self._wrong("a mapping of keys to values")
        found: dict[str, Node] = {}
        for key_node, value in self.raw.value:
            key = Node(f"a key of {self.where}", key_node).text()
            if known is not None and key not in known:
                raise unknown_name(f"key in {self.where}, line {key_node.start_mark.line + 1}:", key, known)
            if key in found:
                raise ConfigError(f"{self.where} has the key {key!r} twice", "Keep one of them")
            found[key] = Node(f"{self.where}: {key}", value)
        return {key: node for key, node in found.items() if known is None or not node.empty}

    def text(self) -> str:
        """Read a text; what looks like a number or a truth value is one too.

        Raises:
            ConfigError: It is a mapping or a list.
        """
        if self.raw is None or self.raw.id != "scalar":
            raise self._wrong("a text")
        return str(self.raw.value)

    def flag(self) -> bool:
        """Read a truth value.

        Raises:
            ConfigError: It is none.
        """
        if self.raw is None or self.raw.tag != _BOOL:
            raise self._wrong("true or false")
        return self.text().lower() in _TRUE

    def texts(self) -> tuple[str, ...]:
        """Read a list of texts.

        Raises:
            ConfigError: It is none.
        """
        if self.raw is None or self.raw.id != "sequence":
            raise self._wrong("a list of texts")
        return tuple(Node(f"an entry of {self.where}", entry).text() for entry in self.raw.value)

    def _wrong(self, expected: str) -> ConfigError:
        line = f", line {self.raw.start_mark.line + 1}," if self.raw is not None else ""
        return ConfigError(f"{self.where}{line} is not {expected}", f"Write {expected} there")


def load(path: str | os.PathLike[str]) -> Node:
    """Read a YAML file.

    Args:
        path: The file, of 256 KiB at most.

    Returns:
        Its top level.

    Raises:
        ConfigError: It cannot be read or is no YAML.
        MissingDependencyError: The package ``pyyaml`` is not installed.
    """
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError(f"Reading {str(path)!r}", "pyyaml", "web-config") from error
    try:
        with Path(path).open("rb") as source:
            text = source.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"The file {str(path)!r} cannot be read ({error.strerror})", "Correct the path, or let this process read it"
        ) from error
    if len(text) > _MOST_BYTES:
        raise ConfigError(f"The file {str(path)!r} is longer than {_MOST_BYTES // 1024} KiB", "Is it the right one?")
    try:
        return Node(str(path), yaml.compose(text, Loader=yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]
    except Exception as error:  # whatever a strange file provokes in the parser is still a bad file
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    # Raised out here, without the parser's error attached, which quotes the file.
    raise ConfigError(f"The file {str(path)!r} is no YAML{place}", "Correct it there")
