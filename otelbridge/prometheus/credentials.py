"""Tokens and passwords as they come with a request, compared in constant time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stat
from typing import TYPE_CHECKING

from otelbridge.diagnostics import warn_once
from otelbridge.errors import ConfigError
from otelbridge.prometheus.flight import SingleFlight
from otelbridge.prometheus.passwords import read_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from otelbridge.prometheus.passwords import Verify

# RFC 6750, section 2.1: what a token may be made of.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_LONGEST_TOKEN = 4096
_LONGEST_TOKEN_FILE = 65536
_NOT_IN_A_USER = re.compile(r"[\x00-\x1f\x7f:]")
_WRONG_REMEMBERED = 256
_CHECKS_WAITING = 16
_NOBODY = bytes(32)


class BearerToken:
    """The one token that opens.

    Args:
        token: The token.

    Raises:
        ConfigError: It cannot be sent as a token. The message does not show it.
    """

    def __init__(self, token: str) -> None:
        self._digest = _Digest()
        self._expected = self._digest(_checked_token("bearer_token", token))

    def check(self, credentials: str) -> bool:
        """Tell whether this is the token."""
        # Digests of one length, so that not even the length of the token can be measured.
        return hmac.compare_digest(self._digest(credentials), self._expected)


class BearerTokenFile:
    """The token that stands in a file, read anew for each request, so that it can rotate.

    Args:
        file: The file.

    Raises:
        ConfigError: It cannot be read, or holds no token.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._digest = _Digest()
        self._read()

    def check(self, credentials: str) -> bool:
        """Tell whether this is the token; nobody knows it while the file is missing or empty."""
        try:
            expected = self._digest(self._read())
        except ConfigError as error:
            warn_once(("bearer_token_file", error.problem), "Nobody can read the metrics with a token: %s", error)
            return False
        return hmac.compare_digest(self._digest(credentials), expected)

    def _read(self) -> str:
        where = f"The file {self._file!r} of bearer_token_file"
        try:
            # Without blocking: a pipe would hold up every request until somebody writes to it.
            handle = os.open(self._file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise ConfigError(f"{where} is no ordinary file", "Name an ordinary file")
                token = os.read(handle, _LONGEST_TOKEN_FILE).decode("latin-1").strip()
            finally:
                os.close(handle)
        except OSError as error:
            raise ConfigError(
                f"{where} cannot be read ({error.strerror})", "Correct the path, or let this process read it"
            ) from error
        return _checked_token(where, token)


def _checked_token(where: str, token: str) -> str:
    if not token:
        raise ConfigError(f"{where} is empty", "Make a token with: openssl rand -hex 32")
    if not _TOKEN.fullmatch(token) or len(token) > _LONGEST_TOKEN:
        raise ConfigError(
            f"{where} holds what cannot be sent as a bearer token",
            f"Use at most {_LONGEST_TOKEN} of the characters A-Z a-z 0-9 . _ ~ + / - (RFC 6750), "
            "for instance from: openssl rand -hex 32",
        )
    return token


class BasicUsers:
    """Users and the hashes of their passwords.

    A hash takes long on purpose. What was found out is kept by digest, so that a scrape need not wait for it
    again: one password a user, and the latest wrong ones.

    Args:
        users: Hashes by user name.

    Raises:
        ConfigError: A name cannot be sent, or a hash is none. No hash is in the message.
        MissingDependencyError: A password is hashed with bcrypt, which is not installed.
    """

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = {_checked_user(user).encode(): _read_user(user, text) for user, text in users.items()}
        self._verifiers = tuple(self._users.values())
        self._digest = _Digest()
        self._right: dict[bytes, bytes] = {}
        self._wrong: dict[bytes, None] = {}
        # One at a time, whoever asks: strangers must not be able to occupy every processor.
        self._checks: SingleFlight[bool] = SingleFlight("otelbridge-metrics-passwords", _CHECKS_WAITING)

    def check(self, credentials: str) -> bool | Future[bool]:
        """Tell whether this is a user with the right password (RFC 7617).

        Args:
            credentials: What follows the word ``Basic``, whatever it is.

        Returns:
            The answer, or a future of it while the hash is computed.

        Raises:
            BusyError: Too many other passwords wait to be checked.
        """
        try:
            user, colon, password = base64.b64decode(credentials, validate=True).partition(b":")
        except ValueError:
            return False
        if not colon:
            return False
        name, seen = self._digest(user), self._digest(user, password)
        if hmac.compare_digest(self._right.get(name, _NOBODY), seen):
            return True
        if seen in self._wrong:
            return False
        return self._checks.run(seen, lambda: self._verify(user, password, name, seen))

    def close(self, timeout: float) -> None:
        """Wait until no password is being checked, for this many seconds at most."""
        self._checks.close(timeout)

    def _verify(self, user: bytes, password: bytes, name: bytes, seen: bytes) -> bool:
        known = self._users.get(user)
        # A user there is none of takes as long as one there is, and always the same one.
        verify = known or self._verifiers[name[0] % len(self._verifiers)]
        if _holds(verify, password) and known:
            self._right[name] = seen
            return True
        self._wrong[seen] = None
        while len(self._wrong) > _WRONG_REMEMBERED:
            del self._wrong[next(iter(self._wrong))]
        return False


def _holds(verify: Verify, password: bytes) -> bool:
    try:
        return verify(password)
    except Exception:  # a hash that cannot be computed opens nothing
        return False


def _read_user(user: str, text: object) -> Verify:
    where = f"basic_users[{user!r}]"
    if not isinstance(text, str):
        raise ConfigError(f"{where} is no text", "Give the hash of the password as text")
    return read_hash(where, text)


def _checked_user(user: object) -> str:
    if not isinstance(user, str) or not user or _NOT_IN_A_USER.search(user):
        raise ConfigError(
            f"The user name {user!r} in basic_users cannot be sent",
            "Use a text without colons and control characters (RFC 7617)",
        )
    return user


class _Digest:
    """Digests of secrets, by a key that is nowhere else: they cannot be looked up, nor told from noise."""

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def __call__(self, *parts: str | bytes) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        for part in parts:
            raw = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(raw) + raw)
        return digest.digest()
