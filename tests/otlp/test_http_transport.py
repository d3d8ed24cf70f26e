"""OTLP/HTTP against real sockets: every fault has its verdict, in its time, in bounded memory."""

from __future__ import annotations

import os
import socket
import threading
import time
import tracemalloc

import pytest
import trustme

from otelbridge.config.options import Otlp
from otelbridge.errors import ConfigError
from otelbridge.otlp import connection
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.verdict import MAX_ANSWER, Outcome
from tests.components import free_port
from tests.otlp import faults
from tests.otlp.faults import Authority, Receiver, answer, request

pytestmark = pytest.mark.endtoend

TIMEOUT = 0.5
# What a slow machine may add. A deadline that does not hold is missed by hours here.
SLACK = 30.0


def otlp(url: str, **settings) -> Otlp:
    return Otlp(metrics_endpoint=url, traces_endpoint=url, **settings)


def post(url: str, body: bytes = b"", timeout: float = TIMEOUT, **settings):
    """One post over a transport of its own, that keeps its time."""
    transport = HttpTransport(otlp(url, **settings))
    begun = time.monotonic()
    verdict = transport.post(body, timeout)
    assert time.monotonic() - begun < timeout + SLACK
    transport.close()
    return verdict


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(trustme.CA(), tmp_path_factory.mktemp("tls"))


def test_a_request_arrives_whole_with_its_headers() -> None:
    with Receiver(answer()) as receiver:
        verdict = post(f"{receiver.url}?tenant=aéb", request(), headers={"x-key": "k1", "user-agent": "mine"})
        (exchange,) = receiver.exchanges
    assert verdict.outcome is Outcome.DELIVERED
    assert exchange.line == "POST /v1/metrics?tenant=a%C3%A9b HTTP/1.1"
    assert exchange.body == request()
    assert exchange.headers == {
        "host": f"127.0.0.1:{receiver.port}",
        "user-agent": "mine",
        "accept-encoding": "identity",
        "content-type": "application/x-protobuf",
        "content-length": str(len(request())),
        "x-key": "k1",
    }


def test_the_exporter_names_itself() -> None:
    with Receiver(answer()) as receiver:
        post(receiver.url)
        assert receiver.exchanges[0].headers["user-agent"].startswith("otelbridge-otlp-exporter-python/")


def test_compression() -> None:
    with Receiver(answer()) as receiver:
        assert post(receiver.url, request(padding=100_000), compression="gzip").arrived
        (exchange,) = receiver.exchanges
    assert exchange.headers["content-encoding"] == "gzip"
    assert int(exchange.headers["content-length"]) < 2000
    assert exchange.body == request(padding=100_000)


def test_a_large_request_arrives() -> None:
    with Receiver(answer()) as receiver:
        assert post(receiver.url, request(padding=8 << 20), timeout=10).arrived
        assert receiver.exchanges[0].body == request(padding=8 << 20)


def test_an_endpoint_without_a_path_is_the_root() -> None:
    with Receiver(answer()) as receiver:
        assert post(f"http://127.0.0.1:{receiver.port}").arrived
        assert receiver.exchanges[0].line == "POST / HTTP/1.1"


def test_a_user_in_the_url_is_basic_authentication() -> None:
    with Receiver(answer()) as receiver:
        post(f"http://ann:p%40ss@127.0.0.1:{receiver.port}/")
        headers = receiver.exchanges[0].headers
    assert headers["authorization"] == "Basic YW5uOnBAc3M="
    assert headers["host"] == f"127.0.0.1:{receiver.port}"


def test_names_are_resolved() -> None:
    with Receiver(answer()) as receiver:
        assert post(f"http://localhost:{receiver.port}/", timeout=5).arrived


def test_a_receiver_on_this_machine_needs_no_proxy(monkeypatch) -> None:
    with Receiver(answer()) as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert post(receiver.url).arrived


FAULTS = {
    "never answers": (faults.hang, Outcome.RETRY, "does not answer in time"),
    "drips a header": (faults.drip, Outcome.RETRY, "does not answer in time"),
    "drips a body": (faults.drip_body, Outcome.RETRY, "does not answer in time"),
    "too late": (faults.late(3), Outcome.RETRY, "does not answer in time"),
    "resets": (faults.reset, Outcome.RETRY, "reset by peer"),
    "hangs up": (faults.hang_up, Outcome.RETRY, "closed the connection without an answer"),
    "cuts the body short": (faults.cut_short, Outcome.RETRY, "in the middle of its answer"),
    "cuts a chunk short": (faults.cut_short_chunked, Outcome.RETRY, "in the middle of its answer"),
    "page with 200": (answer(200, b"<html>login</html>", "text/html"), Outcome.MISDIRECTED, "'text/html'"),
    "garbage": (answer(200, b"\xff\xfe\xfd"), Outcome.MISDIRECTED, "no OTLP message"),
    "not HTTP": (faults.not_http, Outcome.MISDIRECTED, "not HTTP"),
    "301": (answer(301, Location="http://127.0.0.1:1/x"), Outcome.MISDIRECTED, "to http://127.0.0.1:1 "),
    "307": (answer(307, Location="http://127.0.0.1:1/x"), Outcome.MISDIRECTED, "to http://127.0.0.1:1 "),
    "204": (answer(204), Outcome.MISDIRECTED, "HTTP 204"),
    "endless headers": (faults.endless_headers, Outcome.MISDIRECTED, "longer than"),
    "endless header line": (faults.endless_header_line, Outcome.MISDIRECTED, "longer than"),
    "endless continue": (faults.endless_continue, Outcome.MISDIRECTED, "longer than"),
    "1 GB announced": (faults.endless_body(1 << 30), Outcome.MISDIRECTED, "longer than"),
    "1 GB unannounced": (faults.endless_body(None), Outcome.MISDIRECTED, "longer than"),
    "endless chunks": (faults.endless_chunks, Outcome.MISDIRECTED, "longer than"),
    "1 GB page": (faults.endless_body(None, 200, "text/html"), Outcome.MISDIRECTED, "longer than"),
    "503 with 1 GB": (faults.endless_body(1 << 30, 503), Outcome.RETRY, "HTTP 503"),
    "400 with 1 GB": (faults.endless_body(None, 400), Outcome.REFUSED, "HTTP 400"),
    "broken gzip": (answer(200, b"abc", Content_Encoding="gzip"), Outcome.MISDIRECTED, "decompressed"),
    "half a gzip": (
        answer(200, faults.zipped_zeros(1 << 20)[:20], Content_Encoding="gzip"),
        Outcome.MISDIRECTED,
        "decompressed",
    ),
    "unknown coding": (answer(200, b"abc", Content_Encoding="br"), Outcome.MISDIRECTED, "decompressed"),
    "partial success": (answer(200, faults.partial(7, "too old")), Outcome.PARTLY, "7 data points; it says: too old"),
    "partial success in slices": (faults.sliced, Outcome.PARTLY, "2 data points; it says: in slices"),
    "gzip though not asked for": (
        answer(200, faults.gzip.compress(faults.partial(3)), Content_Encoding="gzip"),
        Outcome.PARTLY,
        "3 data points",
    ),
    "slow close": (faults.slow_close, Outcome.DELIVERED, "delivered"),
    "latency": (faults.late(0.2), Outcome.DELIVERED, "delivered"),
    **{
        str(status): (answer(status, faults.failure("no room")), Outcome.RETRY, f"HTTP {status}")
        for status in (429, 502, 503, 504)
    },
    **{
        str(status): (answer(status, faults.failure("no way")), Outcome.REFUSED, f"HTTP {status}")
        for status in (400, 401, 403, 404, 413, 500)
    },
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_verdict_in_time(fault) -> None:
    behaviour, outcome, text = FAULTS[fault]
    with Receiver(behaviour) as receiver:
        verdict = post(receiver.url, request())
        assert len(receiver.exchanges) == 1
    assert verdict.outcome is outcome
    assert text in verdict.text


def test_a_failure_whose_description_drips_is_known_at_once() -> None:
    with Receiver(faults.drip_failure) as receiver:
        begun = time.monotonic()
        verdict = HttpTransport(otlp(receiver.url)).post(b"", 60)
        assert time.monotonic() - begun < 10
    assert (verdict.outcome, verdict.retry_after) == (Outcome.RETRY, 7)


@pytest.mark.parametrize("retry_after", ["2", "Wed, 21 Oct 2026 07:28:02 GMT"])
def test_retry_after(retry_after) -> None:
    headers = {"Retry_After": retry_after, "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    with Receiver(answer(503, **headers)) as receiver:
        assert post(receiver.url).retry_after == 2


def test_nothing_listens() -> None:
    verdict = post(f"http://127.0.0.1:{free_port()}/")
    assert (verdict.outcome, "refused" in verdict.text) == (Outcome.RETRY, True)


def test_a_listener_that_takes_no_connection_out() -> None:
    with faults.silent_listener() as port:
        assert post(f"http://127.0.0.1:{port}/").outcome is Outcome.RETRY


def test_a_full_queue_of_connections() -> None:
    with faults.full_listener() as port:
        verdict = post(f"http://127.0.0.1:{port}/")
    assert (verdict.outcome, verdict.text) == (Outcome.RETRY, "it cannot be reached in time")


def test_a_name_that_does_not_resolve() -> None:
    verdict = post("http://no-such-host.invalid/", timeout=5)
    assert verdict.outcome is Outcome.RETRY
    assert "resolve" in verdict.text


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
def test_a_host_that_no_name_can_be(host) -> None:
    with pytest.raises(ConfigError, match="no name can be"):
        HttpTransport(otlp(f"http://{host}/"))


def test_a_resolver_that_hangs_keeps_nobody(monkeypatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(connection, "_look_up", lambda address, flags: _hang_unless_numeric(flags, released))
    verdict = post("http://receiver.example/")
    released.set()
    assert (verdict.outcome, verdict.text) == (Outcome.RETRY, "it cannot be reached in time")


def _hang_unless_numeric(flags: int, released: threading.Event):
    if not flags:
        released.wait(60)
    raise socket.gaierror(socket.EAI_NONAME, "no such name")


def test_an_address_that_swallows_everything_leaves_time_for_the_next(monkeypatch) -> None:
    with faults.full_listener() as full, Receiver(answer()) as receiver:
        both = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", full)),
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", receiver.port)),
        ]
        monkeypatch.setattr(connection, "_look_up", lambda address, flags: both)
        assert post("http://receiver.example/", timeout=1).arrived


def test_a_request_that_nobody_reads_ends_in_time() -> None:
    with faults.silent_listener() as port:
        verdict = post(f"http://127.0.0.1:{port}/", bytes(32 << 20))
    assert (verdict.outcome, verdict.text) == (Outcome.RETRY, "it does not take the request in time")


def test_a_refusal_before_the_request_is_read_is_heard() -> None:
    with Receiver(faults.too_large_early) as receiver:
        verdict = post(receiver.url, bytes(32 << 20), timeout=10)
    assert verdict.outcome is Outcome.REFUSED
    assert "at most 10 bytes" in verdict.text


def test_who_has_not_read_everything_cannot_have_taken_it() -> None:
    with Receiver(faults.taken_early) as receiver:
        assert post(receiver.url, bytes(32 << 20), timeout=10).outcome is Outcome.RETRY


@pytest.mark.parametrize("timeout", [0, -1, 1e-9])
def test_no_time_at_all(timeout) -> None:
    with Receiver(answer()) as receiver:
        assert post(receiver.url, timeout=timeout).outcome is Outcome.RETRY


MEMORY = {
    "gzip bomb of 200 MB": answer(200, faults.zipped_zeros(200 << 20), Content_Encoding="gzip"),
    "endless headers": faults.endless_headers,
    "endless header line": faults.endless_header_line,
    "1 GB announced": faults.endless_body(1 << 30),
    "1 GB unannounced": faults.endless_body(None),
    "endless chunks": faults.endless_chunks,
    "500 with 1 GB": faults.endless_body(None, 500),
}


@pytest.mark.parametrize("fault", MEMORY)
def test_no_answer_takes_more_than_two_mebibytes(fault) -> None:
    with Receiver(MEMORY[fault]) as receiver:
        transport = HttpTransport(otlp(receiver.url))
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        verdict = transport.post(b"", 20)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert not verdict.arrived
    assert peak - before < 2 << 20


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072, MAX_ANSWER - 1, MAX_ANSWER, MAX_ANSWER + 1])
def test_answers_up_to_a_mebibyte_are_read(size, zipped) -> None:
    body = next(body for length in range(size - 20, size) if len(body := faults.partial(3, "x" * length)) == size)
    behaviour = answer(200, faults.gzip.compress(body), Content_Encoding="gzip") if zipped else answer(200, body)
    with Receiver(behaviour) as receiver:
        verdict = post(receiver.url, timeout=5)
    outcome = Outcome.MISDIRECTED if size > MAX_ANSWER else Outcome.PARTLY
    assert (verdict.outcome, verdict.rejected) == (outcome, 0 if size > MAX_ANSWER else 3)


def test_the_connection_is_kept() -> None:
    with Receiver(answer(), faults.sliced, answer(503, b"busy", "text/plain"), answer()) as receiver:
        transport = HttpTransport(otlp(receiver.url))
        outcomes = [transport.post(b"", 5).outcome for _ in range(4)]
        assert receiver.connections == 1
        transport.close()
        assert transport.post(b"", 5).arrived
        assert receiver.connections == 2
        transport.close()
    assert outcomes == [Outcome.DELIVERED, Outcome.PARTLY, Outcome.RETRY, Outcome.DELIVERED]


@pytest.mark.parametrize("ending", [faults.closing, answer(Connection="close")])
def test_a_connection_the_receiver_has_closed_is_replaced(ending) -> None:
    with Receiver(ending, answer()) as receiver:
        transport = HttpTransport(otlp(receiver.url))
        assert transport.post(b"1", 5).arrived
        assert transport.post(b"2", 5).arrived
        assert [exchange.body for exchange in receiver.exchanges] == [b"1", b"2"]
        assert receiver.connections == 2
        transport.close()


def test_a_kept_connection_that_breaks_at_the_next_request_is_replaced_once() -> None:
    with Receiver(answer(), faults.hang_up, answer()) as receiver:
        transport = HttpTransport(otlp(receiver.url))
        assert transport.post(b"1", 5).arrived
        assert transport.post(b"2", 5).arrived
        assert [exchange.connection is receiver.exchanges[0].connection for exchange in receiver.exchanges] == [
            True,
            True,
            False,
        ]
        transport.close()


def test_a_kept_connection_that_breaks_in_the_middle_of_an_answer_is_not_tried_twice() -> None:
    with Receiver(answer(), faults.reset_midway, answer()) as receiver:
        transport = HttpTransport(otlp(receiver.url))
        assert transport.post(b"1", 5).arrived
        assert transport.post(b"2", 5).outcome is Outcome.RETRY
        assert len(receiver.exchanges) == 2
        transport.close()


def test_a_new_connection_that_breaks_is_not_tried_twice() -> None:
    with Receiver(faults.reset) as receiver:
        assert post(receiver.url).outcome is Outcome.RETRY
        assert len(receiver.exchanges) == 1


def test_words_nobody_asked_for_end_a_connection() -> None:
    def talkative(exchange: faults.Exchange) -> None:
        answer()(exchange)
        exchange.send(b"HTTP/1.1 200 OK\r\n")
        said.set()

    said = threading.Event()
    with Receiver(talkative, answer()) as receiver:
        transport = HttpTransport(otlp(receiver.url))
        assert transport.post(b"", 30).arrived
        assert said.wait(60)
        assert transport.post(b"", 30).arrived
        transport.close()


def test_after_a_timeout_the_late_answer_is_not_taken_for_the_next() -> None:
    late, answered = threading.Event(), threading.Event()

    def answer_late(exchange: faults.Exchange) -> None:
        late.wait(60)
        try:
            answer()(exchange)
        finally:
            answered.set()

    with Receiver(answer_late, answer(503)) as receiver:
        transport = HttpTransport(otlp(receiver.url))
        assert transport.post(b"", 1).outcome is Outcome.RETRY
        late.set()
        assert answered.wait(60)
        assert transport.post(b"", 30).text.startswith("HTTP 503")
        transport.close()


def test_tls(authority) -> None:
    with Receiver(answer(), faults.sliced, tls=authority.server()) as receiver:
        transport = HttpTransport(otlp(receiver.url, certificate=authority.certificate))
        assert transport.post(request(padding=1 << 20), 10).outcome is Outcome.DELIVERED
        assert transport.post(request(), 10).outcome is Outcome.PARTLY
        assert receiver.connections == 1
        transport.close()


def test_tls_with_a_client_certificate(authority) -> None:
    mine = {"client_certificate": authority.client_certificate, "client_key": authority.client_key}
    with Receiver(answer(), tls=authority.server(client=True)) as receiver:
        assert post(receiver.url, timeout=5, certificate=authority.certificate, **mine).arrived
        assert not post(receiver.url, timeout=5, certificate=authority.certificate).arrived


def test_a_receiver_nobody_vouches_for_is_not_trusted(authority, tmp_path) -> None:
    other = Authority(trustme.CA(), tmp_path)
    with Receiver(answer(), tls=other.server()) as receiver:
        for settings in ({"certificate": authority.certificate}, {}):
            verdict = post(receiver.url, timeout=5, **settings)
            assert verdict.outcome is Outcome.MISDIRECTED
            assert "not trusted" in verdict.text
        assert receiver.exchanges == []


def test_a_certificate_for_another_name_is_not_trusted(authority) -> None:
    server = authority.server()
    authority.ca.issue_cert("other.example").configure_cert(server)
    with Receiver(answer(), tls=server) as receiver:
        verdict = post(receiver.url, timeout=5, certificate=authority.certificate)
    assert verdict.outcome is Outcome.MISDIRECTED


def test_tls_to_a_plain_port(authority) -> None:
    with Receiver(answer()) as receiver:
        verdict = post(f"https://127.0.0.1:{receiver.port}/", timeout=5, certificate=authority.certificate)
    assert (verdict.outcome, "TLS fails" in verdict.text) == (Outcome.MISDIRECTED, True)


def test_tls_to_a_port_that_says_nothing(authority) -> None:
    with faults.silent_listener() as port:
        verdict = post(f"https://127.0.0.1:{port}/", certificate=authority.certificate)
    assert (verdict.outcome, verdict.text) == (Outcome.RETRY, "it cannot be reached in time")


def test_tls_to_a_port_that_hangs_up(authority) -> None:
    with Receiver(answer(), greets=faults.hang_up) as receiver:
        verdict = post(f"https://127.0.0.1:{receiver.port}/", timeout=5, certificate=authority.certificate)
    assert verdict.outcome is Outcome.RETRY


def test_a_handshake_that_drips_ends_in_time(authority) -> None:
    def greet(exchange: faults.Exchange) -> None:
        exchange.send(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")  # a long server hello
        while True:
            exchange.pause(0.1)
            exchange.send(b"\x00")

    with Receiver(answer(), greets=greet) as receiver:
        verdict = post(f"https://127.0.0.1:{receiver.port}/", certificate=authority.certificate)
    assert not verdict.arrived


def test_an_answer_that_drips_within_tls_ends_in_time(authority) -> None:
    with Receiver(faults.drip, tls=authority.server()) as receiver:
        verdict = post(receiver.url, certificate=authority.certificate)
    assert (verdict.outcome, verdict.text) == (Outcome.RETRY, "it does not answer in time")


def test_plain_to_a_tls_port(authority) -> None:
    with Receiver(answer(), tls=authority.server()) as receiver:
        verdict = post(f"http://127.0.0.1:{receiver.port}/", timeout=5)
    assert verdict.outcome in (Outcome.RETRY, Outcome.MISDIRECTED)


def test_renewed_certificates_are_used_for_new_connections(authority, tmp_path) -> None:
    other = Authority(trustme.CA(), tmp_path / "..")
    trusted = tmp_path / "trusted.pem"
    trusted.write_text("")
    trusted.write_bytes(other.ca.cert_pem.bytes())
    with Receiver(answer(), tls=authority.server()) as receiver:
        transport = HttpTransport(otlp(receiver.url, certificate=str(trusted)))
        assert not transport.post(b"", 5).arrived
        trusted.write_text("half a file")
        assert not transport.post(b"", 5).arrived
        trusted.write_bytes(authority.ca.cert_pem.bytes())
        assert transport.post(b"", 5).arrived
        transport.close()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"certificate": "absent.pem"}, "certificate file .*absent.pem.* cannot be read"),
        ({"certificate": "junk.pem"}, "junk.pem.* holds no certificate"),
        ({"client_certificate": "junk.pem", "client_key": "junk.pem"}, "junk.pem.* cannot be used"),
        ({"client_certificate": "client.pem"}, "client.pem.* cannot be used"),
        ({"client_certificate": "client.pem", "client_key": "encrypted.key"}, "encrypted.key.* cannot be used"),
        ({"client_key": "client.key"}, "without a client_certificate"),
    ],
)
def test_files_that_cannot_be_used_are_errors_at_the_start(authority, tmp_path, settings, match) -> None:
    (tmp_path / "junk.pem").write_text("s3cret junk")
    (tmp_path / "encrypted.key").write_bytes(authority.encrypted_client_key())
    for name in ("client.pem", "client.key"):
        (tmp_path / name).write_bytes((authority.directory / name).read_bytes())
    paths = {setting: str(tmp_path / name) for setting, name in settings.items()}
    with pytest.raises(ConfigError, match=match) as raised:
        HttpTransport(otlp("https://127.0.0.1/", **paths))
    assert "s3cret" not in str(raised.value)


_FORK = """
import os, sys
from otelbridge.config.options import Otlp
from otelbridge.otlp.http import HttpTransport
url, certificate = sys.argv[1], sys.argv[2] or None
transport = HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url, certificate=certificate))
print("parent", transport.post(b"parent", 10).arrived, flush=True)
child = os.fork()
if not child:
    transport.close()
    print("child", transport.post(b"child", 10).arrived, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", transport.post(b"parent again", 10).arrived)
transport.close()
"""


@pytest.mark.parametrize("secure", [False, True])
def test_a_child_has_a_connection_of_its_own_and_leaves_its_parents_alone(authority, secure) -> None:
    with Receiver(answer(), tls=authority.server() if secure else None) as receiver:
        printed = faults.run(_FORK, receiver.url, authority.certificate if secure else "")
        numbers = [(exchange.body, exchange.number) for exchange in receiver.exchanges]
    assert printed.splitlines() == ["parent True", "child True", "parent True"]
    assert numbers == [(b"parent", 1), (b"child", 2), (b"parent again", 1)]


def test_a_fork_without_the_interpreters_hook_is_noticed() -> None:
    unhooked = _FORK.replace("import os", "import ctypes, os").replace("os.fork()", "ctypes.PyDLL(None).fork()")
    with Receiver(answer()) as receiver:
        assert "child True" in faults.run(unhooked.replace("    transport.close()\n", ""), receiver.url, "")
        numbers = [(exchange.body, exchange.number) for exchange in receiver.exchanges]
    assert numbers == [(b"parent", 1), (b"child", 2), (b"parent again", 1)]


def test_the_last_request_of_a_process_arrives() -> None:
    script = (
        _FORK.partition("print")[0] + "import atexit\natexit.register(lambda: print(transport.post(b'', 5).arrived))"
    )
    with Receiver(answer()) as receiver:
        assert faults.run(script, f"http://localhost:{receiver.port}/", "") == "True\n"


def test_no_descriptor_and_no_thread_is_left() -> None:
    def count() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208  # a plain count

    with Receiver(answer(), faults.hang_up, faults.hang, faults.cut_short, answer(503), answer()) as receiver:
        post(receiver.url)
    before = count()
    with Receiver(faults.hang_up, faults.hang, faults.cut_short, answer(503), answer()) as receiver:
        transport = HttpTransport(otlp(receiver.url))
        for _ in range(6):
            transport.post(b"", 0.2)
        transport.close()
    post(f"http://127.0.0.1:{free_port()}/")
    assert count() == before
