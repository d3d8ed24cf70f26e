"""Requests that are not recorded: exact paths of ours, patterns of the user."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Exclusion:
    """Tells which requests the user wants not to be recorded.

    Args:
        pattern: Searched for in the URL.
    """

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self._pattern = pattern

    def excludes(self, scope: Mapping[str, Any]) -> bool:
        """Tell whether a request is one of them.

        Args:
            scope: The ASGI scope.
        """
        return self._pattern.search(_url(scope)) is not None


def create_exclusion(patterns: str) -> Exclusion | None:
    """Make what tells which requests are not recorded.

    Args:
        patterns: See `compile_patterns`.

    Returns:
        None where there are none.
    """
    pattern = compile_patterns(patterns)
    return None if pattern is None else Exclusion(pattern)


def compile_patterns(*patterns: str) -> re.Pattern[str] | None:
    """Make one regular expression of the user's patterns.

    Args:
        *patterns: Regular expressions separated by commas; see `user_patterns`.

    Returns:
        What matches where any of them does; None where there are none.
    """
    each = sorted({pattern.strip() for text in patterns for pattern in text.split(",")} - {""})
    return re.compile("|".join(f"(?:{pattern})" for pattern in each)) if each else None


def is_excluded(scope: Mapping[str, Any], paths: Collection[str]) -> bool:
    """Tell whether a request goes to one of the paths, exactly.

    Args:
        scope: The ASGI scope.
        paths: Paths as the application knows them.

    Returns:
        True also where a server puts its ``root_path`` before the path.
    """
    path: str = scope.get("path", "")
    return path in paths or path.removeprefix(scope.get("root_path", "")) in paths


def user_patterns(instrumentation: str) -> str:
    """Read the user's patterns from the environment, as the official instrumentations do.

    Args:
        instrumentation: The instrumentation as the variable names it, for instance ``FASTAPI``.

    Returns:
        Regular expressions separated by commas, searched for in the whole URL.

    Raises:
        ConfigError: A pattern is no regular expression.
    """
    for variable in (f"OTEL_PYTHON_{instrumentation}_EXCLUDED_URLS", "OTEL_PYTHON_EXCLUDED_URLS"):
        patterns = os.environ.get(variable)
        if patterns is None:
            continue
        for pattern in patterns.split(","):
            try:
                re.compile(pattern.strip())
            except re.error as error:
                raise ConfigError(
                    f"{variable} holds {pattern.strip()!r}, which is no regular expression: {error}",
                    "Write regular expressions separated by commas",
                ) from error
        return patterns
    return ""


def _url(scope: Mapping[str, Any]) -> str:
    # As the official instrumentations have it, so that patterns mean the same: without the query.
    for name, value in scope.get("headers", ()):
        if name == b"host":
            host = value.decode("latin-1")
            break
    else:
        host, port = scope.get("server") or ("0.0.0.0", 80)  # noqa: S104  # theirs
        host = host if port in (80, None) else f"{host}:{port}"
    return f"{scope.get('scheme', 'http')}://{host}{scope.get('path', '')}"
