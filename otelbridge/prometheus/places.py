"""Where the metrics of a bridge are served: on applications, on a port of their own."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from otelbridge.diagnostics import warn
from otelbridge.errors import ConfigError
from otelbridge.prometheus.mount import mount

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.metrics.processes import Processes
    from otelbridge.prometheus.port import Port
    from otelbridge.prometheus.pull import Pull

ON_APPLICATIONS = ("app", "auto")
"""Modes in which applications serve the metrics."""

_ON_A_PORT = ("server", "auto")


class Places:
    """The places at which one site is served. No application is kept alive.

    Args:
        pull: The pull path.
        registry: Gives the registry of prometheus_client that its page shows, or None; see `mount`.
    """

    def __init__(self, pull: Pull, registry: Callable[[], Any]) -> None:
        self._pull = pull
        self._registry = registry
        self._applications: WeakKeyDictionary[Any, Callable[[], None]] = WeakKeyDictionary()
        self._port: Port | None = None

    @property
    def url(self) -> str | None:
        """Where Prometheus can scrape: a full URL for the port, else a path of applications."""
        if self._port is not None:
            return self._port.url
        return self._pull.config.path if self._pull.config.mode in ON_APPLICATIONS else None

    def serve_on(self, app: Any) -> None:
        """Serve on an application, where applications are to serve.

        Args:
            app: A FastAPI or Starlette application. One that serves already stays as it is.

        Raises:
            ConfigError: It is none, or serves the path already.
            MissingDependencyError: Starlette is not installed.
        """
        if self._pull.config.mode not in ON_APPLICATIONS or app in self._applications:
            return
        # Only the metrics where a port has the rest.
        endpoints = self._pull.endpoints() if self._pull.config.mode == "app" else self._metrics_alone()
        with ExitStack() as undo:
            for path, endpoint in endpoints.items():
                undo.callback(mount(app, path, endpoint, registry=self._registry))
            self._applications[app] = undo.pop_all().close

    def listen(self, processes: Processes | None) -> None:
        """Serve a port, where there is to be one.

        Args:
            processes: The group of processes, of which one serves it; None for a process by itself.

        Raises:
            ConfigError: It was asked for by name, and cannot be had.
        """
        if self._pull.config.mode not in _ON_A_PORT:
            return
        role = f"scrape-{self._pull.config.port}"
        try:
            self._port = self._pull.serve(lambda: processes is None or processes.lead(role))
        except ConfigError as error:
            if self._pull.config.mode == "server":
                raise
            warn("%s", error)

    def close(self) -> None:
        """Serve nowhere any longer."""
        if self._port is not None:
            self._port.close()
        for leave in list(self._applications.values()):
            leave()
        self._applications.clear()

    def _metrics_alone(self) -> dict[str, Any]:
        return {self._pull.config.path: self._pull.endpoint()}
