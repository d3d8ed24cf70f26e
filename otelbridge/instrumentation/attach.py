"""Switches instrumentations on, by name, and off again all together.

Each is imported when it is switched on: a process pays for those it uses.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from otelbridge.concurrency import forks
from otelbridge.diagnostics import late_warnings
from otelbridge.domains.recording import Registration
from otelbridge.metrics.switch import switch

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from opentelemetry.trace import TracerProvider

    from otelbridge.instrumentation.sqlalchemy import EngineFinder, EngineSpans

_SERVERS = ("fastapi", "starlette")
_CLIENTS = ("httpx", "httpx2", "requests", "urllib3", "aiohttp-client")
# It measures one thing, under a name that the conventions have given up.
_OFFICIAL_SQLALCHEMY = "opentelemetry.instrumentation.sqlalchemy"


class Attachments:
    """What one bridge has hooked into the process and its objects. None of the objects is kept alive.

    Args:
        names: Instrumentations that may be used.
        domains: Domains that record; an instrumentation of another domain stays off.
        find_engines: Whether SQLAlchemy engines that were not passed to `init()` are found.
        tracer_provider: Where the instrumentations' spans go; None makes none.
        excluded_paths: Request paths that are not recorded, such as the scrape endpoint's own.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        domains: Collection[str],
        find_engines: bool,
        tracer_provider: TracerProvider | None,
        excluded_paths: tuple[str, ...],
    ) -> None:
        self._names = frozenset(names)
        self._domains = frozenset(domains)
        self._tracer_provider = tracer_provider
        self._excluded_paths = excluded_paths
        self._undo = ExitStack()
        # Applications and engines hold their own registrations, which hold them.
        self._registrations: WeakKeyDictionary[Registration, None] = WeakKeyDictionary()
        self._lock = forks.lock()
        self._finder: EngineFinder | None = None
        self._spans: EngineSpans | None = None
        self._find_engines = find_engines and self._records_engines

    @property
    def _records_engines(self) -> bool:
        return "database" in self._domains and "sqlalchemy" in self._names

    def process(self) -> None:
        """Hook what belongs to the process as a whole: system, runtime, HTTP clients, engines to be found."""
        self._system()
        if self._records_engines:
            self._undo.callback(switch.mute(_OFFICIAL_SQLALCHEMY, lambda: None))
        if self._find_engines:
            from otelbridge.instrumentation.sqlalchemy import EngineFinder

            self._finder = EngineFinder(self.engine)
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

    def app(self, app: Any) -> Registration:
        """Hook an application; see `instrument_http`."""
        if "http" not in self._domains or not self._names.intersection(_SERVERS):
            return Registration(lambda: None)
        from otelbridge.instrumentation.http import instrument_http

        return self._kept(
            instrument_http(
                app,
                tracer_provider=self._tracer_provider,
                excluded_paths=self._excluded_paths,
            )
        )

    def engine(self, engine: Any) -> Registration:
        """Hook a SQLAlchemy engine; see `instrument_engine`."""
        if not self._records_engines:
            return Registration(lambda: None)
        from otelbridge.instrumentation.sqlalchemy import EngineSpans, instrument_engine

        with late_warnings, self._lock:
            if self._spans is None and self._tracer_provider is not None:
                self._spans = EngineSpans(self._tracer_provider)
                self._undo.callback(self._spans.close)
        registration = self._kept(instrument_engine(engine, spans=self._spans))
        if self._finder is not None:
            # Also when the handle is closed before the first connection: it is not found then.
            self._finder.know(engine)
        return registration

    def _kept(self, registration: Registration) -> Registration:
        with late_warnings, self._lock:
            self._registrations[registration] = None
        return registration

    def close(self) -> None:
        """Undo every hook, the last one first."""
        if self._finder is not None:
            self._finder.close()
        with self._undo:
            with late_warnings, self._lock:
                registrations = list(self._registrations)
            for registration in reversed(registrations):
                registration.close()
