"""The endpoint's own server: one thread watches all connections, a few work on those that are ready.

Slow and idle clients, with TLS or without, hold no thread; each has a deadline, and when there are too many
the one that has waited longest is closed. So a scrape is answered whatever other clients do.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from otelbridge.concurrency import forks
from otelbridge.config.urls import authority
from otelbridge.diagnostics import logger, warn_once
from otelbridge.prometheus.address import listen
from otelbridge.prometheus.connection import Connection, Phase, Want
from otelbridge.prometheus.deadlines import Deadlines
from otelbridge.prometheus.http1 import describe
from otelbridge.prometheus.limits import Limits
from otelbridge.prometheus.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from otelbridge.prometheus.connection import Handler
    from otelbridge.prometheus.http1 import Response
    from otelbridge.prometheus.tls import ServerTls

_THREAD = "otelbridge-metrics"
_ACCEPTED_AT_ONCE = 64
_FULL_SECONDS = 0.01
_CANDIDATES = 16
_EXHAUSTED_SECONDS = 0.5
_AFTER_FAILURE_SECONDS = 0.05
_CLOSE_SECONDS = 5.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Listener:
    """An HTTP/1.1 server in daemon threads.

    In the child of a fork it is closed, so that the port is the parent's alone.

    Args:
        host: Name or address to listen on; ``::`` takes IPv4 too where the system allows it.
        port: Port; 0 takes a free one.
        handler: What answers requests. It is called in one of a few threads and must not block; for what
            takes time it returns a future.
        tls: TLS; None speaks plain HTTP.
        limits: What clients may take.

    Raises:
        ConfigError: The address cannot be listened on.
    """

    def __init__(
        self, host: str, port: int, handler: Handler, *, tls: ServerTls | None = None, limits: Limits | None = None
    ) -> None:
        self._host = host or "localhost"
        self._handler = handler
        self._tls = tls
        self._limits = limits or Limits()
        self._socket = listen(self._host, port)
        self.port: int = self._socket.getsockname()[1]
        """The port that was really taken."""
        self._pid = os.getpid()
        self._selector = selectors.DefaultSelector()
        self._waker, self._wake = socket.socketpair()
        self._workers = Workers(f"{_THREAD}-worker", self._limits.workers)
        # What workers and answers tell the watching thread, which alone owns everything below.
        self._inbox: deque[Callable[[], None]] = deque()
        self._connections: set[Connection] = set()
        self._busy: set[Connection] = set()
        self._deadlines = Deadlines(self._limits)
        self._resume_at: float | None = None
        self._closing = False
        for each in (self._waker, self._wake):
            each.setblocking(False)
        self._selector.register(self._waker, selectors.EVENT_READ, self._empty_waker)
        self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        forks.register(after_in_child=self.abandon)
        self._thread = threading.Thread(target=self._run, name=_THREAD, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where the server is, without a path."""
        return f"{'http' if self._tls is None else 'https'}://{authority(self._host, self.port)}"

    def close(self) -> None:
        """Free the port, all connections and all threads. Closing twice is harmless."""
        if self._pid != os.getpid():
            return
        self._closing = True
        if self._nudge() and threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_SECONDS)

    # --- the watching thread ---

    def _run(self) -> None:
        try:
            while not self._closing:
                for key, _ in self._selector.select(self._patience()):
                    self._attempt(key.data)
                for _ in range(len(self._inbox)):  # not what comes in meanwhile: clients wait to be let in
                    self._attempt(self._inbox.popleft())
                self._attempt(self._expire)
        except OSError as error:  # a daemon that closes all files it finds has closed ours, for instance
            if not self._closing:
                warn_once(("listener", "stopped"), "The metrics endpoint on %s has stopped: %s", self.url, error)
        self._end()

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # whatever it is, the other connections are to be served
            cause = ("listener", type(error).__qualname__)
            warn_once(cause, "A step of the metrics endpoint failed (%s)", describe(error))
            logger.debug("A step of the metrics endpoint failed", exc_info=True)
            # What failed may be ready again at once, and fail again.
            time.sleep(_AFTER_FAILURE_SECONDS)

    def _end(self) -> None:
        with suppress(OSError):
            self._socket.close()
        self._workers.close(_CLOSE_SECONDS)
        self._close_files()
        self._connections.clear()

    def _close_files(self) -> None:
        for each in (self._socket, *tuple(self._connections), self._waker, self._wake, self._selector):
            with suppress(OSError):  # closed already, by somebody who had no business with it
                each.close()

    def _patience(self) -> float | None:
        times = [at for at in (self._deadlines.next(), self._resume_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _nudge(self) -> bool:
        try:
            self._wake.send(b"\0")
        except BlockingIOError:  # so full that the thread will wake up anyway
            return True
        except OSError:  # closed: nobody is there to be woken
            return False
        return True

    def _tell(self, message: Callable[[], None]) -> None:
        self._inbox.append(message)
        self._nudge()

    def _empty_waker(self) -> None:
        with suppress(BlockingIOError):
            self._waker.recv(4096)

    def _accept(self) -> None:
        # Somebody is there, so room is not made for nobody; that is known for the first one only.
        if self._full and not self._make_room() and self._busy:
            # In a moment the workers are done with some, and one of those can be closed.
            self._pause(_FULL_SECONDS)
            return
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                client, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._without_files(error)
                return  # else the client has gone again
            self._admit(client)
            if self._full:
                return

    @property
    def _full(self) -> bool:
        return len(self._connections) >= self._limits.connections

    def _admit(self, client: socket.socket) -> None:
        client.setblocking(False)
        if self._full:
            if self._tls is None:
                with suppress(OSError):
                    client.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            client.close()
            return
        with suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(client, self._handler, self._tls, self._limits)
        self._connections.add(connection)
        # Whoever says nothing costs a worker nothing, not even the handshake.
        self._settle(connection, Want.READ)

    def _without_files(self, error: OSError) -> None:
        warn_once(
            ("listener", "exhausted"),
            "The metrics endpoint cannot accept connections (%s). Raise the limit of open files.",
            error,
        )
        self._make_room()
        self._pause(_EXHAUSTED_SECONDS)

    def _pause(self, seconds: float) -> None:
        # The connection that was not accepted stays ready: without a pause this would be a busy loop.
        self._selector.unregister(self._socket)
        self._resume_at = time.monotonic() + seconds

    def _make_room(self) -> bool:
        # The young ones are spared even while the old ones are being worked on: a scrape is young.
        for connection in islice(self._deadlines.longest_waiting(), _CANDIDATES):
            if connection not in self._busy:
                self._drop(connection)
                return True
        return False

    def _expire(self) -> None:
        if self._resume_at is not None and self._resume_at <= time.monotonic():
            self._resume_at = None
            self._selector.register(self._socket, selectors.EVENT_READ, self._accept)
        for connection, phase in self._deadlines.pop_due():
            self._overdue(connection, phase)

    def _overdue(self, connection: Connection, phase: Phase) -> None:
        if connection in self._busy:
            return  # it is closed when the worker gives it back, as it has no deadline any more
        if phase is Phase.ANSWER:
            connection.give_up()
            self._work_on(connection)
        else:
            self._drop(connection)

    def _work_on(self, connection: Connection) -> None:
        self._busy.add(connection)
        self._workers.submit(lambda: self._advance(connection))

    def _advance(self, connection: Connection) -> None:
        # In a worker.
        try:
            want = connection.advance()
        except Exception:
            logger.debug("A connection to the metrics endpoint broke", exc_info=True)
            want = Want.CLOSE
        self._tell(lambda: self._take_back(connection, want))

    def _take_back(self, connection: Connection, want: Want) -> None:
        self._busy.discard(connection)
        self._settle(connection, want)

    def _settle(self, connection: Connection, want: Want) -> None:
        if want is Want.CLOSE or not self._deadlines.follow(connection):
            self._drop(connection)
        elif want is Want.TURN:
            self._work_on(connection)
        elif want is Want.ANSWER:
            self._await_answer(connection)
        else:
            self._watch(connection, selectors.EVENT_READ if want is Want.READ else selectors.EVENT_WRITE)

    def _watch(self, connection: Connection, event: int) -> None:
        try:
            self._selector.register(connection.socket, event, lambda: self._ready(connection))
        except (OSError, ValueError, KeyError):  # the system watches no more files, or somebody closed this one
            self._drop(connection)

    def _await_answer(self, connection: Connection) -> None:
        stage, pending = connection.stage, connection.pending

        def answered(_: Future[Response]) -> None:
            self._tell(lambda: self._answered(connection, stage))

        if pending is not None:
            pending.add_done_callback(answered)

    def _answered(self, connection: Connection, stage: int) -> None:
        # Unless its time was up first.
        if connection in self._connections and connection.stage == stage:
            self._work_on(connection)

    def _ready(self, connection: Connection) -> None:
        if connection in self._connections:  # it may have had to make room just now
            self._selector.unregister(connection.socket)
            self._work_on(connection)

    def _drop(self, connection: Connection) -> None:
        self._deadlines.forget(connection)
        self._connections.discard(connection)
        with suppress(KeyError, ValueError):  # it is registered only while it waits for its client
            self._selector.unregister(connection.socket)
        connection.close()

    # --- the child of a fork ---

    def abandon(self) -> None:
        """Close the files, and nothing else: the threads, and what is registered, are the parent's."""
        self._close_files()
