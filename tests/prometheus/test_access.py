"""Who may read: tokens, passwords, names in certificates, and every way to send them wrong."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import threading
from concurrent.futures import Future

import bcrypt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otelbridge.diagnostics import forget_warnings
from otelbridge.errors import ConfigError
from otelbridge.prometheus.access import Access, AccessOptions, Verdict
from otelbridge.prometheus.address import check_address, resolve_host
from otelbridge.prometheus.tls import ServerTls, TlsOptions
from tests.prometheus.endpoint_kit import CHEAP_HASH, SECONDS, Authority, metrics_threads, open_files

TOKEN = "canary-token-8f3b"
PASSWORD = "right"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def judged(access: Access, authorization: str | None, names=()) -> Verdict:
    verdict = access.check(authorization, names)
    return verdict.result(SECONDS) if isinstance(verdict, Future) else verdict


@pytest.fixture
def users():
    access = Access(AccessOptions(basic_users={"anna": CHEAP_HASH, "björn": CHEAP_HASH}))
    yield access
    access.close(SECONDS)
    assert metrics_threads() == []


def test_without_rules_everybody_may_read() -> None:
    access = Access()
    assert access.open
    assert access.challenges == ()
    assert judged(access, None) is Verdict.GRANTED
    assert judged(access, "Bearer whatever") is Verdict.GRANTED


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} "])
def test_the_token_opens(header) -> None:
    access = Access(AccessOptions(bearer_token=TOKEN))
    assert not access.open
    assert access.challenges == ('Bearer realm="metrics"',)
    assert judged(access, header) is Verdict.GRANTED


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        " ",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer x{TOKEN}",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN}, Bearer {TOKEN}",
        f"Bearer\t{TOKEN}",
        f" Bearer {TOKEN}",
        TOKEN,
        f"Basic {TOKEN}",
        f"Token {TOKEN}",
        "Bearer " + "x" * 100_000,
        "Bearer \x00\udc80\U0001f512ÿ",
        basic("anna", PASSWORD),
    ],
)
def test_anything_else_does_not_open(header) -> None:
    assert judged(Access(AccessOptions(bearer_token=TOKEN)), header) is Verdict.UNKNOWN


def test_users_with_their_passwords_are_let_in(users) -> None:
    assert users.challenges == ('Basic realm="metrics", charset="UTF-8"',)
    for _ in range(2):
        assert judged(users, basic("anna", PASSWORD)) is Verdict.GRANTED
        assert judged(users, basic("björn", PASSWORD)) is Verdict.GRANTED
        assert judged(users, basic("anna", "wrong")) is Verdict.UNKNOWN
        assert judged(users, basic("nobody", PASSWORD)) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    "header",
    [
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic " + base64.b64encode(b"anna").decode(),
        "Basic " + base64.b64encode(b":").decode(),
        "Basic " + base64.b64encode(b"anna:").decode(),
        "Basic " + base64.b64encode(b":right").decode(),
        "Basic " + base64.b64encode(b"anna:right").decode()[:-1],
        "Basic " + base64.b64encode(b"anna:right\xff\x00").decode(),
        "Basic " + base64.b64encode(b"anna:" + b"x" * 100_000).decode(),
        "Basic \udc80é",
        f"Bearer {base64.b64encode(b'anna:right').decode()}",
    ],
)
def test_malformed_passwords_are_not(users, header) -> None:
    assert judged(users, header) is Verdict.UNKNOWN


def test_a_password_may_hold_colons() -> None:
    key = hashlib.scrypt(b"a:b:c", salt=b"salt" * 4, n=16, r=8, p=1, dklen=32)
    text = f"scrypt$16$8$1${base64.b64encode(b'salt' * 4).decode()}${base64.b64encode(key).decode()}"
    assert judged(Access(AccessOptions(basic_users={"anna": text})), basic("anna", "a:b:c")) is Verdict.GRANTED


def test_bcrypt_users_are_let_in() -> None:
    access = Access(AccessOptions(basic_users={"anna": bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()}))
    assert judged(access, basic("anna", "right")) is Verdict.GRANTED
    assert judged(access, basic("anna", "x" * 500)) is Verdict.UNKNOWN
    assert judged(access, basic("anna", "\x00")) is Verdict.UNKNOWN


@settings(deadline=None)
@given(header=st.text() | st.text().map(lambda text: f"Basic {text}") | st.text().map(lambda text: f"Bearer {text}"))
@example("Basic " + "=" * 100)
def test_no_header_makes_it_raise(header) -> None:
    access = Access(AccessOptions(bearer_token=TOKEN, basic_users={"anna": CHEAP_HASH}))
    assert judged(access, header) is Verdict.UNKNOWN


@settings(deadline=None)
@given(credentials=st.binary(max_size=64))
def test_no_bytes_for_user_and_password_make_it_raise(credentials) -> None:
    access = Access(AccessOptions(basic_users={"anna": CHEAP_HASH}))
    header = "Basic " + base64.b64encode(credentials).decode()
    assert judged(access, header) is (Verdict.GRANTED if credentials == b"anna:right" else Verdict.UNKNOWN)


def test_either_credential_opens_where_both_are_set() -> None:
    access = Access(AccessOptions(bearer_token=TOKEN, basic_users={"anna": CHEAP_HASH}))
    assert len(access.challenges) == 2
    assert judged(access, f"Bearer {TOKEN}") is Verdict.GRANTED
    assert judged(access, basic("anna", PASSWORD)) is Verdict.GRANTED
    assert judged(access, None) is Verdict.UNKNOWN


class Counted:
    """Counts how often scrypt is really computed."""

    def __init__(self, monkeypatch) -> None:
        self.passwords: list[bytes] = []
        real = hashlib.scrypt

        def counting(password, **parameters):
            self.passwords.append(password)
            return real(password, **parameters)

        monkeypatch.setattr(hashlib, "scrypt", counting)


def test_a_hash_is_computed_once_for_what_comes_again(users, monkeypatch) -> None:
    counted = Counted(monkeypatch)
    for _ in range(5):
        for header in (basic("anna", "right"), basic("anna", "wrong"), basic("nobody", "wrong")):
            judged(users, header)
    assert counted.passwords == [b"right", b"wrong", b"wrong"]


def test_what_is_remembered_of_wrong_passwords_is_bounded(users, monkeypatch) -> None:
    counted = Counted(monkeypatch)
    for number in range(300):
        assert judged(users, basic("anna", f"wrong {number}")) is Verdict.UNKNOWN
    assert judged(users, basic("anna", "wrong 299")) is Verdict.UNKNOWN
    assert len(counted.passwords) == 300
    assert judged(users, basic("anna", "wrong 0")) is Verdict.UNKNOWN
    assert len(counted.passwords) == 301


def test_a_user_there_is_none_of_costs_a_hash_too(users, monkeypatch) -> None:
    counted = Counted(monkeypatch)
    assert judged(users, basic("nobody", "right")) is Verdict.UNKNOWN
    assert counted.passwords == [b"right"]


def test_strangers_who_try_passwords_keep_out_nobody_who_was_let_in(users, monkeypatch) -> None:
    assert judged(users, basic("anna", "right")) is Verdict.GRANTED
    release, real = threading.Event(), hashlib.scrypt

    def slow(password, **parameters):
        release.wait(SECONDS)
        return real(password, **parameters)

    monkeypatch.setattr(hashlib, "scrypt", slow)
    tried = [users.check(basic("anna", f"wrong {number}")) for number in range(100)]
    assert users.check(basic("anna", "right")) is Verdict.GRANTED
    assert metrics_threads() == ["otelbridge-metrics-passwords"]
    assert Verdict.BUSY in tried
    waiting = [verdict for verdict in tried if isinstance(verdict, Future)]
    assert 1 < len(waiting) < 50
    release.set()
    assert {verdict.result(SECONDS) for verdict in waiting} == {Verdict.UNKNOWN}


def test_the_token_file_rotates(tmp_path, caplog) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    access = Access(AccessOptions(bearer_token_file=str(file)))
    assert judged(access, f"Bearer {TOKEN}") is Verdict.GRANTED
    file.write_text("another-token-4d1c")
    assert judged(access, f"Bearer {TOKEN}") is Verdict.UNKNOWN
    assert judged(access, "Bearer another-token-4d1c") is Verdict.GRANTED
    assert caplog.text == ""


@pytest.mark.parametrize("change", ["removed", "emptied", "spoiled", "replaced by a directory"])
def test_a_token_file_that_is_gone_lets_nobody_in_and_says_so_once(tmp_path, caplog, change) -> None:
    file = tmp_path / f"token {change}"
    file.write_text(TOKEN)
    access = Access(AccessOptions(bearer_token_file=str(file)))
    file.unlink()
    if change == "emptied":
        file.touch()
    elif change == "spoiled":
        file.write_text("two words")
    elif change == "replaced by a directory":
        file.mkdir()
    for header in (f"Bearer {TOKEN}", "Bearer ", "Bearer", "Bearer two words"):
        assert judged(access, header) is Verdict.UNKNOWN
    (record,) = [record for record in caplog.records if record.name == "otelbridge"]
    assert str(file) in record.getMessage()
    for secret in (TOKEN, "two words"):
        assert secret not in caplog.text


def test_no_file_stays_open_whatever_stands_in_the_place_of_the_token(tmp_path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    access = Access(AccessOptions(bearer_token_file=str(file)))
    before = open_files()
    assert judged(access, f"Bearer {TOKEN}") is Verdict.GRANTED
    file.unlink()
    file.mkdir()
    for _ in range(5):
        assert judged(access, f"Bearer {TOKEN}") is Verdict.UNKNOWN
    assert open_files() == before


def test_a_pipe_in_place_of_the_token_file_is_an_error_and_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"pipe.*no ordinary file"):
        Access(AccessOptions(bearer_token_file=str(tmp_path / "pipe")))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (AccessOptions(bearer_token=""), "bearer_token is empty"),
        (AccessOptions(bearer_token="canary secret"), "bearer_token holds"),
        (AccessOptions(bearer_token="canary\nsecret"), "bearer_token holds"),
        (AccessOptions(bearer_token="canarysecreté"), "bearer_token holds"),
        (AccessOptions(bearer_token="canarysecret" * 1000), "bearer_token holds"),
        (AccessOptions(bearer_token="canarysecret", bearer_token_file="x"), "both set"),
        (AccessOptions(bearer_token_file="/nowhere/at/all"), "'/nowhere/at/all'.*No such file"),
        (AccessOptions(bearer_token_file=""), "file ''.*No such file"),
        (AccessOptions(bearer_token_file="."), "no ordinary file"),
        (AccessOptions(basic_users={"anna": "canarysecret"}), r"basic_users\['anna'\]"),
        (AccessOptions(basic_users={"anna": None}), r"basic_users\['anna'\] is no text"),
        (AccessOptions(basic_users={"an:na": CHEAP_HASH}), "'an:na'"),
        (AccessOptions(basic_users={"": CHEAP_HASH}), "user name ''"),
        (AccessOptions(basic_users={"a\nb": CHEAP_HASH}), "user name"),
    ],
)
def test_rules_that_cannot_be_used_are_errors_without_secrets(options, named) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        Access(options)
    shown = f"{caught.value} {caught.value!r} {options!r}"
    assert not any(secret in shown for secret in ("canary", "secret", CHEAP_HASH))


def test_nothing_secret_is_shown_or_logged(caplog) -> None:
    caplog.set_level(logging.DEBUG)
    options = AccessOptions(bearer_token=TOKEN, basic_users={"anna": CHEAP_HASH})
    access = Access(options)
    verdicts = [access.check(basic("anna", "canary-password")), access.check("Bearer canary-attempt")]
    assert judged(access, basic("anna", "canary-password")) is Verdict.UNKNOWN
    shown = " ".join(map(repr, (options, access, vars(access), verdicts)))
    assert not any(secret in shown for secret in (TOKEN, "canary", CHEAP_HASH))
    assert caplog.records == []


def test_names_in_certificates() -> None:
    access = Access(AccessOptions(client_names=("prometheus.example", "2001:DB8:0::1", "spiffe://a/b")))
    assert access.needs_certificate
    assert not access.open
    for names in ({"prometheus.example"}, {"other", "2001:db8::1"}, {"spiffe://a/b"}):
        assert judged(access, None, frozenset(names)) is Verdict.GRANTED
    for names in (set(), {"other"}, {"Prometheus.example"}, {"example"}):
        assert judged(access, None, frozenset(names)) is Verdict.FORBIDDEN


def test_names_and_credentials_are_both_asked_for() -> None:
    access = Access(AccessOptions(client_names=("a",), bearer_token=TOKEN))
    assert judged(access, f"Bearer {TOKEN}", {"b"}) is Verdict.FORBIDDEN
    assert judged(access, None, {"a"}) is Verdict.UNKNOWN
    assert judged(access, f"Bearer {TOKEN}", {"a"}) is Verdict.GRANTED


def test_rules_can_follow_a_source() -> None:
    present = [AccessOptions(bearer_token=TOKEN)]
    access = Access(lambda: present[0])
    assert judged(access, f"Bearer {TOKEN}") is Verdict.GRANTED
    present[0] = AccessOptions(bearer_token="another")
    assert judged(access, f"Bearer {TOKEN}") is Verdict.UNKNOWN
    assert judged(access, "Bearer another") is Verdict.GRANTED


@pytest.mark.parametrize("host", ["localhost", "", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_may_be_served_without_rules(host) -> None:
    check_address(host, Access())
    assert resolve_host(host)[1] in ("127.0.0.1", "127.9.9.9", "::1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7"])
def test_others_may_not_and_the_error_tells_the_ways_out(host, tmp_path) -> None:
    with pytest.raises(ConfigError, match=f"{host}.*bearer_token_file.*basic_users.*tls_client_ca.*insecure=True"):
        check_address(host, Access())
    authority = Authority(tmp_path)
    pair = authority.issue("server", "localhost")
    plain_tls = ServerTls(TlsOptions(cert_file=pair.cert, key_file=pair.key))
    with pytest.raises(ConfigError, match="insecure=True"):
        check_address(host, Access(), plain_tls)
    mutual = ServerTls(TlsOptions(cert_file=pair.cert, key_file=pair.key, client_ca_file=authority.ca_file))
    check_address(host, Access(), mutual)
    check_address(host, Access(AccessOptions(bearer_token=TOKEN)))
    check_address(host, Access(AccessOptions(basic_users={"anna": CHEAP_HASH})))
    check_address(host, Access(AccessOptions(insecure=True)))


def test_names_need_certificates_that_can_be_shown(tmp_path) -> None:
    named = Access(AccessOptions(client_names=("a",)))
    authority = Authority(tmp_path)
    pair = authority.issue("server", "localhost")
    one_way = TlsOptions(cert_file=pair.cert, key_file=pair.key)
    for tls in (None, ServerTls(one_way)):
        with pytest.raises(ConfigError, match=r"client_names is set.*tls_client_ca"):
            check_address("localhost", named, tls)
    optional = TlsOptions(
        cert_file=pair.cert, key_file=pair.key, client_ca_file=authority.ca_file, client_auth="optional"
    )
    check_address("0.0.0.0", named, ServerTls(optional))


def test_credentials_in_the_clear_are_warned_of_where_others_can_listen(tmp_path, caplog) -> None:
    forget_warnings()
    rules, said = AccessOptions(bearer_token=TOKEN), AccessOptions(bearer_token=TOKEN, insecure=True)
    pair = Authority(tmp_path).issue("server", "localhost")
    check_address("localhost", Access(rules))
    check_address("0.0.0.0", Access(rules), ServerTls(TlsOptions(cert_file=pair.cert, key_file=pair.key)))
    check_address("0.0.0.0", Access(said))
    assert caplog.records == []
    check_address("0.0.0.0", Access(rules))
    assert "in the clear" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 100, "a..b", "\x00"])
def test_a_host_there_is_none_of_is_an_error(host) -> None:
    with pytest.raises(ConfigError, match="cannot listen on"):
        check_address(host, Access())
