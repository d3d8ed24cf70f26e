"""OTLP/gRPC against a real server of grpcio, and against sockets that are none."""

from __future__ import annotations

import time

import grpc
import pytest
import trustme

from otelbridge.config.options import Otlp
from otelbridge.errors import ConfigError
from otelbridge.otlp.grpc import GrpcTransport
from otelbridge.otlp.verdict import MAX_ANSWER, Outcome
from tests.components import free_port
from tests.otlp import faults
from tests.otlp.faults import Authority, GrpcReceiver, Receiver, answer, grpc_answer, grpc_failure, request

pytestmark = pytest.mark.endtoend

TIMEOUT = 0.5
# What a slow machine may add. A deadline that does not hold is missed by hours here.
SLACK = 30.0


def otlp(url: str, **settings) -> Otlp:
    return Otlp(metrics_endpoint=url, traces_endpoint=url, protocol="grpc", **settings)


def post(url: str, body: bytes = b"", timeout: float = 5, **settings):
    """One call over a transport of its own, that keeps its time."""
    transport = GrpcTransport(otlp(url, **settings))
    begun = time.monotonic()
    verdict = transport.post(body, timeout)
    assert time.monotonic() - begun < timeout + SLACK
    transport.close()
    return verdict


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> Authority:
    return Authority(trustme.CA(), tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_request_arrives_whole_with_its_headers(compression) -> None:
    with GrpcReceiver(grpc_answer()) as receiver:
        verdict = post(receiver.url, request(padding=8000), headers={"x-key": "k1"}, compression=compression)
        ((body, metadata),) = receiver.calls
    assert verdict.outcome is Outcome.DELIVERED
    assert body == request(padding=8000)
    assert metadata["x-key"] == "k1"
    assert metadata["user-agent"].startswith("otelbridge-otlp-exporter-python/")


def test_a_user_in_the_url_is_basic_authentication() -> None:
    with GrpcReceiver(grpc_answer()) as receiver:
        post(f"http://ann:p%40ss@127.0.0.1:{receiver.port}")
        assert receiver.calls[0][1]["authorization"] == "Basic YW5uOnBAc3M="


def test_a_receiver_on_this_machine_needs_no_proxy(monkeypatch) -> None:
    with GrpcReceiver(grpc_answer()) as receiver:
        for name in ("http_proxy", "https_proxy", "grpc_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        assert post(receiver.url).arrived


def _hang(_body: bytes, context: grpc.ServicerContext) -> bytes:
    while context.is_active():
        time.sleep(0.02)
    return b""


FAULTS = {
    "never answers": (_hang, Outcome.RETRY, "DEADLINE_EXCEEDED"),
    "partial success": (grpc_answer(faults.partial(7, "too old")), Outcome.PARTLY, "7 data points; it says: too old"),
    "warning": (grpc_answer(faults.partial(0, "long names")), Outcome.DELIVERED, "long names"),
    "garbage": (grpc_answer(b"\xff\xfe\xfd"), Outcome.MISDIRECTED, "no OTLP message"),
    "page": (grpc_answer(b"<html>login</html>"), Outcome.MISDIRECTED, "no OTLP message"),
    "too long": (grpc_answer(bytes(MAX_ANSWER + 1)), Outcome.REFUSED, "larger than max"),
    "raises": (lambda body, context: 1 / 0, Outcome.REFUSED, "UNKNOWN"),
    "UNAVAILABLE": (grpc_failure("UNAVAILABLE", "no room"), Outcome.RETRY, "no room"),
    "RESOURCE_EXHAUSTED": (grpc_failure("RESOURCE_EXHAUSTED", "no room"), Outcome.REFUSED, "no room"),
    "CANCELLED": (grpc_failure("CANCELLED"), Outcome.RETRY, "CANCELLED"),
    "UNAUTHENTICATED": (grpc_failure("UNAUTHENTICATED"), Outcome.REFUSED, "check the credentials"),
    "INVALID_ARGUMENT": (grpc_failure("INVALID_ARGUMENT"), Outcome.REFUSED, "INVALID_ARGUMENT"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_verdict_in_time(fault) -> None:
    behaviour, outcome, text = FAULTS[fault]
    with GrpcReceiver(behaviour) as receiver:
        verdict = post(receiver.url, request(), TIMEOUT if fault == "never answers" else 5)
        assert len(receiver.calls) == 1
    assert verdict.outcome is outcome
    assert text in verdict.text


@pytest.mark.parametrize("code", ["RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_the_receiver_says_when_to_come_again(code) -> None:
    with GrpcReceiver(grpc_failure(code, "slow down", 2.5)) as receiver:
        verdict = post(receiver.url)
    assert (verdict.outcome, verdict.retry_after, verdict.message) == (Outcome.RETRY, 2.5, "slow down")


def test_a_service_that_takes_no_metrics() -> None:
    server = grpc.server(faults.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    verdict = post(f"http://127.0.0.1:{port}")
    server.stop(None).wait(60)
    assert (verdict.outcome, "UNIMPLEMENTED (check that" in verdict.text) == (Outcome.REFUSED, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "no-such-host.invalid"])
def test_nothing_listens(host) -> None:
    assert post(f"http://{host}:{free_port()}").outcome is Outcome.RETRY


def test_a_listener_that_says_nothing() -> None:
    with faults.silent_listener() as port:
        assert post(f"http://127.0.0.1:{port}", timeout=TIMEOUT).outcome is Outcome.RETRY


def test_a_full_queue_of_connections() -> None:
    with faults.full_listener() as port:
        assert post(f"http://127.0.0.1:{port}", timeout=TIMEOUT).outcome is Outcome.RETRY


@pytest.mark.parametrize("behaviour", [faults.drip, faults.reset, faults.hang_up, faults.not_http, answer(200)])
def test_what_speaks_no_http_2(behaviour) -> None:
    with Receiver(greets=behaviour) as receiver:
        verdict = post(receiver.url, timeout=TIMEOUT)
    assert not verdict.arrived


def test_tls(authority) -> None:
    with GrpcReceiver(grpc_answer(), credentials=authority.grpc_server()) as receiver:
        assert post(receiver.url, certificate=authority.certificate).arrived
        assert not post(receiver.url, timeout=TIMEOUT).arrived
        plain = receiver.url.replace("https", "http")
        assert post(plain, certificate=authority.certificate, insecure=False).arrived
        assert not post(plain, timeout=TIMEOUT).arrived


def test_tls_with_a_client_certificate(authority, tmp_path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(
        (authority.directory / "client.key").read_bytes() + (authority.directory / "client.pem").read_bytes()
    )
    mine = {"client_certificate": authority.client_certificate, "client_key": authority.client_key}
    with GrpcReceiver(grpc_answer(), credentials=authority.grpc_server(client=True)) as receiver:
        assert post(receiver.url, certificate=authority.certificate, **mine).arrived
        assert post(receiver.url, certificate=authority.certificate, client_certificate=str(both)).arrived
        assert not post(receiver.url, timeout=TIMEOUT, certificate=authority.certificate).arrived


def test_tls_to_a_plain_port(authority) -> None:
    with GrpcReceiver(grpc_answer()) as receiver:
        url = receiver.url.replace("http", "https")
        assert not post(url, timeout=TIMEOUT, certificate=authority.certificate).arrived


def test_renewed_certificates_make_a_new_channel(authority, tmp_path) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(trustme.CA().cert_pem.bytes())
    with GrpcReceiver(grpc_answer(), credentials=authority.grpc_server()) as receiver:
        transport = GrpcTransport(otlp(receiver.url, certificate=str(trusted)))
        assert not transport.post(b"", TIMEOUT).arrived
        trusted.unlink()
        assert not transport.post(b"", TIMEOUT).arrived
        trusted.write_bytes(authority.ca.cert_pem.bytes())
        assert transport.post(b"", 5).arrived
        transport.close()


@pytest.mark.parametrize("name", ["te", "host", "grpc-timeout", "trace-bin", "x!y"])
def test_headers_that_cannot_be_metadata(name) -> None:
    with pytest.raises(ConfigError, match=name) as raised:
        GrpcTransport(otlp("http://127.0.0.1", headers={name: "s3cret"}))
    assert "s3cret" not in str(raised.value)


def test_an_unusable_file_is_an_error_at_the_start(tmp_path) -> None:
    (tmp_path / "junk.pem").write_text("s3cret")
    with pytest.raises(ConfigError, match="holds no certificate"):
        GrpcTransport(otlp("https://127.0.0.1", certificate=str(tmp_path / "junk.pem")))
    with pytest.raises(ConfigError, match="cannot be read"):
        GrpcTransport(otlp("http://127.0.0.1", certificate=str(tmp_path / "absent.pem")))


def test_after_close_a_call_opens_a_new_channel() -> None:
    with GrpcReceiver(grpc_answer()) as receiver:
        transport = GrpcTransport(otlp(receiver.url))
        transport.close()
        assert transport.post(b"", 5).arrived
        transport.close()
        assert transport.post(b"", 5).arrived
        transport.close()


_PRELUDE = """
import os, resource, sys, time
from otelbridge.config.options import Otlp
from otelbridge.otlp.grpc import GrpcTransport
url = sys.argv[1]
transport = GrpcTransport(Otlp(metrics_endpoint=url, traces_endpoint=url, protocol="grpc"))
"""


def test_a_gzip_bomb_takes_little_memory() -> None:
    script = """
transport.post(b"", 5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(transport.post(b"", 30).outcome.name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    with GrpcReceiver(grpc_answer(), faults.grpc_bomb(100 << 20)) as receiver:
        outcome, kibibytes = faults.run(_PRELUDE + script, receiver.url).split()
    assert outcome == "REFUSED"
    assert int(kibibytes) < 20 * 1024


_FORKS = """
import threading
assert transport.post(b"parent", 10).arrived
busy = threading.Thread(target=transport.post, args=(b"busy", 60))
if len(sys.argv) > 2:
    busy.start()
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
for turn in range(3):
    child = os.fork()
    if not child:
        verdict = transport.post(b"child", 10.0)
        transport.close()
        print("child", verdict.outcome.name, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
if len(sys.argv) > 2:
    busy.join()
print("parent", transport.post(b"parent", 10).outcome.name)
os._exit(0)
"""
_ALL_ARRIVE = ["child DELIVERED"] * 3 + ["parent DELIVERED"]


@pytest.mark.parametrize("environment", [{}, {"GRPC_ENABLE_FORK_SUPPORT": "1"}])
def test_children_have_channels_of_their_own(environment) -> None:
    with GrpcReceiver(grpc_answer()) as receiver:
        assert faults.run(_PRELUDE + _FORKS, receiver.url, **environment).splitlines() == _ALL_ARRIVE
        assert sorted(body for body, _ in receiver.calls) == [b"child"] * 3 + [b"parent"] * 2


@pytest.mark.parametrize("environment", [{}, {"GRPC_ENABLE_FORK_SUPPORT": "1"}])
def test_children_forked_during_a_call_can_call(environment, tmp_path) -> None:
    arrived = tmp_path / "arrived"

    def answer_late(_body: bytes, _context: grpc.ServicerContext) -> bytes:
        arrived.touch()
        time.sleep(1)
        return b""

    with GrpcReceiver(grpc_answer(), answer_late, grpc_answer()) as receiver:
        printed = faults.run(_PRELUDE + _FORKS, receiver.url, str(arrived), PYTHONWARNINGS="ignore", **environment)
    assert printed.splitlines() == _ALL_ARRIVE


def test_a_child_of_a_process_that_forbids_grpc_to_fork_says_so_and_leaves_grpc_alone() -> None:
    with GrpcReceiver(grpc_answer()) as receiver:
        printed = faults.run(_PRELUDE + _FORKS, receiver.url, GRPC_ENABLE_FORK_SUPPORT="0")
        assert [body for body, _ in receiver.calls] == [b"parent"] * 2
    assert printed.splitlines() == ["child MISDIRECTED"] * 3 + ["parent DELIVERED"]


def test_a_channel_first_opened_in_a_child_needs_no_support() -> None:
    with GrpcReceiver(grpc_answer()) as receiver:
        forks = _FORKS.replace("assert transport", "0 and transport")
        assert faults.run(_PRELUDE + forks, receiver.url, GRPC_ENABLE_FORK_SUPPORT="0").splitlines() == _ALL_ARRIVE


def test_without_grpcio_the_error_names_the_extra() -> None:
    script = (
        "import sys; sys.modules['grpc'] = None\ntry:\n    exec(sys.argv[2])\nexcept ImportError as error: print(error)"
    )
    assert "otelbridge[grpc]" in faults.run(script, "http://127.0.0.1", _PRELUDE)


def test_the_last_call_of_a_process_arrives() -> None:
    script = "import atexit\natexit.register(lambda: print(transport.post(b'last', 5).arrived))"
    with GrpcReceiver(grpc_answer()) as receiver:
        assert faults.run(_PRELUDE + script, receiver.url) == "True\n"
        assert receiver.calls[0][0] == b"last"
