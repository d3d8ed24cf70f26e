"""Every form of an endpoint, against receivers that listen there."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import trustme

import otelbridge
from otelbridge.config.options import Otlp, OtlpOptions
from otelbridge.otlp.endpoint import GrpcEndpoint, grpc_endpoint
from otelbridge.otlp.grpc import GrpcTransport
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.verdict import Outcome
from tests.leftovers import memory_directory
from tests.otlp.faults import Authority, GrpcReceiver, Receiver, answer, grpc_answer, request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.endtoend


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    found = Authority(trustme.CA(), tmp_path_factory.mktemp("tls"))
    found.serve_as()
    return found


@pytest.fixture
def path() -> Iterator[Path]:
    """Where a socket can be; what pytest gives is too deep for one. The name has what URLs and gRPC decode."""
    with memory_directory() as directory:
        yield directory / "otlp%20socket"


def post(url: str, kind: type[HttpTransport | GrpcTransport], timeout: float = 30, **settings):
    """One request over a transport of its own."""
    transport = kind(Otlp(metrics_endpoint=url, traces_endpoint=url, **settings))
    verdict = transport.post(request(), timeout)
    transport.close()
    return verdict


@pytest.mark.parametrize("secure", [False, True])
def test_ipv6_over_http(authority, secure) -> None:
    with Receiver(answer(), tls=authority.server() if secure else None, host="::1") as receiver:
        url = f"{'https' if secure else 'http'}://[::1]:{receiver.port}/v1/metrics"
        assert post(url, HttpTransport, certificate=authority.certificate).arrived
        assert receiver.exchanges[0].headers["host"] == f"[::1]:{receiver.port}"


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("form", ["{scheme}://{host}:{port}", "{host}:{port}"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_grpc_with_and_without_a_scheme(authority, secure, form, host) -> None:
    credentials = authority.grpc_server() if secure else None
    address = f"{'127.0.0.1' if host == 'localhost' else host}:0"
    with GrpcReceiver(grpc_answer(), credentials=credentials, address=address) as receiver:
        url = form.format(scheme="https" if secure else "http", host=host, port=receiver.port)
        said = {} if secure or "://" in url else {"insecure": True}
        assert post(url, GrpcTransport, certificate=authority.certificate, **said).arrived


def test_without_a_scheme_it_is_tls_unless_told_otherwise() -> None:
    with GrpcReceiver(grpc_answer()) as receiver:
        assert not post(f"127.0.0.1:{receiver.port}", GrpcTransport, timeout=0.5).arrived
        assert post(f"127.0.0.1:{receiver.port}", GrpcTransport, insecure=True).arrived


def test_a_socket_over_http(path) -> None:
    with Receiver(answer(), path=str(path)) as receiver:
        url = f"http+unix://user:pass@{quote(str(path), safe='')}/v1/metrics?tenant=1"
        transport = HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url))
        assert [transport.post(request(), 30).outcome for _ in range(2)] == [Outcome.DELIVERED] * 2
        transport.close()
        assert receiver.connections == 1
        (exchange, _) = receiver.exchanges
    assert exchange.line == "POST /v1/metrics?tenant=1 HTTP/1.1"
    assert exchange.headers["host"] == "localhost"
    assert exchange.headers["authorization"] == "Basic dXNlcjpwYXNz"
    assert exchange.body == request()


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}", "http+unix://{quoted}"])
def test_a_socket_over_grpc(path, form) -> None:
    target = f"unix:{quote(str(path))}"
    with GrpcReceiver(grpc_answer(), address=target) as receiver:
        url = form.format(path, quoted=quote(str(path), safe=""))
        assert post(url, GrpcTransport).arrived
        assert receiver.calls[0][0] == request()


def test_a_socket_over_grpc_with_tls(authority, path) -> None:
    target = f"unix:{quote(str(path))}"
    with GrpcReceiver(grpc_answer(), credentials=authority.grpc_server(), address=target):
        assert post(f"unix:{path}", GrpcTransport, certificate=authority.certificate, insecure=False).arrived


@pytest.mark.parametrize("kind", [HttpTransport, GrpcTransport])
def test_a_socket_that_is_not_there(path, kind) -> None:
    verdict = post(f"http+unix://{quote(str(path), safe='')}/v1/metrics", kind, timeout=1)
    assert verdict.outcome is Outcome.RETRY
    assert ("No such file" if kind is HttpTransport else "connect failed") in verdict.text


@pytest.mark.parametrize("kind", [HttpTransport, GrpcTransport])
def test_a_socket_that_nobody_listens_on(path, kind) -> None:
    with Receiver(answer(), path=str(path)):
        pass
    verdict = post(f"http+unix://{quote(str(path), safe='')}/v1/metrics", kind, timeout=1)
    assert verdict.outcome is Outcome.RETRY
    assert ("refused" if kind is HttpTransport else "connect failed") in verdict.text


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_socket_through_the_front_door(path, protocol) -> None:
    endpoint = OtlpOptions(endpoint=f"unix:{path}", protocol=protocol, proxy="http://127.0.0.1:1")
    listens = (
        GrpcReceiver(grpc_answer(), address=f"unix:{quote(str(path))}")
        if protocol == "grpc"
        else Receiver(answer(), path=str(path))
    )
    with listens:
        otelbridge.init(service_name="shop", prometheus=False, otlp=endpoint, instrument=False)
        try:
            otelbridge.business.order(1, "EUR")
            assert otelbridge.force_flush(timeout=30)
        finally:
            otelbridge.shutdown()
        if isinstance(listens, Receiver):
            assert {each.line for each in listens.exchanges} == {"POST /v1/metrics HTTP/1.1"}


def test_the_zone_of_an_ipv6_address_reaches_grpc() -> None:
    found = grpc_endpoint("http://[fe80::1%25eth0]:4317")
    assert isinstance(found, GrpcEndpoint)
    assert found.target == "dns:///[fe80::1%25eth0]:4317"


@pytest.mark.parametrize("host", ["unix", "dns", "ipv4", "ipv6", "xds"])
def test_a_host_may_be_called_as_grpc_calls_a_way_to_resolve_names(host) -> None:
    assert grpc_endpoint(f"{host}:4317").target == grpc_endpoint(f"http://{host}:4317").target == f"dns:///{host}:4317"
