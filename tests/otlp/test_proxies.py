"""Which proxy is on the way to a receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.utils import should_bypass_proxies

from otelbridge.diagnostics import forget_warnings
from otelbridge.errors import ConfigError
from otelbridge.otlp.connection import Address, SocketFile
from otelbridge.otlp.proxies import GRPC, HTTP, HTTPS, choose_proxy

if TYPE_CHECKING:
    from otelbridge.otlp.proxies import Variables

COLLECTOR = Address("collector.example", 4318)


def chosen(variables: Variables = HTTP, address: Address | SocketFile = COLLECTOR, setting=None) -> str | None:
    """The proxy's address."""
    found = choose_proxy(setting, address, variables)
    return None if found is None else str(found.address)


def test_nothing_said_is_no_proxy() -> None:
    assert [chosen(kind) for kind in (HTTP, HTTPS, GRPC)] == [None] * 3


@pytest.mark.parametrize(
    ("said", "http", "https", "grpc"),
    [
        ({"http_proxy": "http://a:1"}, "a:1", None, "a:1"),
        ({"HTTP_PROXY": "http://a:1"}, "a:1", None, "a:1"),
        ({"https_proxy": "http://a:1"}, None, "a:1", "a:1"),
        ({"HTTPS_PROXY": "http://a:1", "http_proxy": "http://b:2"}, "b:2", "a:1", "a:1"),
        ({"ALL_PROXY": "http://a:1"}, "a:1", "a:1", "a:1"),
        ({"ALL_PROXY": "http://a:1", "http_proxy": "http://b:2"}, "b:2", "a:1", "b:2"),
        ({"grpc_proxy": "http://a:1", "https_proxy": "http://b:2"}, None, "b:2", "a:1"),
        ({"http_proxy": "http://a:1", "HTTP_PROXY": "http://b:2"}, "a:1", None, "a:1"),
        ({"http_proxy": "", "HTTP_PROXY": "http://b:2"}, None, None, None),
        ({"http_proxy": "a"}, "a:80", None, "a:80"),
        ({"http_proxy": "user:pass@[::1]:3128"}, "[::1]:3128", None, "[::1]:3128"),
        # A client's "Proxy:" header is HTTP_PROXY to a CGI program.
        ({"HTTP_PROXY": "http://a:1", "REQUEST_METHOD": "GET"}, None, None, None),
        ({"http_proxy": "http://a:1", "REQUEST_METHOD": "GET"}, "a:1", None, "a:1"),
        ({"all_proxy": "http://a:1", "no_proxy": "collector.example"}, None, None, None),
        ({"all_proxy": "http://a:1", "NO_PROXY": "*"}, None, None, None),
        ({"all_proxy": "http://a:1", "no_grpc_proxy": "example"}, "a:1", "a:1", None),
        ({"all_proxy": "http://a:1", "no_grpc_proxy": "x", "no_proxy": "example"}, None, None, "a:1"),
    ],
)
def test_the_variables(monkeypatch, said, http, https, grpc) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert (chosen(HTTP), chosen(HTTPS), chosen(GRPC)) == (http, https, grpc)


@pytest.mark.parametrize(
    ("no_proxy", "host", "direct"),
    [
        ("example", "collector.example", True),
        (".example", "collector.example", True),
        (".collector.example", "collector.example", True),
        ("*.example", "collector.example", True),
        ("EXAMPLE", "collector.example", True),
        ("example.", "collector.example", True),
        ("example", "collector.example.", True),
        ("ample", "collector.example", False),
        ("tor.example", "collector.example", False),
        ("collector.example:4318", "collector.example", True),
        ("collector.example:4317", "collector.example", False),
        ("a, b ,collector.example", "collector.example", True),
        ("a b collector.example", "collector.example", True),
        ("a,*", "collector.example", True),
        (",", "collector.example", False),
        (".", "collector.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.1/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "collector.example", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:4318", "10.1.2.3", True),
        ("10.1.2.3:80", "10.1.2.3", False),
        ("2.3", "10.1.2.3", False),
        pytest.param("collector.example:" + 5000 * "9", "collector.example", False, id="no port"),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("fd00::1", "fd00::1", True),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]:4318", "fd00::1", True),
        ("[fd00::1]:80", "fd00::1", False),
        ("fd00:0:0::1", "fd00::1", True),
        ("fd00::/8", "fd00::1", True),
        ("10.0.0.0/8", "fd00::1", False),
    ],
)
def test_hosts_that_are_reached_directly(monkeypatch, no_proxy, host, direct) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", no_proxy)
    for kind in (HTTP, HTTPS, GRPC):
        assert (chosen(kind, Address(host, 4318)) is None) is direct


_NAMES = st.from_regex(r"[a-c](\.[a-c]){0,3}", fullmatch=True)
_HOSTS = st.one_of(_NAMES, st.ip_addresses(v=4, network="10.0.0.0/29").map(str))
_ENTRIES = st.one_of(
    _NAMES,
    _NAMES.map(".{}".format),
    _NAMES.map("{}:4318".format),
    st.ip_addresses(v=4, network="10.0.0.0/29").map(str),
    st.just("10.0.0.0/30"),
)


@given(_HOSTS, st.lists(_ENTRIES, max_size=3).map(",".join))
def test_no_proxy_is_read_as_requests_does(host: str, no_proxy: str) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("all_proxy", "http://proxy:1")
        environment.setenv("no_proxy", no_proxy)
        mine = chosen(HTTP, Address(host, 4318)) is None
        assert mine is bool(should_bypass_proxies(f"http://{host}:4318/", None))


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "localhost.", "shop.localhost"],
)
def test_this_machine_is_reached_directly_unless_a_proxy_is_set(monkeypatch, host) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy:1")
    for kind in (HTTP, HTTPS, GRPC):
        assert chosen(kind, Address(host, 4318)) is None
        assert chosen(kind, Address(host, 4318), "http://set:2") == "set:2"


def test_what_is_set_counts_more_than_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy:1")
    assert chosen(setting="http://set:2") == "set:2"
    assert chosen(setting=False) is None
    monkeypatch.setenv("no_proxy", "*")
    assert chosen(setting="http://set:2") == "set:2"


def test_no_way_to_a_socket_leads_through_a_proxy(monkeypatch) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy:1")
    assert chosen(address=SocketFile("/run/otlp.sock")) is None
    assert chosen(address=SocketFile("/run/otlp.sock"), setting="http://set:2") is None


def test_credentials_are_in_the_header_and_nowhere_else() -> None:
    proxy = choose_proxy("http://ann:p%40ss@proxy:3128/", COLLECTOR, HTTP)
    assert proxy is not None
    assert proxy.headers == {"proxy-authorization": "Basic YW5uOnBAc3M="}
    assert proxy.shown == "http://proxy:3128"
    assert "ann" not in repr(proxy)
    assert "YW5u" not in repr(proxy)


@pytest.mark.parametrize("url", ["socks5://user:c4nary@proxy:1080", "https://proxy", "http://user:c4nary@proxy:port"])
def test_a_proxy_that_cannot_be_used(monkeypatch, url, caplog) -> None:
    with pytest.raises(ConfigError, match="The OTLP proxy is") as raised:
        chosen(setting=url)
    assert "c4nary" not in str(raised.value)
    forget_warnings()
    monkeypatch.setenv("ALL_PROXY", url)
    assert chosen() is None
    assert "all_proxy (or ALL_PROXY) is" in caplog.text
    assert "OTLP goes to collector.example:4318 without a proxy" in caplog.text
    assert "c4nary" not in caplog.text
