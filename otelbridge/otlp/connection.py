"""A connection to a receiver on which everything together ends by a deadline."""

from __future__ import annotations

import contextlib
import io
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from otelbridge.config.urls import authority
from otelbridge.otlp.bounded import within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    Found = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]]

_SLICE = 64 * 1024


class Deadline:
    """A moment that no wait goes beyond.

    Args:
        seconds: From now.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Give the seconds left.

        Returns:
            More than 0.

        Raises:
            TimeoutError: There are none.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def within(self, seconds: float) -> Deadline:
        """Make a deadline that comes after some seconds, or with this one if that is earlier."""
        return Deadline(min(seconds, self._end - time.monotonic()))


class AnswerTooLongError(Exception):
    """An answer has more bytes than are read."""


@dataclass(frozen=True)
class Address:
    """Where a receiver listens."""

    host: str
    """Name or address, IPv6 without brackets."""

    port: int
    """TCP port."""

    def __str__(self) -> str:
        return authority(self.host, self.port)


@dataclass(frozen=True)
class SocketFile:
    """A Unix domain socket."""

    path: str
    """Where it is."""


class Connection:
    """One connection, plain until it is secured.

    A socket's own timeout holds for each operation, and a peer that sends a byte now and then never meets
    it. So every operation here gets what is left until the deadline.

    Args:
        address: Where to.
        deadline: When it has to be there.

    Raises:
        OSError: It cannot be had; `TimeoutError` when not in time.
    """

    def __init__(self, address: Address | SocketFile, deadline: Deadline) -> None:
        self.received = 0
        """Bytes received so far."""
        self._limit = 0
        self._deadline = deadline
        self._socket = _connect(address, deadline)

    def secure(self, context: ssl.SSLContext, host: str, deadline: Deadline) -> None:
        """Speak TLS from now on.

        Args:
            context: How.
            host: Whose certificate the peer has to show.
            deadline: When shaking hands has to be done.

        Raises:
            OSError: `ssl.SSLError` when it fails, `TimeoutError` when not in time.
        """
        self._socket = _secure(self._socket, context, host, deadline)

    def is_idle(self) -> bool:
        """Whether the peer has neither closed the connection nor said anything that nobody asked for."""
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def send(self, parts: Sequence[bytes], deadline: Deadline) -> None:
        """Send everything.

        Args:
            parts: What to send, in order.
            deadline: When all of it has to be handed over.

        Raises:
            OSError: It cannot be sent; `TimeoutError` when not in time.
        """
        for part in parts:
            rest = memoryview(part)
            while rest:
                self._socket.settimeout(deadline.remaining())
                rest = rest[self._socket.send(rest[:_SLICE]) :]

    def expect(self, limit: int, deadline: Deadline) -> None:
        """Say how much may come from now on, and until when; reading beyond it raises.

        Args:
            limit: Most bytes.
            deadline: When the last of them has to be here.
        """
        self._limit, self._deadline = self.received + limit, deadline

    def receive_into(self, buffer: Buffer) -> int:
        """Receive some bytes.

        Args:
            buffer: Where to put them.

        Returns:
            How many; 0 once the peer has closed the connection.

        Raises:
            AnswerTooLongError: More than expected came.
            OSError: The connection is broken; `TimeoutError` when nothing came in time.
        """
        self._socket.settimeout(self._deadline.remaining())
        count = self._socket.recv_into(buffer)
        self.received += count
        if self.received > self._limit:
            raise AnswerTooLongError
        return count

    def makefile(self, mode: str) -> io.BufferedReader:
        """Give a stream of what comes, as `http.client.HTTPResponse` asks a socket for one."""
        del mode
        return io.BufferedReader(_Stream(self))

    def close(self) -> None:
        """Close it, without a word to the peer: in a forked child the conversation is the parent's."""
        with contextlib.suppress(OSError):
            self._socket.close()


class _Stream(io.RawIOBase):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        return self._connection.receive_into(buffer)


def _connect(address: Address | SocketFile, deadline: Deadline) -> socket.socket:
    if isinstance(address, SocketFile):
        return _connect_to(socket.AF_UNIX, socket.SOCK_STREAM, 0, address.path, deadline.remaining())
    found = _resolve(address, deadline)
    failure: OSError = OSError("the name has no address")
    for tried, (family, kind, protocol, _, target) in enumerate(found):
        try:
            # Each address gets its share, so that one that swallows everything leaves time for the next.
            return _connect_to(family, kind, protocol, target, deadline.remaining() / (len(found) - tried))
        except OSError as error:
            failure = error
    raise failure


def _connect_to(
    family: int, kind: int, protocol: int, target: tuple[str, int] | tuple[str, int, int, int] | str, seconds: float
) -> socket.socket:
    connected = socket.socket(family, kind, protocol)
    try:
        connected.settimeout(seconds)
        connected.connect(target)
        if family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connected.close()
        raise
    return connected


def _secure(connected: socket.socket, context: ssl.SSLContext, host: str, deadline: Deadline) -> ssl.SSLSocket:
    secured = context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
    try:
        secured.settimeout(deadline.remaining())
        secured.do_handshake()
    except BaseException:
        secured.close()  # wrapping has taken the descriptor out of the plain socket
        raise
    return secured


def _resolve(address: Address, deadline: Deadline) -> Found:
    try:
        return _look_up(address, socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    # The system's resolver knows no deadline.
    try:
        return within(deadline.remaining(), lambda: _look_up(address, 0), "otelbridge-resolve")
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "no name a host can have") from None


def _look_up(address: Address, flags: int) -> Found:
    return socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=flags)  # pyright: ignore[reportReturnType]
