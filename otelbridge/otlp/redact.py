"""What may be shown of a destination and of what it says: no credentials, nothing a terminal would obey."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from otelbridge.config import urls
from otelbridge.metrics.secrets import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# Shorter texts are no credentials, and hiding each "1" would leave nothing readable.
_MIN_SECRET = 4
_SCHEMES = ("basic ", "bearer ")


class Redactor:
    """Hides the credentials of one request in a text that others wrote.

    Receivers and proxies like to repeat a refused token or a whole request in what they answer.

    Args:
        url: The endpoint; its user, password and query values are secrets.
        headers: The request headers; every value is a secret.
    """

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        secrets = {form for secret in _secrets(url, headers) for form in _forms(secret)}
        # Longest first, so that no part of a secret is taken out of it and the rest left.
        self._secrets = sorted((each for each in secrets if len(each) >= _MIN_SECRET), key=len, reverse=True)

    def __repr__(self) -> str:
        return f"Redactor({len(self._secrets)} secrets)"

    def __call__(self, text: str, limit: int = 200) -> str:
        """Make a text fit for a log.

        Args:
            text: What somebody else wrote.
            limit: Most characters to keep.

        Returns:
            One line of printable characters without the secrets.
        """
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return printable(text, limit)


def printable(text: str, limit: int) -> str:
    """Make one line of printable characters of a text.

    Args:
        text: Any text.
        limit: Most characters to keep; a longer text ends in an ellipsis.

    Returns:
        The line. Control characters, line breaks, direction marks and surrogates become spaces, so that
        nobody can forge log lines or steer a terminal.
    """
    # Spaces shrink the text, so more than the limit is looked at, but not all of a mebibyte.
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: 10 * limit])
    line = " ".join(shown.split())
    return line if len(line) <= limit and len(text) <= 10 * limit else f"{line[: limit - 1]}…"


def safe_url(url: str) -> str:
    """Give what may be shown of a URL: no user, no password, no query, at most 200 printable characters."""
    return printable(urls.shown(url), 200)


def origin(url: str) -> str:
    """Give scheme and host of a URL, without the path, in which redirects like to put tokens too.

    Args:
        url: What a receiver gave as a URL, which may be anything.

    Returns:
        For instance ``https://login.example:8443``; empty where there is no host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    return f"{parts.scheme}://{urls.authority(parts.hostname, port)}" if parts.hostname else ""


def _secrets(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    parts = urlsplit(url)
    yield from filter(None, (parts.username, parts.password, parts.query))
    yield from (value for _, value in parse_qsl(parts.query))
    for value in headers.values():
        yield value
        scheme, token = value[:7], value[7:]
        if scheme.lower().startswith(_SCHEMES):
            token = value.split(" ", 1)[1].strip()
            yield token
            yield from _decoded(token)


def _decoded(token: str) -> Iterable[str]:
    try:
        pair = base64.b64decode(token, validate=True).decode()
    except (binascii.Error, ValueError):
        return ()
    return (pair, *pair.split(":", 1))


def _forms(secret: str) -> Iterable[str]:
    plain = unquote(secret)
    return (secret, plain, quote(plain, safe=""), quote_plus(plain))
