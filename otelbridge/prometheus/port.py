"""The endpoint's own port, which of several worker processes one serves: any of them can answer for all."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from otelbridge.concurrency import forks
from otelbridge.config.urls import authority
from otelbridge.diagnostics import warn_once
from otelbridge.errors import ConfigError
from otelbridge.prometheus.listener import Listener

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.config.options import Prometheus
    from otelbridge.prometheus.listener import Handler
    from otelbridge.prometheus.tls import ServerTls

_TRY_AGAIN = 1.0
"""Seconds between looks whether the process that serves the port has gone."""


class Port:
    """Serves a port, or waits for the turn to.

    Args:
        config: Address and port.
        handler: Answers requests.
        tls: How connections are secured; None for plain ones.
        turn: Tells whether it is this process' turn, of all that would serve the port. It stays so until this
            process ends.

    Raises:
        ConfigError: It is this process' turn, and the address cannot be listened on.
    """

    def __init__(
        self, config: Prometheus, handler: Handler, *, tls: ServerTls | None = None, turn: Callable[[], bool]
    ) -> None:
        self._config = config
        self._handler = handler
        self._tls = tls
        self._turn = turn
        self._listener: Listener | None = None
        self._closed = forks.event()
        if turn():
            self._listen()
        else:
            self._wait()
        forks.register(after_in_child=self.begin_anew)

    @property
    def url(self) -> str:
        """Where the metrics are, with the port that was really taken, by whichever process."""
        if self._listener is not None:
            return self._listener.url + self._config.path
        where = authority(self._config.host, self._config.port)
        return f"{'http' if self._tls is None else 'https'}://{where}{self._config.path}"

    @property
    def serving(self) -> bool:
        """Whether it is this process that serves it."""
        return self._listener is not None

    def close(self) -> None:
        """Stop listening and free the port, or stop waiting for it."""
        self._closed.set()
        if self._listener is not None:
            self._listener.close()

    def begin_anew(self) -> None:
        """In a forked child: the parent serves, and this process waits for its turn."""
        self._listener = None
        if not self._closed.is_set() and self._config.port:
            self._wait()

    def _listen(self) -> None:
        self._listener = Listener(self._config.host, self._config.port, self._handler, tls=self._tls)

    def _wait(self) -> None:
        thread = threading.Thread(target=self._watch, args=(self._closed,), name="otelbridge-port", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is about to end
            warn_once(("port", "wait"), "This process will not take over the metrics port: %s", error)

    def _watch(self, closed: threading.Event) -> None:
        while not closed.wait(_TRY_AGAIN):
            try:
                if self._turn():
                    self._listen()
                    if closed.is_set() and self._listener is not None:
                        self._listener.close()
                    return
            except ConfigError as error:  # the one before may not have let go of it yet
                warn_once(("port", "taken"), "Taking over the metrics port failed, trying on: %s", error)
