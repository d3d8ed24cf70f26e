"""The errors a user can meet, all of them raised before anything is started."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MANY_NAMES = 30


class OtelbridgeError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(OtelbridgeError, ValueError):
    """A setting that cannot be used.

    Args:
        problem: What is wrong, naming the setting and the value (never a secret).
        cure: What the reader can do about it, as an instruction.
    """

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"{problem}. {cure}")
        self.problem = problem
        self.cure = cure


class MissingDependencyError(ConfigError, ImportError):
    """A feature was asked for whose optional package is not installed.

    Args:
        feature: What was asked for, in the user's words.
        package: The distribution that is missing.
        extra: The extra of otelbridge that brings it.
    """

    def __init__(self, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}, which is not installed",
            f"Install it with: pip install 'otelbridge[{extra}]'",
        )
        self.package = package
        self.extra = extra


def unknown_name(what: str, name: object, known: Iterable[str]) -> ConfigError:
    """Build the error for a name that is not among the known ones.

    Args:
        what: The kind of thing that was named, for instance ``"domain"``.
        name: What the user wrote.
        known: Every name that would have been accepted.

    Returns:
        An error that suggests a name that is close, if one is, and lists the known names; of many the three nearest.
    """
    names = sorted(known)
    close = get_close_matches(str(name), names, n=1)
    suggestion = f"Did you mean {close[0]!r}? " if close else ""
    if len(names) <= _MANY_NAMES:
        return ConfigError(f"Unknown {what} {name!r}", f"{suggestion}Known: {', '.join(names)}")
    nearest = get_close_matches(str(name), names, n=3, cutoff=0.0)
    return ConfigError(f"Unknown {what} {name!r}", f"{suggestion}The nearest known: {', '.join(nearest)}")
