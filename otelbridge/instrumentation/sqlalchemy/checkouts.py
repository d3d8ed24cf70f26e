"""Times what happens around a pool: waiting for a connection, opening one, using one."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import warn_once
from otelbridge.domains.database import records
from otelbridge.domains.presence import Presence
from otelbridge.domains.timeouts import is_timeout
from otelbridge.instrumentation.patches import Patches
from otelbridge.instrumentation.sqlalchemy.series import Series

if TYPE_CHECKING:
    from sqlalchemy.pool import Pool


class Checkouts:
    """The comings and goings of the pools of one engine, of which `Engine.dispose` makes ever new ones.

    Args:
        pool_name: The ``db.client.connection.pool.name``.
    """

    def __init__(self, pool_name: str) -> None:
        self._attributes = {"db.client.connection.pool.name": pool_name}
        self._wait_time, self._use_time, self._create_time = (
            Series(recorder, self._attributes)
            for recorder in (records.CONNECTION_WAIT_TIME, records.CONNECTION_USE_TIME, records.CONNECTION_CREATE_TIME)
        )
        # Engines may share a pool, and with it what its connections remember.
        self._key = ("otelbridge.taken", pool_name)
        self.taken: dict[int, None] = {}
        """Connections that are in use, by identity, for pools that do not count them."""
        self._patches: Patches | None = None
        self._closed = False

    def attach(self, pool: Pool) -> None:
        """Wrap a pool, and whatever pool will take its place."""
        self._patches = patches = Patches(pool)
        patches.wrap("connect", self._wrap_connect)
        # No public hook surrounds the opening of a connection that an engine's own `creator` opens.
        patches.wrap("_invoke_creator", self._wrap_creator)
        patches.wrap("recreate", self._wrap_recreate)

    def close(self) -> None:
        """Stop recording."""
        self._closed = True
        if self._patches is not None:
            self._patches.undo()

    def returned(self, _connection: Any, record: Any) -> None:
        """Record the use of a connection; a listener of the pool."""
        try:
            # A StaticPool lends one connection to several at once, and takes it back once.
            uses: dict[int, float] = record.info.pop(self._key, {})
            now = perf_counter()
            for token, begin in uses.items():
                self.taken.pop(token, None)
                if not self._closed:
                    self._use_time.record(now - begin)
        except Exception as error:  # telemetry never raises into the application
            _report(error)

    def _wrap_connect(self, original: Any) -> Any:
        def connect() -> Any:
            if self._closed or not records.METER.active:
                return original()
            pending = Presence(records.CONNECTION_PENDING_REQUESTS)
            pending.begin(self._attributes)
            begin = perf_counter()
            try:
                connection = original()
            except BaseException as error:
                self._refused(error)
                raise
            finally:
                pending.end()
            self._obtained(connection, begin)
            return connection

        return connect

    def _refused(self, error: BaseException) -> None:
        if is_timeout(error) and _from_pool(error):
            records.CONNECTION_TIMEOUTS.record(1, self._attributes)

    def _obtained(self, connection: Any, begin: float) -> None:
        now = perf_counter()
        self._wait_time.record(now - begin)
        try:
            token = id(connection)
            # A SingletonThreadPool hands out the same loan again; it began with the first.
            connection.info.setdefault(self._key, {}).setdefault(token, now)
            self.taken[token] = None
        except Exception as error:
            _report(error)

    def _wrap_creator(self, original: Any) -> Any:
        def create(record: Any) -> Any:
            begin = perf_counter()
            connection = original(record)
            if not self._closed:
                self._create_time.record(perf_counter() - begin)
            return connection

        return create

    def _wrap_recreate(self, original: Any) -> Any:
        def recreate() -> Any:
            pool = original()
            if not self._closed:
                self.attach(pool)
            return pool

        return recreate


def _from_pool(error: BaseException) -> bool:
    # A driver that cannot reach its server in time raises a TimeoutError too, but of its own.
    return type(error).__module__.startswith("sqlalchemy.exc")


def _report(error: Exception) -> None:
    warn_once(("sqlalchemy", "pool"), "Recording the use of a connection raised %r; it is left out.", error)
