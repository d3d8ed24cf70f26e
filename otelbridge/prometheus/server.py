"""The endpoint's own port, for processes that serve no HTTP themselves."""

from __future__ import annotations

import socket
import threading
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

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
        except OSError as error:
            raise ConfigError(
                f"The metrics endpoint cannot listen on {config.host}:{config.port} ({error.strerror or error})",
                "Choose another port with prometheus=PrometheusOptions(port=...), port=0 for any free one, "
                "serve it on your application with app=..., or switch it off with prometheus=False",
            ) from error
        self._server.set_app(WsgiEndpoint(pull, config.path))
        self._host = config.host
        self._thread = threading.Thread(target=self._server.serve_forever, name="otelbridge-metrics", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the metrics are, with the port that was really taken."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._server.server_port}{self._path}"

    def close(self) -> None:
        """Stop listening and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


def _resolve(host: str) -> tuple[socket.AddressFamily, str]:
    # IPv4 first: Prometheus is usually told "localhost:9464", and both families need not be served.
    found = socket.getaddrinfo(host or "localhost", None, type=socket.SOCK_STREAM)
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, str(address[0])
