"""Switches instrumentations on, by name, and off again all together.

Each is imported when it is switched on: a process pays for those it uses.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from opentelemetry.trace import TracerProvider

_SERVERS = ("fastapi", "starlette")
_CLIENTS = ("httpx", "httpx2", "requests", "urllib3", "aiohttp-client")


class Attachments:
    """What one bridge has hooked into the process and its objects.

    Args:
        names: Instrumentations that may be used.
        domains: Domains that record; an instrumentation of another domain stays off.
        tracer_provider: Where the instrumentations' spans go; None makes none.
        excluded_paths: Request paths that are not recorded, such as the scrape endpoint's own.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        domains: Collection[str],
        tracer_provider: TracerProvider | None,
        excluded_paths: tuple[str, ...],
    ) -> None:
        self._names = frozenset(names)
        self._domains = frozenset(domains)
        self._tracer_provider = tracer_provider
        self._excluded_paths = excluded_paths
        self._undo = ExitStack()

    def process(self) -> None:
        """Hook what belongs to the process as a whole: system, runtime, HTTP clients."""
        self._system()
        clients = tuple(name for name in _CLIENTS if name in self._names)
        if "http" in self._domains and clients:
            from otelbridge.instrumentation.http import instrument_clients

            self._undo.callback(instrument_clients(clients, self._tracer_provider).close)

    def _system(self) -> None:
        if "system" not in self._domains or not self._names.intersection(("system", "process", "runtime")):
            return
        from otelbridge.instrumentation.system import instrument_process, instrument_runtime, instrument_system

        if "system" in self._names:
            self._undo.callback(instrument_system().close)
        if "process" in self._names:
            self._undo.callback(instrument_process().close)
        if "runtime" in self._names:
            self._undo.callback(instrument_runtime().close)

    def app(self, app: Any) -> None:
        """Hook an application; see `instrument_http`."""
        if "http" in self._domains and self._names.intersection(_SERVERS):
            from otelbridge.instrumentation.http import instrument_http

            registration = instrument_http(
                app,
                tracer_provider=self._tracer_provider,
                excluded_paths=self._excluded_paths,
            )
            self._undo.callback(registration.close)

    def engine(self, engine: Any) -> None:
        """Hook a SQLAlchemy engine; see `instrument_engine`."""
        if "database" not in self._domains or "sqlalchemy" not in self._names:
            return
        from otelbridge.instrumentation.sqlalchemy import instrument_engine, instrument_spans

        self._undo.callback(instrument_engine(engine).close)
        if self._tracer_provider is not None:
            self._undo.callback(instrument_spans(engine, self._tracer_provider).close)

    def close(self) -> None:
        """Undo every hook, the last one first."""
        self._undo.close()
