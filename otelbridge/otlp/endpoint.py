"""What an endpoint means for a transport: where to connect, and what the receiver is called there."""

from __future__ import annotations

import string
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from otelbridge.config import urls
from otelbridge.errors import ConfigError
from otelbridge.otlp.connection import Address, SocketFile
from otelbridge.otlp.redact import safe_url

_PORTS = {"http": 80, "https": 443}
_PRINTABLE = string.ascii_letters + string.digits + string.punctuation


@dataclass(frozen=True)
class HttpEndpoint:
    """A receiver of OTLP/HTTP."""

    address: Address | SocketFile
    """Where it listens."""

    host: str
    """The ``Host`` header."""

    target: str
    """The target of the request line."""

    secure: bool
    """Whether with TLS."""


@dataclass(frozen=True)
class GrpcEndpoint:
    """A receiver of OTLP/gRPC."""

    address: Address | SocketFile
    """Where it listens."""

    secure: bool | None
    """Whether with TLS; None where the form of the endpoint does not say."""

    @property
    def target(self) -> str:
        """How gRPC calls it."""
        return f"unix:{quote(self.address.path)}" if isinstance(self.address, SocketFile) else dns_target(self.address)


def dns_target(address: Address) -> str:
    """Give an address as gRPC's targets have it, also where its host is called like one of gRPC's schemes."""
    return f"dns:///{str(address).replace('%', '%25')}"  # gRPC decodes what is percent-encoded


def http_endpoint(url: str) -> HttpEndpoint:
    """Read the endpoint of OTLP/HTTP.

    Args:
        url: An endpoint that names a path, as `otelbridge.config.urls.for_http` makes them.

    Returns:
        What it means.

    Raises:
        ConfigError: Its host is no name that a host can have.
    """
    parts = urlsplit(url)
    target = quote(parts.path or "/", safe=_PRINTABLE) + (
        f"?{quote(parts.query, safe=_PRINTABLE)}" if parts.query else ""
    )
    path = urls.socket_path(url)
    if path is not None:
        return HttpEndpoint(SocketFile(path), "localhost", target, secure=False)
    address = _address(url)
    # The zone of an IPv6 address means nothing to anybody else.
    host = urls.authority(
        address.host.partition("%")[0], None if address.port == _PORTS[parts.scheme] else address.port
    )
    return HttpEndpoint(address, host, target, secure=parts.scheme == "https")


def grpc_endpoint(url: str) -> GrpcEndpoint:
    """Read the endpoint of OTLP/gRPC.

    Args:
        url: An endpoint; of a URL scheme, host and port count.

    Returns:
        What it means.

    Raises:
        ConfigError: Its host is no name that a host can have.
    """
    path = urls.socket_path(url)
    if path is not None:
        return GrpcEndpoint(SocketFile(path), secure=False)
    if urls.is_bare(url):
        return GrpcEndpoint(_address(f"https://{url}"), secure=None)
    return GrpcEndpoint(_address(url), secure=urlsplit(url).scheme == "https")


def _address(url: str) -> Address:
    parts = urlsplit(url)
    try:
        # The zone of an IPv6 address stands behind an encoded percent sign (RFC 6874).
        host = unquote(parts.hostname or "").encode("idna").decode()
    except UnicodeError:
        raise ConfigError(
            f"The OTLP endpoint {safe_url(url)!r} has a host that no name can be", "Give a host name or an IP address"
        ) from None
    return Address(host, parts.port or _PORTS[parts.scheme])
