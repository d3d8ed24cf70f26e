"""``web.config.yml``: what is read, what is refused, and that a change is taken over or left."""

from __future__ import annotations

import base64
import re
import sys
from concurrent.futures import Future
from typing import TYPE_CHECKING

import bcrypt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otelbridge.diagnostics import forget_warnings
from otelbridge.errors import ConfigError, MissingDependencyError
from otelbridge.prometheus.access import AccessOptions, Verdict
from otelbridge.prometheus.web_config import WebConfigFile, read_web_config
from tests.prometheus.endpoint_kit import SECONDS, Authority, connect, get, read_answer, serving

if TYPE_CHECKING:
    from pathlib import Path

# Always the same, since tests are named after it.
_SALT = b"$2b$04$abcdefghijklmnopqrstuu"
HASH = bcrypt.hashpw(b"right", _SALT).decode().replace("$2b$", "$2y$")
OTHER_HASH = bcrypt.hashpw(b"other", _SALT).decode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("ca"))
    authority.issue("server", "localhost")
    return authority


@pytest.fixture
def write(authority):
    """Writes a file beside the certificates."""
    forget_warnings()

    def write(text: str) -> Path:
        path = authority.directory / "web.config.yml"
        path.write_text(text)
        return path

    return write


TLS = """
tls_server_config:
  cert_file: server.crt
  key_file: server.key
"""


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def judged(access, authorization) -> Verdict:
    verdict = access.check(authorization)
    return verdict.result(SECONDS) if isinstance(verdict, Future) else verdict


@pytest.mark.parametrize("text", ["", "---\n", "{}", "# nothing\n", "basic_auth_users:\n", "tls_server_config: {}\n"])
def test_a_file_that_says_nothing_asks_for_nothing(write, text) -> None:
    config = read_web_config(write(text))
    assert (config.access, config.tls, config.headers) == (AccessOptions(), None, {})


def test_everything_is_read_and_files_are_relative_to_the_file(write, authority) -> None:
    config = read_web_config(
        write(f"""
tls_server_config:
  cert_file: server.crt
  key_file: {authority.directory}/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: "ca.pem"
  client_allowed_sans: [prometheus.example, 192.0.2.1]
  min_version: TLS12
  max_version: TLS13
  prefer_server_cipher_suites: false
  cipher_suites:
  - TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
  - TLS_AES_128_GCM_SHA256
  - TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: "default-src 'self'"
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 1
    Strict-Transport-Security:
basic_auth_users:
  alice: {HASH}
""")
    )
    assert config.tls is not None
    assert config.tls.cert_file == str(authority.directory / "server.crt")
    assert config.tls.client_ca_file == authority.ca_file
    assert config.tls.verification == "required"
    assert config.tls.ciphers == ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305")
    assert not config.tls.prefer_server_ciphers
    assert set(config.access.client_names) == {"prometheus.example", "192.0.2.1"}
    assert config.access.basic_users == {"alice": HASH}
    assert config.headers == {
        "Content-Security-Policy": "default-src 'self'",
        "X-Frame-Options": "deny",
        "X-Content-Type-Options": "nosniff",
        "X-XSS-Protection": "1",
    }


def test_certificates_may_stand_in_the_file(write, authority) -> None:
    def indented(name: str) -> str:
        return (authority.directory / name).read_text().replace("\n", "\n    ")

    path = write(
        f"tls_server_config:\n  cert: |\n    {indented('server.crt')}\n  key: |\n    {indented('server.key')}\n"
    )
    tls = WebConfigFile(path).server_tls()
    with serving(tls=tls) as listener, connect(listener, authority.client()) as client:
        client.sendall(get())
        assert read_answer(client).endswith(b"hello /metrics\n")
    assert "PRIVATE" not in repr(read_web_config(path))


def test_other_rules_hold_besides(write) -> None:
    path = write(f"basic_auth_users:\n  alice: {HASH}\n")
    access = WebConfigFile(path, AccessOptions(bearer_token="canary-token")).access()
    assert judged(access, "Bearer canary-token") is Verdict.GRANTED
    assert judged(access, basic("alice", "right")) is Verdict.GRANTED
    assert judged(access, basic("alice", "wrong")) is Verdict.UNKNOWN
    assert judged(access, None) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("tls_server_confg: {}\n", "'tls_server_confg'.*Did you mean 'tls_server_config'"),
        ("basic_auth_users: {}\nbasic_auth_users: {}\n", "'basic_auth_users' twice"),
        (f"basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}\n", "'alice' twice"),
        ("- a\n", "mapping"),
        ("junk\nmore junk\n", "mapping"),
        ("a: b: c\n", r"is no YAML \(line 1"),
        ("a: [\n", "is no YAML"),
        ("a: !!python/object:os.system {}\n", "unknown|Unknown"),
        ("<<: {a: b}\n", "'<<'"),
        ("rate_limit:\n  interval: 1s\n  burst: 2\n", "rate_limit is not supported"),
        ("basic_auth_users: canary\n", "basic_auth_users.*mapping"),
        ("basic_auth_users:\n  alice: canary\n", r"basic_users\['alice'\]"),
        ("basic_auth_users:\n  alice:\n", r"basic_users\['alice'\]"),
        ("basic_auth_users:\n  alice: ''\n", r"basic_users\['alice'\]"),
        ("basic_auth_users:\n  alice: [canary]\n", "alice.*is not a text"),
        ("basic_auth_users:\n  ? [canary]\n  : x\n", "key of .*is not a text"),
        ("tls_server_config:\n  cert_file: server.crt\n", "TLS lacks key_file"),
        ("tls_server_config:\n  min_version: TLS13\n", "TLS lacks cert_file"),
        ("tls_server_config:\n  cert_file: other.crt\n  key_file: server.key\n", "other.crt' of cert_file cannot be"),
        ("tls_server_config:\n  cert_file: [server.crt]\n", "cert_file, line 2, is not a text"),
        (f"{TLS}  certfile: x\n", "'certfile'.*'cert_file'"),
        (f"{TLS}  min_version: TLS11\n", "'TLS11'.*TLS12"),
        (f"{TLS}  max_version: TLS14\n", "'TLS14'"),
        (f"{TLS}  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]\n", "cipher.*'TLS_RSA_WITH_RC4_128_SHA'"),
        (f"{TLS}  cipher_suites: TLS_AES_128_GCM_SHA256\n", "cipher_suites, line 5, is not a list"),
        (f"{TLS}  curve_preferences: [X25519]\n", "curve_preferences is not supported"),
        (f"{TLS}  prefer_server_cipher_suites: perhaps\n", "prefer_server_cipher_suites.*true or false"),
        (f"{TLS}  client_auth_type: RequestClientCert\n", "lets any certificate in.*RequireAndVerifyClientCert"),
        (f"{TLS}  client_auth_type: RequireAnyClientCert\n", "lets any certificate in"),
        (f"{TLS}  client_auth_type: Require\n", "'Require'.*RequireAndVerifyClientCert"),
        (f"{TLS}  client_auth_type: RequireAndVerifyClientCert\n", "has no CA"),
        (f"{TLS}  client_ca_file: ca.pem\n  client_auth_type: NoClientCert\n", "not asked for certificates"),
        (f"{TLS}  client_allowed_sans: [a]\n", "client_allowed_sans is set, but clients are not asked"),
        (f"{TLS}  client_allowed_sans: []\n", "lets nobody in"),
        ("http_server_config:\n  http2: 1\n", "http2.*true or false"),
        ("http_server_config:\n  headers:\n    Server: x\n", "'Server'"),
        ("http_server_config:\n  headers:\n    X-Frame-Options: allow\n", "'allow'.*deny, sameorigin"),
        ('http_server_config:\n  headers:\n    X-XSS-Protection: "a\\r\\nb: c"\n', "X-XSS-Protection holds characters"),
        ("http_server_config:\n  headers:\n    X-XSS-Protection: ä\n", "X-XSS-Protection holds characters"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_it_and_shows_no_secret(write, text, named) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        WebConfigFile(write(text))
    shown = f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"
    assert "canary" not in shown
    assert HASH not in shown


@pytest.mark.parametrize("text", ["a: &a [*a]\n", "[" * 5000, "a: " + "x" * 300_000, "\x00", "\ufffe"])
def test_strange_files_are_errors(write, text) -> None:
    with pytest.raises(ConfigError):
        read_web_config(write(text))


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yml.*No such file"):
        WebConfigFile(tmp_path / "absent.yml")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_configuration_or_an_error(authority, content) -> None:
    path = authority.directory / "any.yml"
    path.write_bytes(content)
    try:
        said = str(path) if read_web_config(path).access == AccessOptions() else ""
    except ConfigError as error:
        said = str(error)
    assert str(path) in said


@pytest.mark.parametrize(("package", "distribution"), [("yaml", "pyyaml"), ("bcrypt", "bcrypt")])
def test_without_a_package_the_error_names_it(write, monkeypatch, package, distribution) -> None:
    path = write(f"basic_auth_users:\n  alice: {HASH}\n")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf"{distribution}.*otelbridge\[web-config\]"):
        read_web_config(path)


def test_a_change_is_taken_over(write) -> None:
    file = WebConfigFile(write(f"basic_auth_users:\n  alice: {HASH}\n"))
    access = file.access()
    assert judged(access, basic("alice", "right")) is Verdict.GRANTED
    assert file.current is file.current
    write(f"basic_auth_users:\n  bob: {OTHER_HASH}\nhttp_server_config:\n  headers:\n    X-Frame-Options: deny\n")
    assert judged(access, basic("alice", "right")) is Verdict.UNKNOWN
    assert judged(access, basic("bob", "other")) is Verdict.GRANTED
    assert file.headers() == {"X-Frame-Options": "deny"}


def test_a_change_of_tls_is_taken_over(write, authority) -> None:
    file = WebConfigFile(write(TLS))
    authority.issue("server", "localhost", into="next")
    with serving(tls=file.server_tls()) as listener:
        serials = []
        for text in (TLS, TLS.replace("server.", "next.")):
            write(text)
            with connect(listener, authority.client()) as client:
                serials.append(client.getpeercert()["serialNumber"])
        assert serials[0] != serials[1]


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (f"basic_auth_users:\n  alice: {HASH}\n", "", "takes away the last user"),
        (f"basic_auth_users:\n  alice: {HASH}\n", "basic_auth_users: [\n", "is no YAML"),
        (f"basic_auth_users:\n  alice: {HASH}\n", "basic_auth_users:\n  alice: x\n", r"basic_users\['alice'\]"),
        (TLS, "", "takes away TLS"),
        ("", TLS, "takes away TLS, or its absence"),
        (f"{TLS}  client_ca_file: ca.pem\n", TLS, "takes away the check of clients' certificates"),
        (
            f"{TLS}  client_ca_file: ca.pem\n  client_allowed_sans: [a]\n",
            f"{TLS}  client_ca_file: ca.pem\n",
            "takes away the names of clients",
        ),
    ],
)
def test_a_change_that_is_broken_or_takes_protection_away_is_left_and_said_once(
    write, caplog, before, after, named
) -> None:
    file = WebConfigFile(write(before))
    first = file.current
    write(after)
    for _ in range(3):
        assert file.current is first
    (record,) = caplog.records
    assert re.search(named, record.getMessage())
    assert HASH not in caplog.text
    write(before + "# again\n")
    assert file.current == first
    assert len(caplog.records) == 1
