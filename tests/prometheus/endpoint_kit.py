"""What the tests of the scrape endpoint share: certificates, servers, and clients that behave as badly as they like."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import trustme

from otelbridge.prometheus.http1 import Response, message
from otelbridge.prometheus.limits import Limits
from otelbridge.prometheus.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otelbridge.prometheus.tls import ServerTls

SECONDS = 60.0
# A cheap hash of the password "right", as only the cost makes one slow.
CHEAP_HASH = "scrypt$16$8$1$c2FsdHNhbHRzYWx0c2FsdA==$qoFjePMaDY8b3lUpV/r3Ol4XmiGK/Z0GFYlVSVwEZeA="


class Authority:
    """A certificate authority with its files in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.ca = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        self.ca.cert_pem.write_to_path(self.ca_file)

    def issue(self, name: str, *identities: str, into: str | None = None) -> Pair:
        """Make a certificate for some names, in files called after it."""
        certificate = self.ca.issue_cert(*identities)
        pair = Pair(str(self.directory / f"{into or name}.crt"), str(self.directory / f"{into or name}.key"))
        (self.directory / f"{into or name}.crt").write_bytes(b"".join(c.bytes() for c in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(pair.key)
        return pair

    def client(self, pair: Pair | None = None) -> ssl.SSLContext:
        """A client that trusts this authority, and shows a certificate if it has one."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if pair is not None:
            context.load_cert_chain(pair.cert, pair.key)
        return context


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    cert: str
    key: str


def hello(request) -> Response:
    """Answer every request with its path."""
    return message(HTTPStatus.OK, f"hello {request.path}")


@contextmanager
def serving(
    handler: Callable = hello, tls: ServerTls | None = None, host: str = "localhost", **limits
) -> Iterator[Listener]:
    """A server on a free port."""
    listener = Listener(host, 0, handler, tls=tls, limits=Limits(**limits))
    try:
        yield listener
    finally:
        listener.close()
        assert not any(thread.is_alive() for thread in (listener._thread, *listener._workers._threads))


def metrics_threads() -> list[str]:
    """Names of the threads the endpoint has."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("otelbridge-metrics")]


def connect(listener: Listener, context: ssl.SSLContext | None = None) -> socket.socket:
    """A connection, with the handshake done where there is TLS."""
    client = socket.create_connection(("127.0.0.1", listener.port), timeout=SECONDS)
    return client if context is None else context.wrap_socket(client, server_hostname="localhost")


def get(path: str = "/metrics", *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A request."""
    return "\r\n".join((f"{method} {path} HTTP/{version}", "Host: localhost", *fields, "", "")).encode("latin-1")


def read_all(client: socket.socket) -> bytes:
    """Everything until the server closes; a reset counts as closing."""
    received = b""
    try:
        while data := client.recv(65536):
            received += data
    except (ConnectionResetError, ssl.SSLError):
        pass
    return received


def ask(listener: Listener, request: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """The answer to one request on a connection of its own."""
    with connect(listener, context) as client:
        client.sendall(request)
        client.settimeout(SECONDS)
        return read_answer(client)


def read_answer(client: socket.socket) -> bytes:
    """One whole answer, by its length."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = client.recv(65536)
        assert data, f"closed after {received!r}"
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        data = client.recv(65536)
        assert data, f"closed {length - len(body)} bytes early"
        body += data
    return head + b"\r\n\r\n" + body


def open_files() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


def eventually(what: Callable[[], object], message: str = "nothing happened") -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + SECONDS
    while not what():
        assert time.monotonic() < deadline, message
        time.sleep(0.01)


def allow_files(wanted: int) -> None:
    """Raise the limit of open files, as far as this process may."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
