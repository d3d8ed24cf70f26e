"""Metrics through a real proxy: Squid, with and without a user, over HTTP, HTTPS and gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import trustme

from otelbridge.config.options import Otlp
from otelbridge.otlp.grpc import GrpcTransport
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.verdict import Outcome
from tests import receiver
from tests.components import free_port
from tests.otlp.faults import Authority, GrpcReceiver, Receiver, answer, grpc_answer, request, run
from tests.squid import HOST, OTHER_HOST, PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelbridge.otlp.verdict import Verdict
    from tests.squid import Squid

pytestmark = pytest.mark.components

KINDS = ("http", "https", "grpc", "grpc with TLS")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    found = Authority(ca, tmp_path_factory.mktemp("tls"))
    found.serve_as(HOST)
    return found


class Reached:
    """A receiver of one kind, behind the proxy."""

    def __init__(self, kind: str, authority: Authority) -> None:
        self.kind = kind
        secure = kind in ("https", "grpc with TLS")
        self.certificate = authority.certificate if secure else None
        self.grpc = kind.startswith("grpc")
        if self.grpc:
            self.receiver = GrpcReceiver(grpc_answer(), credentials=authority.grpc_server() if secure else None)
        else:
            self.receiver = Receiver(answer(), tls=authority.server() if secure else None)
        self.port = self.receiver.port
        self.scheme = "https" if secure else "http"

    def bodies(self) -> list[bytes]:
        """What has arrived."""
        if isinstance(self.receiver, GrpcReceiver):
            return [body for body, _ in self.receiver.calls]
        return [exchange.body for exchange in self.receiver.exchanges]

    def headers(self) -> list[dict[str, str]]:
        """With what it has arrived."""
        if isinstance(self.receiver, GrpcReceiver):
            return [metadata for _, metadata in self.receiver.calls]
        return [exchange.headers for exchange in self.receiver.exchanges]

    def post(
        self, *, host: str = HOST, port: int | None = None, times: int = 1, timeout: float = 30, **settings: object
    ) -> Verdict:
        """Send something to it; the connection is closed then, so that the proxy has it in its log."""
        url = f"{self.scheme}://{host}:{port or self.port}/v1/metrics"
        transport = (GrpcTransport if self.grpc else HttpTransport)(
            Otlp(metrics_endpoint=url, traces_endpoint=url, certificate=self.certificate, **settings)  # type: ignore[arg-type]
        )
        verdicts = [transport.post(request(), timeout) for _ in range(times)]
        transport.close()
        return verdicts[-1]


@pytest.fixture(params=KINDS)
def reached(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Reached]:
    found = Reached(request.param, authority)
    with found.receiver:
        yield found


def line(reached: Reached, status: int, host: str = HOST, port: int | None = None) -> str:
    """What the proxy logs of one connection."""
    port = port or reached.port
    return (
        f"{status} POST http://{host}:{port}/v1/metrics"
        if reached.kind == "http"
        else f"{status} CONNECT {host}:{port}"
    )


def test_the_setting_leads_through_the_proxy(squid: Squid, reached: Reached) -> None:
    before = len(squid.seen())
    assert reached.post(proxy=squid.url).outcome is Outcome.DELIVERED
    assert squid.seen_since(before) == [line(reached, 200)]
    assert reached.bodies() == [request()]


@pytest.mark.parametrize("spelled", [str.lower, str.upper])
def test_the_environment_leads_through_the_proxy(squid: Squid, reached: Reached, spelled, monkeypatch) -> None:
    before = len(squid.seen())
    monkeypatch.setenv(spelled("http_proxy" if reached.scheme == "http" else "https_proxy"), squid.url)
    assert reached.post().outcome is Outcome.DELIVERED
    assert squid.seen_since(before) == [line(reached, 200)]


def test_a_connection_through_the_proxy_is_kept(squid: Squid, reached: Reached) -> None:
    before = len(squid.seen())
    assert reached.post(proxy=squid.url, times=3).arrived
    requests = 3 if reached.kind == "http" else 1
    assert squid.seen_since(before, requests) == [line(reached, 200)] * requests
    assert len(reached.bodies()) == 3


def test_a_proxy_that_asks_is_told_who_we_are_and_nobody_else(squid: Squid, reached: Reached) -> None:
    before = len(squid.seen())
    assert reached.post(proxy=f"http://{USER}:{quote(PASSWORD)}@127.0.0.1:{squid.asking}").arrived
    assert squid.seen_since(before) == [line(reached, 200)]
    assert all("proxy-authorization" not in headers for headers in reached.headers())


@pytest.mark.parametrize("user", ["", f"{USER}:wr0ng-canary@"])
def test_a_proxy_that_does_not_know_us(squid: Squid, reached: Reached, user: str) -> None:
    verdict = reached.post(proxy=f"http://{user}127.0.0.1:{squid.asking}")
    assert verdict.outcome is Outcome.MISDIRECTED
    assert f"through the proxy http://127.0.0.1:{squid.asking}: " in verdict.text
    assert "407 Proxy Authentication Required (check the user and password in the URL of the proxy)" in verdict.text
    assert "canary" not in repr(verdict)
    assert reached.bodies() == []


def test_a_receiver_that_is_not_there(squid: Squid, reached: Reached) -> None:
    verdict = reached.post(port=free_port(), proxy=squid.url)
    assert verdict.outcome is Outcome.RETRY
    assert f"through the proxy {squid.url}: " in verdict.text
    assert "503" in verdict.text


def test_a_receiver_that_the_proxy_forbids(squid: Squid, reached: Reached) -> None:
    verdict = reached.post(host="forbidden.example", proxy=squid.url)
    assert not verdict.arrived
    assert f"through the proxy {squid.url}: " in verdict.text
    assert "403 Forbidden" in verdict.text
    # A request that is handed over may as well have been refused by the receiver.
    assert verdict.outcome is (Outcome.REFUSED if reached.kind == "http" else Outcome.MISDIRECTED)


def test_a_proxy_that_is_not_there(reached: Reached) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    verdict = reached.post(proxy=proxy)
    assert verdict.outcome is Outcome.RETRY
    assert f"through the proxy {proxy}: " in verdict.text
    assert "refused" in verdict.text


def test_hosts_that_need_no_proxy_are_reached_without_one(squid: Squid, reached: Reached, monkeypatch) -> None:
    before = len(squid.seen())
    monkeypatch.setenv("all_proxy", squid.url)
    monkeypatch.setenv("no_proxy", "127.0.0.0/8, .example")
    # The name is the proxy's alone, so this fails, without the proxy.
    assert "through" not in reached.post(timeout=1).text
    monkeypatch.delenv("no_proxy")
    assert reached.post().arrived
    assert squid.seen_since(before) == [line(reached, 200)]


@pytest.mark.parametrize("setting", [False, ""])
def test_no_proxy_where_there_shall_be_none(squid: Squid, reached: Reached, setting, monkeypatch) -> None:
    before = len(squid.seen())
    monkeypatch.setenv("all_proxy", squid.url)
    assert reached.post(host="localhost", proxy=setting).arrived
    monkeypatch.setenv("no_proxy", "*")
    assert reached.post(host="localhost", proxy=squid.url).arrived, "what is set counts more than NO_PROXY"
    assert squid.seen_since(before) == [line(reached, 200, "localhost")]


def test_a_receiver_with_another_name_is_not_trusted_behind_a_proxy_either(squid: Squid, authority: Authority) -> None:
    for kind in ("https", "grpc with TLS"):
        reached = Reached(kind, authority)
        with reached.receiver:
            verdict = reached.post(host=OTHER_HOST, proxy=squid.url)
            assert not verdict.arrived
            assert reached.bodies() == []


_PROGRAM = """
import sys
from opentelemetry import trace
import otelbridge
otelbridge.init(service_name="shop", prometheus=False, otlp=sys.argv[1], instrument=False, traces=True)
otelbridge.business.order(1, "EUR")
trace.get_tracer("shop").start_span("order").end()
print(otelbridge.force_flush(timeout=30))
"""


def test_metrics_and_spans_of_a_program_arrive_through_the_proxy_of_its_environment(squid: Squid) -> None:
    before = len(squid.seen())
    behind = receiver.Receiver()
    url = f"http://{HOST}:{behind.url.rpartition(':')[2]}"
    proxy = f"http://{USER}:{quote(PASSWORD)}@127.0.0.1:{squid.asking}"
    assert run(_PROGRAM, url, HTTP_PROXY=proxy) == "True\n"
    behind.close()
    expected = {f"200 POST {url}/v1/metrics", f"200 POST {url}/v1/traces"}
    assert {*squid.seen_since(before, 2)} == expected
    assert {path for path, _, _ in behind.requests} == {"/v1/metrics", "/v1/traces"}
