"""TLS of the own server: real handshakes, real certificates, and what goes wrong with them."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import subprocess
from http import HTTPStatus
from pathlib import Path

import pytest

from otelbridge.diagnostics import forget_warnings
from otelbridge.errors import ConfigError
from otelbridge.prometheus.http1 import message
from otelbridge.prometheus.tls import ServerTls, TlsOptions, canonical_name, create_context, peer_names
from tests.prometheus.endpoint_kit import Authority, ask, connect, get, read_all, read_answer, serving


@pytest.fixture
def authority(tmp_path):
    forget_warnings()
    return Authority(tmp_path / "ca")


@pytest.fixture
def pair(authority):
    return authority.issue("server", "localhost", "127.0.0.1")


@pytest.fixture
def options(pair):
    return TlsOptions(cert_file=pair.cert, key_file=pair.key)


@pytest.fixture
def mutual(pair, authority):
    return TlsOptions(cert_file=pair.cert, key_file=pair.key, client_ca_file=authority.ca_file)


def served(client: socket.socket) -> str:
    """Serial number of the certificate the server showed."""
    assert isinstance(client, ssl.SSLSocket)
    certificate = client.getpeercert()
    assert certificate
    return str(certificate["serialNumber"])


def names(request):
    """Answer who the client is."""
    return message(HTTPStatus.OK, " ".join(sorted(request.names)))


def test_requests_are_answered_over_tls(options, authority) -> None:
    with serving(tls=ServerTls(options)) as listener:
        assert listener.url.startswith("https://localhost:")
        answer = ask(listener, get("/a"), authority.client())
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"hello /a\n")


def test_several_requests_share_a_handshake_and_it_ends_cleanly(options, authority) -> None:
    with serving(tls=ServerTls(options)) as listener, connect(listener, authority.client()) as client:
        for number in range(3):
            client.sendall(get(f"/{number}"))
            assert read_answer(client).endswith(b"hello /%d\n" % number)
        client.sendall(get("/last", "Connection: close"))
        assert read_answer(client).endswith(b"hello /last\n")
        # Read at the level of TLS: an end without a goodbye would raise.
        client.suppress_ragged_eofs = False
        assert client.recv(1) == b""


def test_pipelined_requests_that_came_in_one_record_are_all_answered(options, authority) -> None:
    with serving(tls=ServerTls(options)) as listener, connect(listener, authority.client()) as client:
        client.sendall(get("/a") + get("/b") + get("/c", "Connection: close"))
        received = read_all(client)
    assert re.findall(rb"hello (/\w)", received) == [b"/a", b"/b", b"/c"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_large_answers_arrive_whole(options, authority, version) -> None:
    body = bytes(range(256)) * 20_000
    client = authority.client()
    client.maximum_version = version
    with serving(lambda request: message(HTTPStatus.OK, body.hex()), tls=ServerTls(options)) as listener:
        assert ask(listener, get(), client).endswith(body.hex().encode() + b"\n")


def test_old_tls_is_refused_and_the_lowest_version_can_be_raised(options, authority) -> None:
    old = authority.client()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    raised = TlsOptions(cert_file=options.cert_file, key_file=options.key_file, min_version="TLS13")
    with serving(tls=ServerTls(raised)) as listener:
        with pytest.raises(ssl.SSLError):
            connect(listener, old)
        assert b"hello" in ask(listener, get(), authority.client())
    assert create_context(options).minimum_version is ssl.TLSVersion.TLSv1_2


def test_plain_http_on_the_tls_port_is_closed_and_logged_nowhere(options, authority, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(tls=ServerTls(options)) as listener:
        with connect(listener) as client:
            client.sendall(get())
            assert b"200" not in read_all(client)
        assert b"hello" in ask(listener, get(), authority.client())
    assert caplog.records == []


def test_a_client_certificate_is_demanded_and_its_names_are_passed_on(mutual, authority, tmp_path) -> None:
    known = authority.issue("known", "prometheus.example", "192.0.2.1", "2001:db8::1", "someone@example.org")
    strange = Authority(tmp_path / "strange").issue("strange", "prometheus.example")
    tls = ServerTls(mutual)
    assert tls.verifies_clients
    with serving(names, tls=tls) as listener:
        answer = ask(listener, get(), authority.client(known))
        assert answer.endswith(b"192.0.2.1 2001:db8::1 prometheus.example someone@example.org\n")
        for context in (authority.client(), authority.client(strange)):
            with pytest.raises((ssl.SSLError, ConnectionResetError, AssertionError)):
                ask(listener, get(), context)


def test_a_client_certificate_may_be_optional(pair, authority, tmp_path) -> None:
    known = authority.issue("known", "prometheus.example")
    strange = Authority(tmp_path / "strange").issue("strange", "prometheus.example")
    options = TlsOptions(
        cert_file=pair.cert, key_file=pair.key, client_ca_file=authority.ca_file, client_auth="optional"
    )
    tls = ServerTls(options)
    assert (tls.verifies_clients, tls.knows_clients) == (False, True)
    with serving(names, tls=tls) as listener:
        assert ask(listener, get(), authority.client()).endswith(b"\r\n\r\n\n")
        assert ask(listener, get(), authority.client(known)).endswith(b"prometheus.example\n")
        with pytest.raises((ssl.SSLError, ConnectionResetError, AssertionError)):
            ask(listener, get(), authority.client(strange))


def test_names_are_kept_when_a_session_is_resumed(mutual, authority) -> None:
    context = authority.client(authority.issue("known", "prometheus.example"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(names, tls=ServerTls(mutual)) as listener:
        with connect(listener, context) as first:
            first.sendall(get())
            assert read_answer(first).endswith(b"prometheus.example\n")
            session = first.session
        raw = socket.create_connection(("127.0.0.1", listener.port))
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as again:
            assert again.session_reused
            again.sendall(get())
            assert read_answer(again).endswith(b"prometheus.example\n")


def test_a_new_certificate_is_served_without_a_restart(options, authority, caplog) -> None:
    with serving(tls=ServerTls(options)) as listener, connect(listener, authority.client()) as kept:
        before = served(kept)
        authority.issue("server", "localhost")
        with connect(listener, authority.client()) as new:
            assert served(new) != before
        # The old connection still gets its answer, and is then to come again.
        kept.sendall(get())
        assert b"Connection: close" in read_answer(kept)
    assert caplog.text == ""


def test_a_client_ca_can_be_replaced(mutual, authority, tmp_path) -> None:
    old, successor = authority.issue("old", "a.example"), Authority(tmp_path / "successor")
    new = successor.issue("new", "a.example")
    client = authority.client(new)
    with serving(names, tls=ServerTls(mutual)) as listener:
        assert ask(listener, get(), authority.client(old)).endswith(b"a.example\n")
        trusted = Path(authority.ca_file).read_text()
        Path(mutual.client_ca_file).write_bytes(Path(successor.ca_file).read_bytes())
        context = ssl.create_default_context(cadata=trusted)
        context.load_cert_chain(old.cert, old.key)
        with pytest.raises((ssl.SSLError, ConnectionResetError, AssertionError)):
            ask(listener, get(), context)
        assert ask(listener, get(), client).endswith(b"a.example\n")


def test_a_half_made_change_keeps_the_last_good_certificate_and_is_said_once(options, pair, authority, caplog) -> None:
    next_pair = authority.issue("server", "localhost", into="next")
    with serving(tls=ServerTls(options)) as listener:
        with connect(listener, authority.client()) as client:
            before = served(client)
        Path(pair.cert).write_bytes(Path(next_pair.cert).read_bytes())  # its key is still the old one
        for _ in range(3):
            with connect(listener, authority.client()) as client:
                assert served(client) == before
        (record,) = caplog.records
        assert pair.cert in record.getMessage()
        assert "PRIVATE" not in caplog.text
        Path(pair.key).write_bytes(Path(next_pair.key).read_bytes())
        with connect(listener, authority.client()) as client:
            assert served(client) != before
        assert len(caplog.records) == 1


def test_certificate_and_key_may_be_given_as_text(pair, authority) -> None:
    options = TlsOptions(
        cert=Path(pair.cert).read_text(),
        key=Path(pair.key).read_text(),
        client_ca=Path(authority.ca_file).read_text(),
    )
    assert "PRIVATE" not in repr(options)
    known = authority.issue("known", "prometheus.example")
    with serving(names, tls=ServerTls(options)) as listener:
        assert ask(listener, get(), authority.client(known)).endswith(b"prometheus.example\n")


def test_ciphers_can_be_chosen(pair, authority) -> None:
    options = TlsOptions(
        cert_file=pair.cert,
        key_file=pair.key,
        max_version="TLS12",
        ciphers=("ECDHE-ECDSA-AES256-GCM-SHA384",),
        prefer_server_ciphers=False,
    )
    assert not create_context(options).options & ssl.OP_CIPHER_SERVER_PREFERENCE
    with serving(tls=ServerTls(options)) as listener, connect(listener, authority.client()) as client:
        assert client.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def _change(options: TlsOptions, **fields) -> TlsOptions:
    return TlsOptions(**{**{name: getattr(options, name) for name in vars(options)}, **fields})


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"cert_file": None}, "TLS lacks cert_file"),
        ({"key_file": None}, "TLS lacks key_file"),
        ({"cert_file": "/nowhere/cert.pem"}, "'/nowhere/cert.pem' of cert_file cannot be read.*No such file"),
        ({"key_file": "/nowhere/key.pem"}, "'/nowhere/key.pem' of key_file cannot be read"),
        ({"client_ca_file": "/nowhere/ca.pem"}, "'/nowhere/ca.pem' of client_ca_file cannot be read"),
        ({"cert": "x"}, "cert and cert_file are both set"),
        ({"client_ca": "x"}, r"\(given as text\) of client_ca_file holds no PEM CERTIFICATE"),
        ({"client_ca": "-----BEGIN CERTIFICATE-----"}, r"client CA \(given as text\) cannot be used"),
        ({"client_auth": "required"}, "client_auth='required' has no CA"),
        ({"client_auth": "perhaps"}, "client_auth is 'perhaps'.*required"),
        ({"min_version": "TLS11"}, "min_version.*'TLS11'.*TLS12, TLS13"),
        ({"max_version": "SSL3"}, "max_version.*'SSL3'"),
        ({"min_version": "TLS13", "max_version": "TLS12"}, "min_version TLS13 is above max_version TLS12"),
        ({"ciphers": ("NONE-SUCH",)}, "NONE-SUCH"),
    ],
)
def test_settings_that_cannot_be_used_are_errors_that_name_them(options, changed, named) -> None:
    with pytest.raises(ConfigError, match=named):
        ServerTls(_change(options, **changed))


def test_a_client_ca_that_nobody_is_checked_with_is_an_error(mutual) -> None:
    with pytest.raises(ConfigError, match="clients are not asked for certificates"):
        create_context(_change(mutual, client_auth="none"))


def test_swapped_mixed_and_broken_files_are_errors_that_name_them(options, pair, authority) -> None:
    other = authority.issue("other", "localhost")
    with pytest.raises(ConfigError, match=r"server\.key.*of cert_file holds no PEM CERTIFICATE"):
        create_context(_change(options, cert_file=pair.key, key_file=pair.cert))
    with pytest.raises(ConfigError, match=r"server\.crt.*other\.key.*together.*KEY_VALUES_MISMATCH"):
        create_context(_change(options, key_file=other.key))
    text = Path(pair.key).read_text()
    Path(pair.key).write_text(text.replace("\n", "\n!canary!", 3))
    with pytest.raises(ConfigError, match=r"server\.key.*cannot be used") as caught:
        create_context(options)
    assert "canary" not in f"{caught.value}{caught.value.__cause__}"


@pytest.mark.parametrize("form", [["-traditional"], []])
def test_a_key_with_a_passphrase_is_an_error_and_nobody_is_asked_for_it(options, pair, tmp_path, form) -> None:
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", pair.key, "-aes256", "-passout", "pass:secret", "-out", str(locked), *form]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ConfigError, match=r"locked\.key' has a passphrase.*openssl pkey"):
        create_context(_change(options, key_file=str(locked)))


def test_only_alternative_names_count() -> None:
    certificate = {
        "subject": ((("commonName", "boss"),),),
        "subjectAltName": (("DNS", "a"), ("IP Address", "2001:DB8:0:0:0:0:0:1"), ("DirName", "c"), ("URI", "x://y")),
    }
    assert peer_names(certificate) == {"a", "2001:db8::1", "x://y"}
    assert peer_names(None) == peer_names({}) == frozenset()
    assert canonical_name("::0001") == "::1"
    assert canonical_name("A.example") == "A.example"
