"""The HTTP proxy on the way to a receiver: the one that is set, or the one that the environment names.

There is no standard for these variables. Where programs differ, this does as curl and requests do, and for gRPC as
grpcio does; only that a receiver on the same machine is reached directly, as Go's programs reach ``localhost``, since
a proxy's ``localhost`` is another machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from otelbridge.config import urls
from otelbridge.diagnostics import warn_once
from otelbridge.errors import ConfigError
from otelbridge.otlp.connection import Address, SocketFile
from otelbridge.otlp.headers import basic_credentials
from otelbridge.otlp.redact import safe_url

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    from otelbridge.otlp.verdict import Verdict

_PORT = 80
_ENTRY = re.compile(r"(?P<name>\[[^\]]*\]|[^:]*):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True)
class Variables:
    """Which variables name the proxy of a kind of request, without ``_proxy``; the first that is set counts."""

    proxy: tuple[str, ...]
    """Those with the proxy's URL."""

    direct: tuple[str, ...]
    """Those with the hosts that are reached without one."""


HTTP = Variables(("http", "all"), ("no",))
"""For requests to ``http://``."""
HTTPS = Variables(("https", "all"), ("no",))
"""For requests to ``https://``."""
# gRPC, doc/environment_variables.md. It asks every proxy for a tunnel, whatever goes through.
GRPC = Variables(("grpc", "https", "http", "all"), ("no_grpc", "no"))
"""For calls of gRPC, with TLS or without."""


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy."""

    address: Address
    """Where it listens."""

    shown: str
    """Its URL without credentials."""

    authorization: str | None = field(repr=False)
    """What it wants to see in ``Proxy-Authorization``."""

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request that are meant for it."""
        return {} if self.authorization is None else {"proxy-authorization": self.authorization}


def choose_proxy(
    setting: str | Literal[False] | None, address: Address | SocketFile, variables: Variables
) -> Proxy | None:
    """Find the proxy on the way to a receiver.

    Args:
        setting: URL of a proxy, False for none, None for the environment's.
        address: Where the receiver listens. No way to a socket of this machine leads through a proxy.
        variables: What of the environment counts.

    Returns:
        The proxy, if there is one. One of the environment that cannot be used costs a warning.

    Raises:
        ConfigError: The setting cannot be used.
    """
    if isinstance(address, SocketFile):
        return None
    if setting is not None:
        url = urls.proxy("The OTLP proxy", setting)
        return _proxy(url) if url else None
    if _is_this_machine(address.host):
        return None
    from urllib.request import getproxies_environment  # takes milliseconds, which most processes need not spend

    said = getproxies_environment()
    name = next((name for name in variables.proxy if name in said), None)
    direct = next((said[each] for each in variables.direct if each in said), "")
    if name is None or _is_listed(address, direct):
        return None
    try:
        url = urls.proxy(f"The variable {name}_proxy (or {name.upper()}_PROXY)", said[name])
    except ConfigError as error:
        warn_once(
            ("otlp", "proxy", name, str(address)), "%s. Until then OTLP goes to %s without a proxy.", error, address
        )
        return None
    return _proxy(url) if url else None


def by_way_of(proxy: Proxy | None, verdict: Verdict) -> Verdict:
    """Name the proxy in the verdict on a request that went through it and did not arrive."""
    if proxy is None or verdict.arrived:
        return verdict
    return replace(verdict, text=f"through the proxy {proxy.shown}: {verdict.text}")


def _proxy(url: str) -> Proxy:
    parts = urlsplit(url)
    return Proxy(
        Address(unquote(parts.hostname or ""), parts.port or _PORT), safe_url(url).rstrip("/"), basic_credentials(url)
    )


def _is_this_machine(host: str) -> bool:
    address = _ip(host)
    if address is None:
        return f".{host}".rstrip(".").endswith(".localhost")  # RFC 6761, section 6.3
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _is_listed(address: Address, direct: str) -> bool:
    return any(_fits(entry.lower(), address) for entry in re.split(r"[\s,]+", direct) if entry)


def _fits(entry: str, address: Address) -> bool:
    if entry == "*":
        return True
    found = _ENTRY.fullmatch(entry)
    if found and int(found["port"]) != address.port:
        return False
    name = found["name"] if found else entry
    ip = _ip(address.host)
    if ip is None:
        host, domain = address.host.rstrip("."), name.removeprefix("*").strip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
    try:
        return ip in ip_network(name.strip("[]"), strict=False)
    except ValueError:
        return False


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
