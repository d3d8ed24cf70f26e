"""Hashes of passwords: made, read, refused."""

from __future__ import annotations

import base64
import hashlib
import re
import sys

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelbridge.errors import ConfigError, MissingDependencyError
from otelbridge.prometheus.passwords import hash_password, read_hash
from tests.prometheus.endpoint_kit import CHEAP_HASH

SALT = base64.b64encode(b"salt" * 4).decode()
KEY = base64.b64encode(b"key!" * 8).decode()


def test_a_hash_knows_its_password_and_no_other() -> None:
    text = hash_password("pässword")
    verify = read_hash("here", text)
    assert verify("pässword".encode())
    assert not verify(b"password")
    assert not verify(b"")
    assert "pässword" not in text


def test_a_hash_has_the_documented_form_and_a_salt_of_its_own() -> None:
    text = hash_password("right")
    assert re.fullmatch(r"scrypt\$16384\$8\$5\$[A-Za-z0-9+/]{22}==\$[A-Za-z0-9+/]{43}=", text)
    assert hash_password("right") != text
    _, n, r, p, salt, key = text.split("$")
    expected = hashlib.scrypt(b"right", salt=base64.b64decode(salt), n=int(n), r=int(r), p=int(p), dklen=32)
    assert base64.b64decode(key) == expected


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(ConfigError, match="empty"):
        hash_password("")


def test_parameters_come_from_the_hash() -> None:
    assert read_hash("here", CHEAP_HASH)(b"right")
    assert not read_hash("here", CHEAP_HASH)(b"wrong")


@pytest.mark.parametrize("prefix", [b"2a", b"2b"])
def test_bcrypt_hashes_are_read(prefix) -> None:
    verify = read_hash("here", bcrypt.hashpw(b"right", bcrypt.gensalt(4, prefix)).decode())
    assert verify(b"right")
    assert not verify(b"wrong")


def test_the_bcrypt_hashes_of_htpasswd_are_read() -> None:
    text = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
    assert read_hash("here", text)(b"right")


def test_bcrypt_looks_at_72_bytes_as_its_tools_do() -> None:
    verify = read_hash("here", bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode())
    assert verify(b"x" * 100)
    assert not verify(b"x" * 71)


def test_without_the_package_bcrypt_its_hashes_are_an_error(monkeypatch) -> None:
    text = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(MissingDependencyError, match=r"users\['anna'\].*bcrypt.*otelbridge\[web-config\]"):
        read_hash("users['anna']", text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "md5$abc",
        "scrypt",
        "scrypt$",
        "scrypt$16$8$1$c2FsdA",
        f"scrypt$16$8$1${SALT}$",
        f"scrypt$16$8$1$${KEY}",
        f"scrypt$16$8$1${SALT}$c2hvcnQ=",
        f"scrypt$17$8$1${SALT}${KEY}",
        f"scrypt$1$8$1${SALT}${KEY}",
        f"scrypt$-16$8$1${SALT}${KEY}",
        f"scrypt$16$0$1${SALT}${KEY}",
        f"scrypt$16$8$0${SALT}${KEY}",
        f"scrypt$65536$1$1${SALT}${KEY}",
        f"scrypt$16$8$65${SALT}${KEY}",
        f"scrypt$16$8$1$!{SALT}${KEY}",
        f"scrypt$99999999999$8$1${SALT}${KEY}",
        f"scrypt$1048576$8$1${SALT}${KEY}",
        f"scrypt$१६$8$1${SALT}${KEY}",
        "$2b$10$tooshort",
        "$2b$31$" + "a" * 53,
        "$2b$19$" + "a" * 53,
        "$2b$03$" + "a" * 53,
        "$2b$10$" + "a" * 53 + "\n",
        "$2x$10$" + "a" * 53,
    ],
)
def test_what_is_no_usable_hash_is_an_error_that_does_not_show_it(text) -> None:
    with pytest.raises(ConfigError, match="here") as caught:
        read_hash("here", text)
    for part in (text, SALT, KEY, "a" * 53):
        assert len(part) < 8 or part not in str(caught.value)


@settings(deadline=None)
@given(text=st.text() | st.from_regex(r"scrypt\$[0-9]{1,3}\$[0-9]\$[0-9]\$[a-z=]{0,8}\$[a-z=]{0,48}", fullmatch=True))
def test_any_text_is_a_hash_or_an_error(text) -> None:
    try:
        right = read_hash("here", text)(b"some password")
    except ConfigError as error:
        said = str(error)
    else:
        said = f"here {right}"
    assert "here" in said
