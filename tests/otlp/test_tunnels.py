"""Proxies that misbehave: every fault has its verdict, in its time, and names the proxy without its credentials."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest

from otelbridge.config.options import Otlp
from otelbridge.otlp.delivery import Delivery
from otelbridge.otlp.grpc import GrpcTransport
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.verdict import Outcome
from tests.otlp import faults
from tests.otlp.faults import Exchange, Receiver, answer

if TYPE_CHECKING:
    from otelbridge.otlp.verdict import Verdict

pytestmark = pytest.mark.endtoend

TIMEOUT = 0.5
# What a slow machine may add. A deadline that does not hold is missed by hours here.
SLACK = 30.0
USER, PASSWORD = "ann", "c4nary-pass"
TOKEN = "YW5uOmM0bmFyeS1wYXNz"


def through(proxy: Receiver, url: str, kind: type[HttpTransport | GrpcTransport] = HttpTransport) -> Verdict:
    """One request through a proxy, that keeps its time."""
    where = f"http://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}"
    transport = kind(Otlp(metrics_endpoint=url, traces_endpoint=url, proxy=where))
    begun = time.monotonic()
    verdict = transport.post(b"", TIMEOUT)
    assert time.monotonic() - begun < TIMEOUT + SLACK
    transport.close()
    if not verdict.arrived:
        assert verdict.text.startswith(f"through the proxy http://127.0.0.1:{proxy.port}: ")
    assert PASSWORD not in f"{verdict!r} {transport!r}"
    assert TOKEN not in f"{verdict!r} {transport!r}"
    return verdict


def test_a_request_that_is_handed_over_names_the_whole_url() -> None:
    with Receiver(answer()) as proxy:
        assert through(proxy, "http://user:pw@collector.example:4318/otlp/v1/metrics?tenant=1").arrived
        (exchange,) = proxy.exchanges
    assert exchange.line == "POST http://collector.example:4318/otlp/v1/metrics?tenant=1 HTTP/1.1"
    assert exchange.headers["host"] == "collector.example:4318"
    assert exchange.headers["proxy-authorization"] == f"Basic {TOKEN}"
    assert exchange.headers["authorization"] == "Basic dXNlcjpwdw=="


def test_an_ipv6_address_is_handed_over_in_brackets() -> None:
    with Receiver(answer()) as proxy:
        assert through(proxy, "http://[fd00::1]/").arrived
        assert proxy.exchanges[0].line == "POST http://[fd00::1]/ HTTP/1.1"


def _says(text: str):
    """A proxy that reads the request for a tunnel, and says something."""

    def greet(exchange: Exchange) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += exchange.connection.recv(4096)
        exchange.line = head.decode()
        exchange.send(text.replace("{line}", head.decode().replace("\r\n", " ")).encode())
        raise ConnectionAbortedError

    return greet


FAULTS = {
    "never answers": (faults.hang, Outcome.RETRY, "cannot be reached in time"),
    "drips": (faults.drip, Outcome.RETRY, "cannot be reached in time"),
    "resets": (faults.reset, Outcome.RETRY, ""),
    "hangs up": (_says(""), Outcome.RETRY, "closed the connection without an answer"),
    "not HTTP": (_says("220 mail.example ESMTP\r\n"), Outcome.MISDIRECTED, "not HTTP"),
    "endless headers": (faults.endless_headers, Outcome.MISDIRECTED, "longer than"),
    "endless header line": (faults.endless_header_line, Outcome.MISDIRECTED, "longer than"),
    "endless continue": (faults.endless_continue, Outcome.MISDIRECTED, "longer than"),
    "opens and hangs up": (_says("HTTP/1.1 200 OK\r\n\r\n"), Outcome.RETRY, "closed the connection during TLS"),
    "opens and talks": (_says("HTTP/1.0 200 Connection established\r\n\r\nhello"), Outcome.RETRY, "TLS"),
    "redirects": (_says("HTTP/1.1 302 Found\r\nLocation: http://login/{line}\r\n\r\n"), Outcome.MISDIRECTED, "302"),
    "asks for a user": (_says("HTTP/1.1 407 {line}\r\n\r\n"), Outcome.MISDIRECTED, "check the user and password"),
    "forbids": (_says("HTTP/1.1 403 Forbidden\r\n\r\n{line}"), Outcome.MISDIRECTED, "the proxy forbids it"),
    "is a web server": (_says("HTTP/1.1 405 Method Not Allowed\r\n\r\n"), Outcome.MISDIRECTED, "it is no proxy"),
    "cannot resolve": (_says("HTTP/1.1 500 Unable to connect\r\n\r\n"), Outcome.RETRY, "HTTP 500"),
    "has no gateway": (_says("HTTP/1.1 502 Bad Gateway\r\n\r\n{line}"), Outcome.RETRY, "HTTP 502"),
    "is busy": (_says("HTTP/1.1 503 Busy\r\nRetry-After: 9\r\n\r\n"), Outcome.RETRY, "HTTP 503"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_tunnel_has_its_verdict_in_time(fault) -> None:
    behaviour, outcome, text = FAULTS[fault]
    with Receiver(answer(), greets=behaviour) as proxy:
        verdict = through(proxy, "https://collector.example:4318/v1/metrics")
    assert verdict.outcome is outcome
    assert text in verdict.text
    assert verdict.retry_after == (9 if fault == "is busy" else None)


@pytest.mark.parametrize("fault", FAULTS)
def test_grpc_comes_back_from_every_fault(fault) -> None:
    behaviour, _, _ = FAULTS[fault]
    with Receiver(answer(), greets=behaviour) as proxy:
        verdict = through(proxy, "http://collector.example:4317", GrpcTransport)
    assert not verdict.arrived
    if fault in ("asks for a user", "forbids"):
        assert verdict.outcome is Outcome.MISDIRECTED


def test_what_is_asked_of_a_proxy_for_a_tunnel() -> None:
    asked: list[str] = []

    def greet(exchange: Exchange) -> None:
        asked.append(exchange.connection.recv(4096).decode())
        raise ConnectionAbortedError

    with Receiver(answer(), greets=greet) as proxy:
        through(proxy, "https://user:pw@[fd00::1]/v1/metrics?x=1")
    line, *fields = asked[0].split("\r\n")
    assert line == "CONNECT [fd00::1]:443 HTTP/1.1"
    assert {each.partition(":")[0] for each in fields if each} == {"host", "user-agent", "proxy-authorization"}


@pytest.mark.parametrize("status", [401, 407, 503])
def test_an_answer_that_repeats_the_proxys_credentials_is_not_logged_with_them(status, caplog, capfd) -> None:
    caplog.set_level(logging.DEBUG)

    def echo(exchange: Exchange) -> None:
        answer(status, f"{exchange.line} {exchange.headers}".encode(), "text/plain")(exchange)

    with Receiver(echo) as proxy:
        url = "http://collector.example/v1/metrics"
        where = f"http://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}"
        delivery = Delivery(
            HttpTransport(Otlp(metrics_endpoint=url, traces_endpoint=url, proxy=where)), "http://collector.example"
        )
        report = delivery.send([b""], TIMEOUT)
        delivery.close()
        assert TOKEN in str(proxy.exchanges[0].headers)
    said = "\n".join([repr(report), caplog.text, *capfd.readouterr()])
    assert f"through the proxy http://127.0.0.1:{proxy.port}" in caplog.text
    for secret in (PASSWORD, TOKEN):
        assert secret not in said
