"""Where the own server may listen: an address others reach is not served to everybody."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

from otelbridge.config.urls import authority
from otelbridge.diagnostics import warn_once
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from otelbridge.prometheus.access import Access
    from otelbridge.prometheus.tls import ServerTls

# The kernel keeps as many connections until they are accepted.
_BACKLOG = 512
_LAST_PORT = 65535


def check_address(host: str, access: Access, tls: ServerTls | None = None) -> None:
    """Make sure that an address others reach is not served to everybody.

    Args:
        host: The address the own server is to listen on.
        access: Who may read.
        tls: The server's TLS, if it has any.

    Raises:
        ConfigError: Others reach the address, nothing is asked of them, and the user did not say that this
            is meant; or certificates are asked for that nobody can show; or there is no such host.
    """
    if access.needs_certificate and (tls is None or not tls.knows_clients):
        raise ConfigError(
            "client_names is set, but clients cannot show certificates",
            "Serve with TLS and the CA of the clients' certificates (tls_client_ca), or leave client_names out",
        )
    _, address = resolve_host(host)
    if access.insecure or _is_loopback(address):
        return
    if access.challenges and tls is None:
        warn_once(
            ("metrics endpoint", "clear text"),
            "The metrics endpoint on %s is sent tokens and passwords in the clear. Give it a certificate "
            "(tls_certificate, tls_key), unless the network encrypts; insecure=True then says that this is meant.",
            host,
        )
    if access.open and not (tls is not None and tls.verifies_clients):
        raise ConfigError(
            f"The metrics endpoint would show its metrics to everybody who reaches {host}",
            "Set a bearer token (bearer_token_file), users (basic_users) or client certificates (tls_client_ca); "
            "or listen on localhost; or say insecure=True where the network itself keeps strangers out",
        )


def resolve_host(host: str) -> tuple[socket.AddressFamily, str]:
    """Find the address to listen on.

    Args:
        host: A name or an address; empty is ``localhost``.

    Returns:
        The family and the address, IPv4 where there are several.

    Raises:
        ConfigError: There is no such host.
    """
    try:
        found = socket.getaddrinfo(host or "localhost", None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter for a name no host can have
        raise ConfigError(
            f"The metrics endpoint cannot listen on {host} ({getattr(error, 'strerror', None) or error})",
            "Give an address of this machine, for instance localhost, 0.0.0.0 or ::",
        ) from error
    # IPv4 first: Prometheus is usually told "localhost:9464", and both families need not be served.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, str(address[0])


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Args:
        host: A name or an address. ``::`` takes IPv4 too where the system allows it.
        port: A port; 0 takes a free one.

    Returns:
        A listening socket that does not block.

    Raises:
        ConfigError: The address cannot be listened on.
    """
    family, address = resolve_host(host)
    if not 0 <= port <= _LAST_PORT:
        raise ConfigError(
            f"The metrics endpoint cannot listen on {authority(host, port)}, which is no port",
            "Give one from 0 to 65535",
        )
    both = family == socket.AF_INET6 and address == "::" and socket.has_dualstack_ipv6()
    try:
        listening = socket.create_server((address, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        raise ConfigError(
            f"The metrics endpoint cannot listen on {authority(host, port)} ({error.strerror})",
            "Choose another port with prometheus=PrometheusOptions(port=...) or OTEL_EXPORTER_PROMETHEUS_PORT (0 takes "
            "any free one), serve it on your application with app=..., or switch it off with prometheus=False",
        ) from error
    listening.setblocking(False)
    return listening


def _is_loopback(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    return (mapped or ip).is_loopback
