"""One client of the own server: a state machine that never blocks, so that a slow client holds up nobody."""

from __future__ import annotations

import socket
import ssl
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from otelbridge.prometheus.http1 import (
    END_OF_HEAD,
    HeadError,
    Request,
    encode_head,
    failure,
    message,
    parse_head,
    too_long,
)
from otelbridge.prometheus.tls import peer_names

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.prometheus.http1 import Response
    from otelbridge.prometheus.limits import Limits
    from otelbridge.prometheus.tls import ServerTls

    Handler = Callable[[Request], "Response | Future[Response]"]

_CHUNK = 256 * 1024
# What a client still sends after a request that is answered without reading on. Closing at once would make
# TCP throw away the answer too.
_MOST_LEFT_OVER = 64 * 1024


class Phase(Enum):
    """What a connection is at. Each phase has its deadline."""

    HEAD = auto()
    """Handshake and head of a request."""

    ANSWER = auto()
    """The answer is being made."""

    WRITE = auto()
    """The answer is being sent."""

    IDLE = auto()
    """Between requests."""

    LINGER = auto()
    """Everything is sent; the client is to close."""


class Want(Enum):
    """What a connection needs to go on."""

    READ = auto()
    """The client sends something."""

    WRITE = auto()
    """The client takes something."""

    ANSWER = auto()
    """`Connection.pending` is done."""

    TURN = auto()
    """Nothing but its turn: others are to come first."""

    CLOSE = auto()
    """It is over."""


class Connection:
    """A client. One thread at a time may touch it.

    Args:
        client: The accepted socket, which does not block.
        handler: What answers requests.
        tls: TLS, if it is spoken.
        limits: What the client may take.
    """

    def __init__(self, client: socket.socket, handler: Handler, tls: ServerTls | None, limits: Limits) -> None:
        self.socket = client
        self.phase = Phase.HEAD
        self.stage = 0
        """Counts phases, so that an old deadline or answer is told from a new one."""
        self.pending: Future[Response] | None = None
        """The answer that is being made."""
        self._handler = handler
        self._tls = tls
        self._context: ssl.SSLContext | None = None
        self._shaken = tls is None
        self._limits = limits
        self._names: frozenset[str] = frozenset()
        self._received = bytearray()
        self._searched = 0
        self._request: Request | None = None
        self._to_send: deque[memoryview] = deque()
        self._keep_alive = False
        self._left_over = 0

    def advance(self) -> Want:
        """Go on as far as is possible without waiting.

        Returns:
            What it takes to go on.
        """
        try:
            while True:
                want = _STEPS[self.phase](self)
                if want is not None:
                    return want
        except (BlockingIOError, ssl.SSLWantReadError):
            return Want.WRITE if self._waits_to_send() else Want.READ
        except ssl.SSLWantWriteError:
            return Want.WRITE
        except OSError:  # the client has gone, or speaks no TLS
            return Want.CLOSE

    def give_up(self) -> None:
        """Answer 503 instead of waiting on."""
        self.pending = None
        self._send(too_long(), keep_alive=False)

    def close(self) -> None:
        """Close the socket, without a word."""
        self.socket.close()

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.stage += 1

    def _waits_to_send(self) -> bool:
        # OpenSSL says what it waits for; a plain socket does not.
        return self.phase is Phase.WRITE and self._tls is None

    def _read_head(self) -> Want | None:
        if not self._shaken and not self._shake_hands():
            return None
        end = END_OF_HEAD.search(self._received, self._searched)
        while end is None:
            if len(self._received) >= self._limits.head_bytes:
                return self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            self._searched = max(0, len(self._received) - 3)
            data = self.socket.recv(self._limits.head_bytes - len(self._received))
            if not data:
                return Want.CLOSE
            self._received += data
            end = END_OF_HEAD.search(self._received, self._searched)
        head = bytes(self._received[: end.start()])
        del self._received[: end.end()]
        self._searched = 0
        return self._answer(head)

    def _shake_hands(self) -> bool:
        if self._context is None and self._tls is not None:
            self._context = self._tls.context()
            self.socket = self._context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        secured = cast("ssl.SSLSocket", self.socket)
        try:
            secured.do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            self._turn_away(secured)
            return False
        self._names = peer_names(secured.getpeercert())
        self._shaken = True
        return True

    def _turn_away(self, secured: ssl.SSLSocket) -> None:
        # The client learns why from the alert that was sent, unless what it goes on to send finds the socket closed.
        self.socket = socket.socket(fileno=secured.detach())
        self.socket.setblocking(False)
        self.socket.shutdown(socket.SHUT_WR)
        self._enter(Phase.LINGER)

    def _answer(self, head: bytes) -> Want | None:
        try:
            self._request = parse_head(head, self._names)
        except HeadError as error:
            return self._refuse(error.status)
        try:
            answer = self._handler(self._request)
        except Exception as error:
            answer = failure(error)
        if isinstance(answer, Future):
            self.pending = answer
            self._enter(Phase.ANSWER)
            return Want.ANSWER
        self._send(answer, keep_alive=self._may_stay())
        return None

    def _take_answer(self) -> Want | None:
        if self.pending is None or not self.pending.done():
            return Want.ANSWER
        error = self.pending.exception()
        answer = failure(error) if error else self.pending.result()
        self.pending = None
        self._send(answer, keep_alive=self._may_stay())
        return None

    def _may_stay(self) -> bool:
        # Whoever was let in by certificates that have been replaced is to show a new one.
        current = self._tls is None or self._tls.context() is self._context
        return current and self._request is not None and self._request.keep_alive

    def _refuse(self, status: HTTPStatus) -> None:
        self._request = None
        self._send(message(status, status.phrase), keep_alive=False)

    def _send(self, response: Response, *, keep_alive: bool) -> None:
        head = encode_head(response, keep_alive=keep_alive)
        bodiless = self._request is not None and self._request.method == "HEAD"
        self._request = None
        self._keep_alive = keep_alive
        body = b"" if bodiless else response.body
        # Two packets for a short answer would be one too many; a long body is not copied for it.
        parts = (head + body,) if len(body) <= _CHUNK else (head, body)
        self._to_send = deque(map(memoryview, parts))
        self._enter(Phase.WRITE)

    def _write(self) -> Want | None:
        while self._to_send:
            part = self._to_send[0]
            # After a refusal OpenSSL wants the very same bytes again; the slice gives them.
            rest = part[self.socket.send(part[:_CHUNK]) :]
            if rest:
                self._to_send[0] = rest
            else:
                self._to_send.popleft()
        if self._keep_alive:
            self._enter(Phase.IDLE)
            return Want.TURN if self._received or self._deciphered() else Want.READ
        self._enter(Phase.LINGER)
        self._say_goodbye()
        return None

    def _deciphered(self) -> bool:
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def _say_goodbye(self) -> None:
        if isinstance(self.socket, ssl.SSLSocket):
            with suppress(OSError, ValueError):  # it would wait for the client's goodbye, which need not come
                self.socket.unwrap()
        self.socket.shutdown(socket.SHUT_WR)

    def _idle(self) -> Want | None:
        if not self._received:
            data = self.socket.recv(self._limits.head_bytes)
            if not data:
                return Want.CLOSE
            self._received += data
        self._enter(Phase.HEAD)
        return None

    def _linger(self) -> Want | None:
        while self._left_over < _MOST_LEFT_OVER:
            data = self.socket.recv(_CHUNK)
            if not data:
                return Want.CLOSE
            self._left_over += len(data)
        return Want.CLOSE


_STEPS: dict[Phase, Callable[[Connection], Want | None]] = {
    Phase.HEAD: Connection._read_head,  # pyright: ignore[reportPrivateUsage]
    Phase.ANSWER: Connection._take_answer,  # pyright: ignore[reportPrivateUsage]
    Phase.WRITE: Connection._write,  # pyright: ignore[reportPrivateUsage]
    Phase.IDLE: Connection._idle,  # pyright: ignore[reportPrivateUsage]
    Phase.LINGER: Connection._linger,  # pyright: ignore[reportPrivateUsage]
}
