"""Delivers what groups of processes had counted that were killed: the next start of the service finds it.

The cells of a group are its spool. When all of its processes were killed, they lie in its directory with the resource
its first process wrote down (`otelbridge.otlp.announcement`). Every process of the same service that pushes looks for
such groups, at its start and at every interval. One at a time, by a kernel lock, enters a group, reads the totals as
any process of the group would, and pushes them under the group's resource and start times, which makes them the last
point of its series. When every destination has acknowledged, the directory is removed. What one destination has
acknowledged is noted (`otelbridge.otlp.receipts`, `otelbridge.otlp.ledger`), so that it does not get it again
because another one is dead, and the next start goes on where this one ended.

- The points bear the time of delivery. Nothing tells when the group last counted (a store to mapped memory leaves no
  time), and a time before that of its last push would be out of order, which many backends refuse.
- A group whose last push was acknowledged everywhere has a receipt that says so, and is removed without a push. One
  that ended without a push after its last measurement, or whose receipt was not written in time, is pushed again:
  the same totals under the same identity and start, which changes nothing.
- Gauges, and sums of what is under way, ended with their processes: they are not delivered.
- What could not be delivered within a day after the group was first found deserted is removed, and reported.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter

from otelbridge.cells.group import DAY, deserted_for, enter_deserted, has_living, remove_group
from otelbridge.cells.lead import Lead
from otelbridge.cells.locks import held
from otelbridge.cells.names import MEMBERS, names_in
from otelbridge.concurrency import forks
from otelbridge.diagnostics import warn, warn_once
from otelbridge.errors import ConfigError
from otelbridge.metrics.limits import with_limits
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.visit import Visit
from otelbridge.otlp.announcement import announce, read_announcement
from otelbridge.otlp.preferences import preferences
from otelbridge.otlp.push import PushReader
from otelbridge.otlp.reader import component_of, create_delivery, destination_keys
from otelbridge.otlp.receipts import forget_receipts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence
    from pathlib import Path

    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource

    from otelbridge.cells.group import GroupDirectory
    from otelbridge.config.options import Config, Otlp
    from otelbridge.metrics.current import CurrentStream
    from otelbridge.metrics.foreign import Source
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.readers import Storage
    from otelbridge.otlp.delivery import Delivery

_CLAIM: Final = "spool"
_TRIES: Final = 10
_PAUSE: Final = 0.05
_PATIENCE: Final = 0.05
"""Seconds to wait for the end of the thread."""


class VisitingReader(PushReader):
    """Pushes what a deserted group had counted to one destination, unless that has it.

    Args:
        outlet: The destination.
        delivery: What brings requests to it.
        visit: The group.
    """

    def __init__(self, outlet: Outlet, delivery: Delivery, visit: Visit) -> None:
        super().__init__(
            delivery,
            interval=None,
            timeout=outlet.otlp.timeout,
            processes=visit,
            destination=outlet.key,
            component=component_of(outlet.otlp),
            **preferences(outlet.otlp),
        )
        self._visited = visit
        self._seconds = outlet.otlp.timeout

    def deliver(self) -> bool:
        """Push it; tell whether the destination has it now. It can be asked once."""
        return self._ticker.ask(self._seconds, last=True)()

    def _look(self, storage: Storage) -> tuple[Resource, Sequence[CurrentStream]] | None:
        self._visited.recognise(storage)
        found = super()._look(storage)
        return None if self._receipts is not None and self._receipts.has(self._digest) else found


class Outlet:
    """One destination of the service.

    Args:
        otlp: Its settings.
        key: What tells it from the others; see `otelbridge.otlp.reader.destination_keys`.
    """

    def __init__(self, otlp: Otlp, key: str) -> None:
        self.otlp = otlp
        self.key = key
        self._delivery: Delivery | None = None

    @property
    def delivery(self) -> Delivery:
        """What brings requests to it: the same for all groups, so that it remembers how that went.

        Raises:
            ConfigError: A file it needs cannot be used.
        """
        if self._delivery is None:
            self._delivery = create_delivery(self.otlp)
        return self._delivery

    def close(self) -> None:
        """End what is under way as soon as that is possible."""
        if self._delivery is not None:
            self._delivery.close()


class Spool:
    """Looks for deserted groups of a service, in a thread of its own. A forked child has one, too.

    Args:
        processes: The group this process belongs to.
        config: The settings: the service, the destinations, the limits.
        views: The provider's views.
        sources: Makes what shows metrics of other clients that killed processes had.
    """

    def __init__(
        self, processes: Processes, config: Config, views: Sequence[View], sources: Callable[[], Sequence[Source]]
    ) -> None:
        self._processes = processes
        self._config = config
        self._views = views
        self._sources = sources
        self._service = config.service_name or ""
        keys = destination_keys(config.otlp)
        self._outlets = [Outlet(otlp, key) for otlp, key in zip(config.otlp, keys, strict=True)]
        self._interval = min(otlp.interval for otlp in config.otlp)
        self._stopped = forks.event()
        self._entered: GroupDirectory | None = None
        self._thread: threading.Thread | None = None
        forks.register(after_in_child=self.begin_anew)

    def start(self, delay: float = 0.0) -> None:
        """Look now and at every interval.

        Args:
            delay: Seconds to wait before the first look.
        """
        self._thread = threading.Thread(target=self._run, args=(delay,), name="otelbridge-spool", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            warn_once(("spool", "thread"), "What killed processes had counted is left to the next start: %s", error)

    def stop(self) -> None:
        """Begin to stop: what is under way is left to the next start."""
        self._stopped.set()
        for outlet in self._outlets:
            outlet.close()

    def close(self) -> None:
        """Stop, without waiting for a receiver that does not answer."""
        self.stop()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def begin_anew(self) -> None:
        """Leave to the parent what it is about to deliver."""
        entered, self._entered = self._entered, None
        if entered is not None:
            entered.leave()
        if not self._stopped.is_set():
            self.start(self._interval)

    def _run(self, delay: float) -> None:
        stopped = self._stopped
        while not stopped.wait(delay):
            delay = self._interval
            try:
                self._look_around()
            except Exception as error:  # somebody else's files are no reason to stop looking
                warn_once(
                    ("spool", type(error).__name__), "Looking for what killed processes had counted failed: %r", error
                )

    def _look_around(self) -> None:
        own = self._processes.path
        if own is None:
            return
        down: set[str] = set()
        for path in sorted(own.parent / name for name in names_in(own.parent)):
            if self._stopped.is_set():
                return
            if path != own:
                self._look_at(path, down)

    def _look_at(self, path: Path, down: set[str]) -> None:
        """Deliver what a group had counted, if it is one of this service, deserted, and nobody else's to deliver."""
        try:
            found = read_announcement(path)
            if found is None or found.service != self._service or has_living(path):
                return
            with self._claim(path) as directory:
                if directory is not None:
                    self._finish(directory, found.resource, down)
        except FileNotFoundError:
            return  # somebody else was quicker
        except OSError as error:
            warn_once(
                ("spool", path.name, str(error.errno)),
                "What processes in %s had counted cannot be read: %s",
                path,
                error,
            )

    @contextmanager
    def _claim(self, path: Path) -> Generator[GroupDirectory | None]:
        lead = Lead(path, _CLAIM)
        try:
            # Nobody removes the directory while this makes its lock file.
            with held(path / MEMBERS, shared=True, make=False) as safe:
                ours = safe and lead.held
            self._entered = enter_deserted(path) if ours else None
            yield self._entered
        finally:
            entered, self._entered = self._entered, None
            if entered is not None:
                entered.leave()
            lead.release()

    def _finish(self, directory: GroupDirectory, resource: Resource, down: set[str]) -> None:
        missing = [outlet for outlet in self._outlets if not self._deliver(outlet, directory, resource, down)]
        if missing and not self._stopped.is_set() and deserted_for(directory) > DAY:
            warn(
                "What processes of %r that were killed had counted is lost: %s could not be reached for a day.",
                self._service,
                ", ".join(map(repr, (outlet.delivery for outlet in missing))),
            )
            missing = []
        if not missing:
            self._remove(directory)

    def _remove(self, directory: GroupDirectory) -> None:
        # Others may be looking at it; what stays is looked at again, and not pushed.
        for _ in range(_TRIES):
            if remove_group(directory) or self._stopped.wait(_PAUSE):
                return

    def _deliver(self, outlet: Outlet, directory: GroupDirectory, resource: Resource, down: set[str]) -> bool:
        if outlet.key in down or self._stopped.is_set():
            return False
        try:
            delivery = outlet.delivery
        except ConfigError as error:  # files that were there at the start
            warn_once(("spool", outlet.key), "What killed processes had counted cannot be pushed: %s", error)
            down.add(outlet.key)
            return False
        visit = Visit(directory)
        try:
            reader = with_limits(VisitingReader(outlet, delivery, visit), outlet.otlp.cardinality_limits)
            # The reader refers to it as long as it reads.
            self._provide(reader, resource, visit)
            arrived = reader.deliver()
            if not arrived and not reader.exported.get("refused"):
                down.add(outlet.key)  # the other groups can wait until it is back
            return arrived
        finally:
            visit.close()

    def _provide(self, reader: VisitingReader, resource: Resource, visit: Visit) -> None:
        provider = MeterProvider(
            [reader],
            resource,
            AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
            views=self._views,
            cardinality_limit=self._config.cardinality_limit,
            series_limit=self._config.series_limit,
            processes=visit,
        )
        for source in self._sources():
            provider.add_source(source)


def start_spool(
    config: Config,
    processes: Processes | None,
    resource: Resource,
    views: Iterable[View],
    sources: Callable[[], Sequence[Source]] = tuple,
) -> Spool | None:
    """Write down whose totals this group's are, and look for those of groups that were killed.

    Args:
        config: The settings.
        processes: The group this process belongs to; None for one that counts for itself.
        resource: What this group pushes under.
        views: The provider's views.
        sources: Makes what shows metrics of other clients that killed processes had.

    Returns:
        What runs; None where nothing is pushed, or there is no group.
    """
    if processes is None or processes.path is None or not config.otlp:
        return None
    announce(processes.path, config.service_name or "", resource)
    forget_receipts(processes.path)
    spool = Spool(processes, config, list(views), sources)
    spool.start()
    return spool
