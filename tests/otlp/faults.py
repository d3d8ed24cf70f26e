"""Receivers that misbehave, over real sockets and real gRPC, and a clock on which outages pass quickly."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from cryptography.hazmat.primitives import serialization
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

if TYPE_CHECKING:
    from pathlib import Path

    import trustme

PROTOBUF = "application/x-protobuf"


def request(name: str = "orders", padding: int = 0) -> bytes:
    """An encoded request with one gauge, and so many bytes of description besides."""
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.name, metric.description = name, "x" * padding
    metric.gauge.data_points.add().as_int = 1
    return message.SerializeToString()


def partial(rejected: int, message: str = "") -> bytes:
    """The body of a partial success."""
    answer = ExportMetricsServiceResponse()
    answer.partial_success.rejected_data_points = rejected
    answer.partial_success.error_message = message
    return answer.SerializeToString()


def failure(message: str, retry_delay: float | None = None) -> bytes:
    """An encoded status, with the order to wait some seconds if there is one."""
    status = status_pb2.Status(message=message)
    if retry_delay is not None:
        info = error_details_pb2.RetryInfo()
        info.retry_delay.FromNanoseconds(int(retry_delay * 1e9))
        detail = any_pb2.Any()
        detail.Pack(info)
        status.details.append(detail)
    return status.SerializeToString()


def zipped_zeros(size: int) -> bytes:
    """So many zeros, compressed without ever being in memory."""
    packer = zlib.compressobj(9, wbits=31)
    block = bytes(1 << 20)
    return b"".join(packer.compress(block) for _ in range(size >> 20)) + packer.flush()


def run(script: str, *arguments: str, **environment: str) -> str:
    """What a Python script prints, in a process that holds nothing of the test's."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the children it has forked
        process.communicate()
        raise
    assert process.returncode == 0
    return printed


class FakeClock:
    """A clock that waits by moving on."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float, event: threading.Event) -> bool:
        if event.is_set():
            return True
        self.waits.append(seconds)
        self.time += seconds
        return event.is_set()


@dataclass
class Exchange:
    """One request that arrived, and the connection it came over."""

    connection: socket.socket
    number: int
    receiver: Receiver
    line: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def pause(self, seconds: float) -> None:
        """Wait, unless the receiver is closed."""
        if self.receiver.closing.wait(seconds):
            raise ConnectionAbortedError


Behaviour = Callable[[Exchange], None]
"""What a receiver does with a request. Raising `OSError` hangs up."""


class Receiver:
    """An HTTP receiver that does with each request what it is told.

    Args:
        behaviours: For the first request, the second, ...; the last one holds for the rest.
        tls: Context of the server, for TLS.
        greets: Done with each connection before anything is read of it.
        port: Where it listens; 0 for any.
        host: Address on which it listens.
        path: Socket on which it listens instead.
    """

    def __init__(
        self,
        *behaviours: Behaviour,
        tls: ssl.SSLContext | None = None,
        greets: Callable[[Exchange], None] | None = None,
        port: int = 0,
        host: str = "127.0.0.1",
        path: str | None = None,
    ) -> None:
        self._behaviours = behaviours
        self._tls = tls
        self._greets = greets
        self.closing = threading.Event()
        self.exchanges: list[Exchange] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        if path is None:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self._listener = socket.create_server((host, port), family=family)
            self.port = self._listener.getsockname()[1]
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen()
        self._start(self._accept)

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1/metrics"

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(60)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            self._start(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            if self._greets:
                self._greets(Exchange(connection, number, self))
            if self._tls:
                plain, connection = connection, self._tls.wrap_socket(connection, server_side=True)
                self._open.discard(plain)
                self._open.add(connection)
            with connection.makefile("rb") as stream:
                while exchange := self._read(stream, connection, number):
                    self.exchanges.append(exchange)
                    index = min(len(self.exchanges), len(self._behaviours)) - 1
                    self._behaviours[index](exchange)
        if not self.closing.is_set():
            self._open.discard(connection)
            connection.close()

    def _read(self, stream, connection: socket.socket, number: int) -> Exchange | None:
        line = stream.readline(4096)
        if not line.startswith(b"POST "):
            if line:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
            return None
        headers = {}
        while (field := stream.readline().decode().strip()) != "":
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        exchange = Exchange(connection, number, self, line.decode().strip(), headers)
        if self._behaviours[min(len(self.exchanges) + 1, len(self._behaviours)) - 1] not in _UNREAD:
            body = stream.read(int(headers["content-length"]))
            exchange.body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        return exchange


def answer(status: int = 200, body: bytes = b"", content_type: str = PROTOBUF, **headers: str) -> Behaviour:
    """Answer as one should."""

    def behave(exchange: Exchange) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
        lines += [f"Content-Type: {content_type}"] if content_type else []
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        exchange.send("\r\n".join([*lines, "", ""]).encode() + body)

    return behave


def hang(exchange: Exchange) -> None:
    """Never answer."""
    exchange.pause(3600)


def drip(exchange: Exchange) -> None:
    """Send an endless header, a byte now and then."""
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Padding: ")
    while True:
        exchange.pause(0.1)
        exchange.send(b"a")


def drip_body(exchange: Exchange) -> None:
    """Send an endless body, a byte now and then."""
    exchange.send(f"HTTP/1.1 200 OK\r\nContent-Type: {PROTOBUF}\r\nContent-Length: 1000\r\n\r\n".encode())
    while True:
        exchange.pause(0.1)
        exchange.send(b"\n")


def drip_failure(exchange: Exchange) -> None:
    """Say that it failed, and then drip the description."""
    exchange.send(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 1000\r\n\r\n")
    while True:
        exchange.pause(0.1)
        exchange.send(b"\n")


def reset(exchange: Exchange) -> None:
    """Cut the connection off."""
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionAbortedError


def reset_midway(exchange: Exchange) -> None:
    """Cut the connection off in the middle of the answer."""
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-")
    exchange.pause(0.1)
    reset(exchange)


def hang_up(exchange: Exchange) -> None:
    """Close the connection without an answer."""
    raise ConnectionAbortedError


def cut_short(exchange: Exchange) -> None:
    """Close the connection in the middle of the body."""
    exchange.send(f"HTTP/1.1 200 OK\r\nContent-Type: {PROTOBUF}\r\nContent-Length: 100\r\n\r\n12345".encode())
    raise ConnectionAbortedError


def cut_short_chunked(exchange: Exchange) -> None:
    """Close the connection in the middle of a chunk."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {PROTOBUF}\r\nTransfer-Encoding: chunked\r\n\r\n"
    exchange.send(f"{head}64\r\n12345".encode())
    raise ConnectionAbortedError


def too_large_early(exchange: Exchange) -> None:
    """Refuse a request by its head alone, and hang up on the rest of it."""
    answer(413, b"at most 10 bytes", "text/plain")(exchange)
    exchange.connection.shutdown(socket.SHUT_WR)
    raise ConnectionAbortedError


def taken_early(exchange: Exchange) -> None:
    """Claim to have taken a request of which only the head was read, and hang up on the rest of it."""
    answer()(exchange)
    exchange.connection.shutdown(socket.SHUT_WR)
    raise ConnectionAbortedError


_UNREAD = (too_large_early, taken_early)


def not_http(exchange: Exchange) -> None:
    """Speak another protocol."""
    exchange.send(b"220 mail.example ESMTP\r\n")
    raise ConnectionAbortedError


def endless_headers(exchange: Exchange) -> None:
    """Send headers for ever."""
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        exchange.send(b"X-Padding: " + b"a" * 1000 + b"\r\n")


def endless_header_line(exchange: Exchange) -> None:
    """Send one header for ever."""
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Padding: ")
    while True:
        exchange.send(b"a" * 1000)


def endless_continue(exchange: Exchange) -> None:
    """Announce an answer for ever."""
    while True:
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def endless_body(length: int | None, status: int = 200, content_type: str = PROTOBUF) -> Behaviour:
    """Send a body for ever, with or without saying how long it is."""

    def behave(exchange: Exchange) -> None:
        said = f"Content-Length: {length}\r\n" if length else ""
        exchange.send(f"HTTP/1.1 {status} OK\r\nContent-Type: {content_type}\r\n{said}\r\n".encode())
        block = b"\n" * 65536
        while True:
            exchange.send(block)

    return behave


def endless_chunks(exchange: Exchange) -> None:
    """Send chunks for ever."""
    exchange.send(f"HTTP/1.1 200 OK\r\nContent-Type: {PROTOBUF}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    chunk = b"10000\r\n" + b"\n" * 65536 + b"\r\n"
    while True:
        exchange.send(chunk)


def sliced(exchange: Exchange) -> None:
    """Answer as one should, in packets of a byte."""
    body = partial(2, "in slices")
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {PROTOBUF}\r\nTransfer-Encoding: chunked\r\n\r\n"
    exchange.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    whole = head.encode() + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    for byte in whole:
        exchange.send(bytes([byte]))


def late(seconds: float) -> Behaviour:
    """Answer as one should, after a while."""

    def behave(exchange: Exchange) -> None:
        exchange.pause(seconds)
        answer()(exchange)

    return behave


def slow_close(exchange: Exchange) -> None:
    """Answer as one should, announce the end of the connection, and take long to come to it."""
    answer(Connection="close")(exchange)
    exchange.pause(3600)


def closing(exchange: Exchange) -> None:
    """Answer as one should, and close without a word of it."""
    answer()(exchange)
    raise ConnectionAbortedError


@contextlib.contextmanager
def silent_listener() -> Iterator[int]:
    """A port on which connections are taken by the system and by nobody else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def full_listener() -> Iterator[int]:
    """A port whose queue of connections is full, so that a further one waits."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@dataclass
class Authority:
    """A certificate authority with a server and a client, as PEM files."""

    ca: trustme.CA
    directory: Path

    def __post_init__(self) -> None:
        self._server = self.ca.issue_cert("127.0.0.1", "localhost")
        self._client = self.ca.issue_cert("client@example.org")
        self.certificate = self._write("ca.pem", self.ca.cert_pem.bytes())
        self.client_certificate = self._write("client.pem", b"".join(p.bytes() for p in self._client.cert_chain_pems))
        self.client_key = self._write("client.key", self._client.private_key_pem.bytes())

    def _write(self, name: str, content: bytes) -> str:
        path = self.directory / name
        path.write_bytes(content)
        return str(path)

    def serve_as(self, *names: str) -> None:
        """Have the server be called something else, too."""
        self._server = self.ca.issue_cert("127.0.0.1", "::1", "localhost", *names)

    def encrypted_client_key(self) -> bytes:
        """The client's key, under a password."""
        key = serialization.load_pem_private_key(self._client.private_key_pem.bytes(), None)
        password = serialization.BestAvailableEncryption(b"password")
        return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, password)

    def server(self, *, client: bool = False) -> ssl.SSLContext:
        """A server's context, that demands a client certificate if told so."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.configure_cert(context)
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            self.ca.configure_trust(context)
        return context

    def grpc_server(self, *, client: bool = False) -> grpc.ServerCredentials:
        """The same for gRPC."""
        chain = b"".join(pem.bytes() for pem in self._server.cert_chain_pems)
        pair = (self._server.private_key_pem.bytes(), chain)
        return grpc.ssl_server_credentials([pair], self.ca.cert_pem.bytes() if client else None, client)


GrpcBehaviour = Callable[[bytes, grpc.ServicerContext], bytes]


class GrpcReceiver:
    """A gRPC receiver that does with each call what it is told.

    Args:
        behaviours: For the first call, the second, ...; the last one holds for the rest.
        credentials: For TLS.
        address: Where it listens, as gRPC writes it.
    """

    def __init__(
        self,
        *behaviours: GrpcBehaviour,
        credentials: grpc.ServerCredentials | None = None,
        address: str = "127.0.0.1:0",
    ) -> None:
        self.calls: list[tuple[bytes, dict[str, str]]] = []
        self.closing = threading.Event()

        def export(body: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls.append((body, dict(context.invocation_metadata())))
            return behaviours[min(len(self.calls), len(behaviours)) - 1](body, context)

        handlers = {"Export": grpc.unary_unary_rpc_method_handler(export)}
        service = "opentelemetry.proto.collector.metrics.v1.MetricsService"
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self.url = f"{'https' if credentials else 'http'}://127.0.0.1:{self.port}"
        self._server.start()

    def __enter__(self) -> GrpcReceiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.stop(None).wait(60)


def grpc_answer(body: bytes = b"") -> GrpcBehaviour:
    """Answer with a message."""
    return lambda _body, _context: body


def grpc_failure(code: str, message: str = "no", retry_delay: float | None = None) -> GrpcBehaviour:
    """Fail with a status, and with the order to wait some seconds if there is one."""

    def behave(_body: bytes, context: grpc.ServicerContext) -> bytes:
        if retry_delay is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", failure(message, retry_delay)),))
        context.abort(getattr(grpc.StatusCode, code), message)
        raise AssertionError

    return behave


def grpc_bomb(size: int) -> GrpcBehaviour:
    """Answer with so many zeros, compressed on the way."""

    def behave(_body: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_compression(grpc.Compression.Gzip)
        return bytes(size)

    return behave
