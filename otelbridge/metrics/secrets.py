"""Credentials in attributes, which would stand in every scrape and every push: they are hidden when a series begins.

What is recorded as an attribute goes to whoever reads metrics, and stays there. So a value is hidden where its key
says that it is a secret, and where it looks like a credential whatever its key. Metrics need no such value: series
that differ by nothing else become one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Hide = Callable[[Mapping[str, Any]], Mapping[str, Any]]
    """Gives an attribute set without what may not be shown; the same object where there is nothing to hide."""

HIDDEN = "[hidden]"
"""What stands in the place of a secret."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_SECRET = frozenset(
    (
        *("password", "passwd", "passphrase", "pwd", "secret", "secrets", "credential", "credentials"),
        *("authorization", "cookie", "cookies", "jwt", "apikey", "privatekey", "accesskey", "csrf", "xsrf"),
    )
)
_SECRET_PAIRS = frozenset(
    (
        *((first, "key") for first in ("api", "access", "private", "secret", "signing", "encryption")),
        *((first, "token") for first in ("access", "refresh", "auth", "id", "session", "bearer", "csrf")),
    )
)
# `token.type`, `password.policy`: what says something about a secret is none.
_ABOUT = frozenset(
    (
        *("type", "name", "count", "length", "age", "status", "result"),
        *("kind", "policy", "version", "provider", "enabled", "source"),
    )
)

_CREDENTIAL = re.compile(
    r"(?i:\b(?:bearer|basic)\s+[a-z0-9+/._~=-]{8,})"
    # A JSON Web Token, looked for once where its letters begin: from each of many "eyJ" it would take minutes.
    r"|(?<![\w-])(?=[\w-]{11,}\.[\w-]{8,}\.)[\w-]*?\beyJ[\w-]{8,}\."
    r"|://[^/\s:@]*:[^/\s@]+@"  # a URL with a password
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"
    r"|\b(?:gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-)[A-Za-z0-9_-]{10,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|\bAIza[\w-]{35}"
    r"|(?i:\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token)\s*[=:]\s*\S)"
)


def hide_secrets(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Hide what looks like a credential.

    Returns:
        The same object where there is none; else a new set with `HIDDEN` in its place. Each key is reported once.
    """
    found = [key for key, value in attributes.items() if _tells(value) and (_is_secret(key) or _holds_one(value))]
    if not found:
        return attributes
    for key in found:
        warn_once(
            ("secret", key),
            "The attribute %.100r has values that look like credentials: they are shown as %s. Leave it out by a view, "
            "or say hide_secrets=False where they are none.",
            key,
            HIDDEN,
        )
    return {key: HIDDEN if key in found else value for key, value in attributes.items()}


def as_they_are(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give attributes as they are, where secrets are nobody's concern."""
    return attributes


def _tells(value: object) -> bool:
    # Whether there is a password is no password, and how long it is neither.
    return value is not None and not isinstance(value, (bool, int, float)) and value != HIDDEN


@lru_cache(maxsize=4096)
def _is_secret(key: str) -> bool:
    words = [word.lower() for word in _WORD.findall(key)]
    if not words or words[-1] in _ABOUT:
        return False
    named = not _SECRET.isdisjoint(words) or not _SECRET_PAIRS.isdisjoint(pairwise(words))
    return named or words[-1] == "token"


def _holds_one(value: object) -> bool:
    return _CREDENTIAL.search(value if isinstance(value, str) else str(value)) is not None
