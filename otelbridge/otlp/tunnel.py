"""A way to a receiver through an HTTP proxy that sees nothing of what goes through."""

from __future__ import annotations

import http.client
from contextlib import closing
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from otelbridge.otlp.http_messages import MAX_HEAD, describe, request_head
from otelbridge.otlp.verdict import USER_AGENT

if TYPE_CHECKING:
    import socket

    from otelbridge.otlp.connection import Address, Connection, Deadline
    from otelbridge.otlp.proxies import Proxy
    from otelbridge.otlp.verdict import HttpAnswer


class NoTunnelError(Exception):
    """A proxy opened no tunnel.

    Args:
        answer: What it said.
    """

    def __init__(self, answer: HttpAnswer) -> None:
        super().__init__()
        self.answer = answer


def open_tunnel(connection: Connection, to: Address, proxy: Proxy, deadline: Deadline) -> None:
    """Have a proxy connect us to an address (RFC 9110, section 9.3.6).

    Args:
        connection: One to the proxy. What is sent on it from now on reaches the address.
        to: The address.
        proxy: The proxy.
        deadline: When the tunnel has to be there.

    Raises:
        NoTunnelError: The proxy will not.
        OSError: The connection is broken; `TimeoutError` when it is not done in time.
        http.client.HTTPException: What the proxy says is not HTTP.
    """
    fields = {"host": str(to), "user-agent": USER_AGENT, **proxy.headers}
    connection.expect(MAX_HEAD, deadline)
    connection.send((request_head("CONNECT", str(to), fields),), deadline)
    with closing(http.client.HTTPResponse(cast("socket.socket", connection), method="CONNECT")) as response:
        response.begin()
        if not HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
            raise NoTunnelError(describe(response, None))
