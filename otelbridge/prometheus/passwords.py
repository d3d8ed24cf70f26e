"""Hashes of passwords: made by `hash_password`, read from the settings, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from typing import TYPE_CHECKING

from otelbridge.errors import ConfigError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable

    Verify = Callable[[bytes], bool]

# Parameters of scrypt (RFC 7914) that OWASP's password storage cheat sheet lists: 16 MiB, five rounds.
_COST, _BLOCK, _PARALLEL = 2**14, 8, 5
_SALT_BYTES, _HASH_BYTES = 16, 32
# A hash in the settings must not be able to take the machine down when it is checked.
_MOST_MEMORY = 256 * 2**20
_MOST_PARALLEL = 64
_MOST_BCRYPT_COST = 18
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
# bcrypt looks at no more, and its tools cut the rest off without a word.
_BCRYPT_BYTES = 72
_MAKE_ONE = (
    "Make one with: python -c 'import getpass; from otelbridge.prometheus.passwords import hash_password; "
    "print(hash_password(getpass.getpass()))', or take a bcrypt hash as htpasswd -nB writes it"
)


def hash_password(password: str) -> str:
    """Hash a password for `AccessOptions.basic_users`.

    Args:
        password: The password.

    Returns:
        ``scrypt$n$r$p$salt$hash``: the cost, block size and parallelism of scrypt (RFC 7914) as decimal
        numbers, a random salt of 16 bytes and the hash of 32 bytes, both in base64. Safe to store.

    Raises:
        ConfigError: The password is empty.
    """
    if not password:
        raise ConfigError("The password is empty", "Choose one with at least a dozen characters")
    salt = os.urandom(_SALT_BYTES)
    key = _scrypt(password.encode(), salt, _COST, _BLOCK, _PARALLEL, _HASH_BYTES)
    parts = (_COST, _BLOCK, _PARALLEL, base64.b64encode(salt).decode(), base64.b64encode(key).decode())
    return "$".join(("scrypt", *map(str, parts)))


def read_hash(where: str, text: str) -> Verify:
    """Read the hash of a password.

    Args:
        where: The setting it stands in, for the error.
        text: What `hash_password` gave, or a bcrypt hash (``$2a$``, ``$2b$``, ``$2y$``).

    Returns:
        A function that tells whether a password is the one. It takes as long as the hash demands.

    Raises:
        ConfigError: It is no such hash. The message does not show it.
        MissingDependencyError: It is a bcrypt hash, and the package ``bcrypt`` is not installed.
    """
    reader = next((reader for prefix, reader in _READERS.items() if text.startswith(prefix)), None)
    if reader is None:
        raise ConfigError(f"{where} holds no hash of a password that is known here", _MAKE_ONE)
    return reader(where, text)


def _read_scrypt(where: str, text: str) -> Verify:
    try:
        _, cost, block, parallel, salt, key = text.split("$")
        n, r, p = _number(cost), _number(block), _number(parallel)
        raw_salt, raw_key = base64.b64decode(salt, validate=True), base64.b64decode(key, validate=True)
    except (ValueError, binascii.Error) as error:
        raise _malformed(where) from error
    # The rules of RFC 7914, section 2: n is a power of two above 1 and below 2^(128 r / 8).
    lawful = n > 1 and not n & (n - 1) and n.bit_length() <= 16 * r and 0 < p <= _MOST_PARALLEL
    if not lawful or not raw_salt or len(raw_key) < _SALT_BYTES:
        raise _malformed(where)
    if 128 * n * r > _MOST_MEMORY:
        raise ConfigError(
            f"The scrypt hash in {where} takes {128 * n * r // 2**20} MiB to check, of {_MOST_MEMORY // 2**20} allowed",
            _MAKE_ONE,
        )

    def verify(password: bytes) -> bool:
        return hmac.compare_digest(_scrypt(password, raw_salt, n, r, p, len(raw_key)), raw_key)

    return verify


def _malformed(where: str) -> ConfigError:
    return ConfigError(f"The scrypt hash in {where} does not have the form scrypt$n$r$p$salt$hash", _MAKE_ONE)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError
    return int(text)


def _scrypt(password: bytes, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    # OpenSSL allows 32 MiB unless told; it counts these three blocks of memory.
    memory = 128 * r * (n + p + 2)
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=length)


def _read_bcrypt(where: str, text: str) -> Verify:
    try:
        import bcrypt
    except ImportError as error:
        raise MissingDependencyError(f"A bcrypt hash in {where}", "bcrypt", "web-config") from error
    match = _BCRYPT.fullmatch(text)
    if match is None:
        raise ConfigError(f"The bcrypt hash in {where} is malformed", "Copy it whole, as htpasswd -nB writes it")
    if not 4 <= int(match[1]) <= _MOST_BCRYPT_COST:  # noqa: PLR2004  # bcrypt's own lowest cost
        raise ConfigError(
            f"The bcrypt hash in {where} has the cost {match[1]}, of 4 to {_MOST_BCRYPT_COST} allowed",
            "Make it anew with a lower cost, for instance htpasswd -nBC 10",
        )
    stored = text.encode()

    def verify(password: bytes) -> bool:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], stored)

    return verify


_READERS: dict[str, Callable[[str, str], Verify]] = {"scrypt$": _read_scrypt, "$2": _read_bcrypt}
