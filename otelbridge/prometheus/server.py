"""The endpoint's own port, for processes that serve no HTTP themselves."""

from __future__ import annotations

import os
import socket
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from weakref import WeakSet
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from otelbridge.diagnostics import logger
from otelbridge.errors import ConfigError
from otelbridge.prometheus.endpoint import WsgiEndpoint

if TYPE_CHECKING:
    from otelbridge.config.options import Prometheus
    from otelbridge.prometheus.reader import PrometheusPull


class _Handler(WSGIRequestHandler):
    timeout = 10  # an idle connection must not hold its thread for ever

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
        """Keep quiet: a line a scrape is noise in the application's log."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: a client that hangs up or says nothing is no trouble of the application's."""
        del request
        logger.debug("A connection of %s to the metrics endpoint broke", client_address, exc_info=True)


class _ServerV6(_Server):
    address_family = socket.AF_INET6


class MetricsServer:
    """An HTTP server on a port of its own, in a daemon thread.

    Args:
        config: Address, port and path.
        pull: Where the text comes from.

    Raises:
        ConfigError: The address cannot be listened on.
    """

    def __init__(self, config: Prometheus, pull: PrometheusPull) -> None:
        self._path = config.path
        try:
            family, address = _resolve(config.host)
            kind = _ServerV6 if family == socket.AF_INET6 else _Server
            self._server = kind((address, config.port), _Handler)
        except (OSError, UnicodeError) as error:  # the latter for a name no host can have
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"The metrics endpoint cannot listen on {config.host}:{config.port} ({reason})",
                "Choose another port with prometheus=PrometheusOptions(port=...), port=0 for any free one, "
                "serve it on your application with app=..., or switch it off with prometheus=False",
            ) from error
        self._server.set_app(WsgiEndpoint(pull, config.path))
        self._host = config.host
        self._pid = os.getpid()
        _servers.add(self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="otelbridge-metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the metrics are, with the port that was really taken."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_port}{self._path}"

    def close(self) -> None:
        """Stop listening and free the port."""
        if self._pid == os.getpid():  # in the child of a fork there is no thread to wait for
            self._server.shutdown()
            self._thread.join(timeout=5)
        self._server.server_close()


# A child would keep the port open after its parent, with nobody to answer.
_servers: WeakSet[MetricsServer] = WeakSet()


def _close_in_child() -> None:
    for server in tuple(_servers):
        server.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def _resolve(host: str) -> tuple[socket.AddressFamily, str]:
    # IPv4 first: Prometheus is usually told "localhost:9464", and both families need not be served.
    found = socket.getaddrinfo(host or "localhost", None, type=socket.SOCK_STREAM)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, str(address[0])
