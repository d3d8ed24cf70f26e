"""The own server: real sockets, and clients that are idle, slow, rude, many, or all of it."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelbridge.diagnostics import forget_warnings
from otelbridge.errors import ConfigError
from otelbridge.prometheus.http1 import message
from otelbridge.prometheus.limits import Limits
from otelbridge.prometheus.listener import Listener
from otelbridge.prometheus.tls import ServerTls, TlsOptions
from tests.prometheus.endpoint_kit import (
    SECONDS,
    Authority,
    allow_files,
    ask,
    connect,
    eventually,
    get,
    hello,
    metrics_threads,
    open_files,
    read_all,
    read_answer,
    serving,
)

pytestmark = pytest.mark.endtoend

CLOSED = b""


@pytest.fixture(autouse=True)
def fresh_warnings() -> None:
    forget_warnings()


@pytest.fixture
def listener():
    with serving() as listener:
        yield listener


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def tls_options(authority):
    pair = authority.issue("server", "localhost")
    return TlsOptions(cert_file=pair.cert, key_file=pair.key)


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


# --- requests and answers ---


def test_requests_on_one_connection_are_answered_in_turn(listener) -> None:
    with connect(listener) as client:
        for number in range(5):
            client.sendall(get(f"/{number}"))
            answer = read_answer(client)
            assert answer.endswith(b"hello /%d\n" % number)
            assert b"Connection: close" not in answer


def test_pipelined_requests_are_answered_in_turn(listener) -> None:
    with connect(listener) as client:
        client.sendall(b"".join(get(f"/{number}") for number in range(200)) + get("/end", "Connection: close"))
        received = read_all(client)
    assert re.findall(rb"hello /(\w+)", received) == [*(b"%d" % number for number in range(200)), b"end"]


def test_a_head_may_come_byte_by_byte(listener) -> None:
    with connect(listener) as client:
        for byte in get("/slowly"):
            client.send(bytes([byte]))
        assert read_answer(client).endswith(b"hello /slowly\n")


def test_head_has_the_length_and_no_body(listener) -> None:
    with connect(listener) as client:
        client.sendall(get("/a", "Connection: close", method="HEAD"))
        received = read_all(client)
    assert b"Content-Length: 9\r\n" in received
    assert received.endswith(b"\r\n\r\n")


def test_http_1_0_is_answered_and_closed(listener) -> None:
    with connect(listener) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        received = read_all(client)
    assert status(received) == 200
    assert received.endswith(b"hello /metrics\n")


@pytest.mark.parametrize(
    "body",
    [
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789",
        b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_a_body_is_left_unread_and_ends_the_connection(listener, body) -> None:
    with connect(listener) as client:
        client.sendall(body)
        received = read_all(client)
    assert received.endswith(b"hello /a\n")
    assert received.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in received


def test_a_long_body_does_not_cost_the_client_its_answer(listener) -> None:
    with connect(listener) as client:
        client.sendall(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n")
        client.sendall(b"x" * 60000)
        assert read_all(client).endswith(b"hello /a\n")


def test_an_endless_body_is_cut_off(listener) -> None:
    with connect(listener) as client:
        client.sendall(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(bytes(100_000_000))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 16384, 431),
        (b"x" * 100_000, 431),
    ],
)
def test_what_is_no_request_is_refused_and_closed(listener, request_, code) -> None:
    with connect(listener) as client:
        client.sendall(request_)
        received = read_all(client)
    assert status(received) == code
    assert b"Connection: close" in received


def test_a_head_just_as_long_as_allowed_is_read() -> None:
    with serving(head_bytes=1000) as listener:
        fixed = len(get("/", "X: "))
        assert status(ask(listener, get("/", "X: " + "a" * (1000 - fixed)))) == 200
        assert status(ask(listener, get("/", "X: " + "a" * (1001 - fixed)))) == 431


def test_a_handler_that_raises_is_a_500_and_one_line_in_the_log(caplog) -> None:
    def fail(request):
        raise RuntimeError("boom")

    with serving(fail) as listener, connect(listener) as client:
        for _ in range(3):
            client.sendall(get())
            assert status(read_answer(client)) == 500
    (record,) = caplog.records
    assert "RuntimeError: boom" in record.getMessage()


def test_an_error_that_cannot_be_written_is_a_500_too(caplog) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(request):
        raise UnspeakableError

    with serving(fail) as listener:
        assert status(ask(listener, get())) == 500
    assert "UnspeakableError: (not shown)" in caplog.text


def test_an_answer_may_come_later_and_holds_no_thread_meanwhile() -> None:
    futures: list[Future] = []
    lock = threading.Lock()

    def later(request):
        if request.path == "/now":
            return message(HTTPStatus.OK, "now")
        with lock:
            futures.append(Future())
        return futures[-1]

    with serving(later, workers=2) as listener:
        waiting = [connect(listener) for _ in range(20)]
        for client in waiting:
            client.sendall(get("/later"))
        eventually(lambda: len(futures) == 20)
        assert b"now" in ask(listener, get("/now"))
        for number, future in enumerate(futures):
            future.set_result(message(HTTPStatus.OK, f"number {number}"))
        answers = sorted(int(read_answer(client).rsplit(b" ", 1)[1]) for client in waiting)
        assert answers == list(range(20))
        for client in waiting:
            client.close()


def test_a_later_answer_that_fails_is_a_500(caplog) -> None:
    failed: Future = Future()
    failed.set_exception(ValueError("late"))
    with serving(lambda request: failed) as listener:
        assert status(ask(listener, get())) == 500
    assert "ValueError: late" in caplog.text


def test_an_answer_that_never_comes_is_a_503_and_may_come_afterwards() -> None:
    never: Future = Future()
    with serving(lambda request: never, answer_seconds=0.2) as listener:
        assert status(ask(listener, get())) == 503
        never.set_result(message(HTTPStatus.OK, "too late"))
        assert b"too late" in ask(listener, get())


# --- addresses ---


def test_a_free_port_is_taken_and_told(listener) -> None:
    assert listener.port > 0
    assert listener.url == f"http://localhost:{listener.port}"


def test_only_the_address_that_was_asked_for_is_served(listener) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", listener.port), timeout=SECONDS)


def test_ipv6() -> None:
    with serving(host="::1") as listener:
        assert listener.url == f"http://[::1]:{listener.port}"
        with socket.create_connection(("::1", listener.port)) as client:
            client.sendall(get("/six", "Connection: close"))
            assert read_all(client).endswith(b"hello /six\n")


def test_every_address_of_both_families() -> None:
    with serving(host="::") as listener:
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, listener.port)) as client:
                client.sendall(get("/both", "Connection: close"))
                assert read_all(client).endswith(b"hello /both\n")


def test_a_port_in_use_is_an_error_that_names_it(listener) -> None:
    with pytest.raises(ConfigError, match=rf"localhost:{listener.port} .*in use.*port=.*\(0 takes any free one\)"):
        Listener("localhost", listener.port, hello)
    assert status(ask(listener, get())) == 200


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("localhost", 70000), ("no.such.host.invalid", 0)])
def test_what_cannot_be_listened_on_is_an_error_that_names_it(host, port) -> None:
    with pytest.raises(ConfigError, match=f"cannot listen on {host}"):
        Listener(host, port, hello)
    assert metrics_threads() == []


# --- the end ---


def test_closing_frees_port_threads_and_files(authority, tls_options) -> None:
    before = open_files()
    listener = Listener("localhost", 0, hello, tls=ServerTls(tls_options))
    clients = [connect(listener), connect(listener, authority.client())]
    clients[1].sendall(get())
    read_answer(clients[1])
    listener.close()
    listener.close()
    assert metrics_threads() == []
    for client in clients:
        assert read_all(client) == CLOSED
        client.close()
    assert open_files() == before
    with serving() as other:
        assert other.port != 0
    Listener("localhost", listener.port, hello).close()


def test_closing_waits_for_no_client() -> None:
    never: Future = Future()
    with serving(lambda request: never) as listener:
        waiting, slow = connect(listener), connect(listener)
        waiting.sendall(get())
        slow.sendall(b"GET /")
        listener.close()
        assert read_all(waiting) == read_all(slow) == CLOSED
        waiting.close()
        slow.close()
    never.set_result(message(HTTPStatus.OK, "nobody waits"))


def test_a_handler_may_close_the_server() -> None:
    closed = threading.Event()

    def close(request):
        closed.wait(SECONDS)
        return message(HTTPStatus.OK, "bye")

    with serving(close) as listener:
        with connect(listener) as client:
            client.sendall(get())
            threading.Timer(0.05, closed.set).start()
            listener.close()
        assert metrics_threads() == []


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script of its own process; from Python 3.12 on, forking with threads warns."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SETUP + script]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


SETUP = """
import os, socket, sys, threading, time
from http import HTTPStatus
from otelbridge.prometheus.http1 import message
from otelbridge.prometheus.listener import Listener
REQUEST = b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
listener = Listener("127.0.0.1", 0, lambda request: message(HTTPStatus.OK, "here"))
client = socket.socket()
def endpoint_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("otelbridge")]
"""


def test_a_server_whose_selector_was_closed_stops_and_says_so() -> None:
    ran = run("""
os.close(listener._selector.fileno())
client.connect(("127.0.0.1", listener.port))
while endpoint_threads():
    time.sleep(0.01)
listener.close()
print("went on")
""")
    assert ran.stdout == "went on\n"
    assert re.fullmatch(r"The metrics endpoint on http://127.0.0.1:\d+ has stopped: .*\n", ran.stderr)


def test_closing_after_somebody_closed_every_file_is_harmless() -> None:
    ran = run("""
os.closerange(3, 1000)
listener.close()
print("went on", flush=True)
os._exit(0)
""")
    assert (ran.stdout, ran.stderr) == ("went on\n", "")


def test_a_forked_child_holds_neither_port_nor_connections() -> None:
    ran = run("""
client.connect(("127.0.0.1", listener.port))
client.sendall(REQUEST)
client.recv(1000)
read, write = os.pipe()
ready, tell = os.pipe()
files = len(os.listdir("/dev/fd"))
child = os.fork()
if child == 0:
    os.write(tell, b"x")
    listener.close()
    os.read(read, 1)
    # The listening socket, two of the waker, the selector and the server's side of the connection.
    os._exit(files - len(os.listdir("/dev/fd")))
os.read(ready, 1)
client.sendall(REQUEST)
print(b"here" in client.recv(1000))
listener.close()
print(client.recv(1000))
Listener("127.0.0.1", listener.port, None).close()
os.write(write, b"x")
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert (ran.stdout, ran.stderr) == ("True\nb''\n5\n", "")


# --- clients that are slow, idle, many ---


def test_a_head_that_drips_has_one_deadline_for_all_of_it() -> None:
    with serving(head_seconds=0.3) as listener, connect(listener) as client:
        client.settimeout(0.02)
        client.sendall(b"GET / HTTP/1.1\r\nX: ")
        received = None
        while received is None:
            try:
                client.send(b"a")
                received = client.recv(1)
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                received = CLOSED
        assert received == CLOSED


def test_handshake_and_head_have_one_deadline(authority, tls_options) -> None:
    with serving(tls=ServerTls(tls_options), head_seconds=0.3) as listener:
        with connect(listener) as silent:
            assert read_all(silent) == CLOSED
        with connect(listener) as half:
            half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
            assert read_all(half) == CLOSED
        with connect(listener, authority.client()) as shaken:
            shaken.sendall(b"GET / HTTP/1.1\r\n")
            assert read_all(shaken) == CLOSED


def test_who_is_turned_away_by_the_handshake_is_told_why(authority, tls_options) -> None:
    # TLS 1.3 lets a client send its request before it can know that its certificate was missing. A socket that is
    # closed meanwhile resets the connection, and a client that fails to write may never read the alert.
    mutual = replace(tls_options, client_ca_file=authority.ca_file)
    with serving(tls=ServerTls(mutual)) as listener, connect(listener) as client:
        received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = authority.client().wrap_bio(received, to_send, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            secured.do_handshake()
        client.sendall(to_send.read())
        while to_send.pending == 0:
            received.write(client.recv(65536))
            with suppress(ssl.SSLWantReadError):
                secured.do_handshake()
        client.sendall(to_send.read())
        assert client.recv(1, socket.MSG_PEEK)
        for _ in range(3):
            secured.write(get())
            client.sendall(to_send.read())
            time.sleep(0.1)
        client.shutdown(socket.SHUT_WR)
        while data := client.recv(65536):
            received.write(data)
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            secured.read()


def test_an_idle_connection_is_closed_in_the_end() -> None:
    with serving(idle_seconds=0.2) as listener, connect(listener) as client:
        client.sendall(get())
        assert status(read_answer(client)) == 200
        assert read_all(client) == CLOSED


def test_a_client_that_does_not_take_its_answer_is_closed() -> None:
    big = message(HTTPStatus.OK, "x" * 20_000_000)
    with serving(lambda request: big, write_seconds=0.3) as listener, connect(listener) as client:
        client.sendall(get())
        eventually(lambda: listener._connections)
        eventually(lambda: not listener._connections)
        assert len(read_all(client)) < 20_000_000


def test_a_client_that_never_closes_is_closed() -> None:
    with serving(linger_seconds=0.2) as listener, connect(listener) as client:
        client.sendall(get("/", "Connection: close"))
        assert status(read_answer(client)) == 200
        eventually(lambda: not listener._connections)


def slow_clients(listener: Listener, context: ssl.SSLContext | None, count: int) -> list[socket.socket]:
    """Connections that are silent, stuck in the handshake, in the head, or idle after an answer."""
    clients = []
    for number in range(count):
        kind = number % 4
        client = connect(listener, context if kind >= 2 else None)
        if kind == 1:
            client.sendall(b"GET /metrics HTTP/1.1\r\nX: " if context is None else b"\x16\x03\x01\x02\x00\x01")
        elif kind == 2:
            client.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        elif kind == 3:
            client.sendall(get())
            read_answer(client)
        clients.append(client)
    return clients


@pytest.mark.parametrize("secured", [False, True])
def test_a_thousand_slow_and_idle_connections_hold_up_nobody(secured, authority, tls_options) -> None:
    allow_files(6000)
    tls, context = (ServerTls(tls_options), authority.client()) if secured else (None, None)
    # Deadlines so long that a scrape which had to wait for a slow client would wait in vain.
    with serving(tls=tls, connections=1200, head_seconds=600, idle_seconds=600) as listener:
        clients = slow_clients(listener, context, 1000)
        eventually(lambda: len(listener._connections) == 1000)
        for _ in range(20):
            assert status(ask(listener, get(), context)) == 200
        assert len(metrics_threads()) <= 1 + Limits().workers
        for client in clients:
            client.close()


def test_beyond_the_limit_those_who_have_waited_longest_make_room() -> None:
    with serving(connections=50, head_seconds=600) as listener:
        clients = []
        for _ in range(200):
            clients.append(connect(listener))
            clients[-1].sendall(b"GET /")
        eventually(lambda: len(listener._connections) == 50)
        for _ in range(5):
            assert status(ask(listener, get())) == 200
        assert read_all(clients[0]) == CLOSED
        clients[-1].sendall(b"last HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer(clients[-1]).endswith(b"hello /last\n")
        for client in clients:
            client.close()


def test_when_all_wait_for_their_answers_a_new_one_is_refused() -> None:
    pending: Future = Future()
    with serving(lambda request: pending, connections=3) as listener:
        waiting = [connect(listener) for _ in range(3)]
        for client in waiting:
            client.sendall(get())
        eventually(lambda: len(pending._done_callbacks) == 3)
        with connect(listener) as refused:
            assert status(read_all(refused)) == 503
        pending.set_result(message(HTTPStatus.OK, "done"))
        for client in waiting:
            assert read_answer(client).endswith(b"done\n")
            client.close()


def test_slow_readers_hold_up_nobody() -> None:
    def by_path(request):
        return message(HTTPStatus.OK, "x" * 20_000_000 if request.path == "/big" else "small")

    with serving(by_path, write_seconds=600) as listener:
        readers = [connect(listener) for _ in range(20)]
        for reader in readers:
            reader.sendall(get("/big"))
        assert ask(listener, get("/small")).endswith(b"small\n")
        assert len(read_answer(readers[0])) > 20_000_000
        for reader in readers:
            reader.close()


def test_many_scrapers_at_once_are_all_answered() -> None:
    def scrape_often(listener) -> int:
        with connect(listener) as client:
            for _ in range(100):
                client.sendall(get())
                assert status(read_answer(client)) == 200
        return 100

    with serving() as listener, ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(scrape_often, [listener] * 16)) == 1600
        assert len(metrics_threads()) <= 1 + Limits().workers


def test_clients_that_hang_up_leave_nothing_behind(listener, caplog, capfd) -> None:
    caplog.set_level(logging.DEBUG)
    for sent in (b"", b"GET", get(), get() * 3):
        with connect(listener) as client:
            client.sendall(sent)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert status(ask(listener, get())) == 200
    eventually(lambda: not listener._connections)
    assert caplog.records == []
    assert capfd.readouterr().err == ""


def test_without_files_left_the_server_waits_and_goes_on() -> None:
    ran = run("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
files = []
try:
    while True:
        files.append(open("/dev/null"))
except OSError:
    pass
client.connect(("127.0.0.1", listener.port))
client.sendall(REQUEST)
while not listener._resume_at:
    time.sleep(0.01)
for file in files:
    file.close()
print(b"here" in client.recv(1000))
listener.close()
""")
    assert ran.stdout == "True\n"
    assert re.fullmatch(
        r"The metrics endpoint cannot accept connections .*Raise the limit of open files.\n", ran.stderr
    )


def test_the_default_leaves_most_files_to_the_application() -> None:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert 16 <= Limits().connections <= max(16, min(1024, soft // 4 if soft > 0 else 1024))


# --- anything at all ---

PIECES = st.sampled_from(
    [
        b"GET ",
        b"HEAD ",
        b"/metrics",
        b" HTTP/1.1",
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"Host: a",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b":",
        b"\x00",
        b"\xff" * 40,
        b"x" * 9000,
    ]
)


@pytest.fixture(scope="module")
def hardened():
    with serving() as listener:
        yield listener


@settings(max_examples=150, deadline=None)
@given(sent=st.binary(max_size=200) | st.lists(PIECES, max_size=12).map(b"".join))
def test_any_bytes_get_an_answer_or_a_close(hardened, sent) -> None:
    with connect(hardened) as client:
        with suppress(OSError):  # it may be closed already
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
        received = read_all(client)
    assert received == CLOSED or re.match(rb"HTTP/1\.1 (200|400|431|505) ", received)
    assert status(ask(hardened, get())) == 200


@settings(max_examples=60, deadline=None)
@given(sent=st.binary(max_size=200))
def test_any_bytes_on_the_tls_port_get_a_close(secured, sent) -> None:
    listener, context = secured
    with connect(listener) as client:
        with suppress(OSError):  # it may be closed already
            client.sendall(b"\x16\x03\x01" + sent)
            client.shutdown(socket.SHUT_WR)
        assert b"HTTP" not in read_all(client)
    assert status(ask(listener, get(), context)) == 200


@pytest.fixture(scope="module")
def secured(authority, tls_options):
    with serving(tls=ServerTls(tls_options)) as listener:
        yield listener, authority.client()
