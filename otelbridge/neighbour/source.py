"""The metrics of prometheus_client as a source of our provider."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otelbridge.concurrency import forks
from otelbridge.concurrency.timeouts import TimeLimitedRunner
from otelbridge.concurrency.turn import on_behalf
from otelbridge.diagnostics import late_warnings, log_waiting, origin_of, warn_once
from otelbridge.metrics.foreign import Foreign, is_foreign
from otelbridge.neighbour import client
from otelbridge.neighbour.baseline import Baseline, counting
from otelbridge.neighbour.rows import read
from otelbridge.neighbour.streams import ForeignMatch, ForeignStream, create_foreign_instrument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from otelbridge.cells.shelf import Totals
    from otelbridge.metrics.processes import Processes
    from otelbridge.metrics.readers import Storage
    from otelbridge.metrics.registry import StreamRegistry
    from otelbridge.neighbour.client import Collector, Held
    from otelbridge.neighbour.rows import Rows

_PATIENCE = 2.0
"""Seconds a collector may take before the others go on without it."""

_SHARE = 0.25
"""Of the time that all collectors have, the part that may go by before one of them is given up."""

_TURN = 10.0
"""Seconds to wait for another one who reads; then what that one has read is shown."""

_MOST = 5000
"""Metrics that are kept apart; a collector that invents names without end gets no further."""

Part = Literal["everywhere", "own", "merged"]
"""Who is to read a stream: everybody; readers of this process alone; readers of all processes together."""


class Neighbour:
    """Reads a registry of prometheus_client whenever the provider is read. `otelbridge.metrics.foreign.Source`.

    Values are published as ours are, so that what is shown is what all processes of the group have. Where
    prometheus_client itself keeps them together (``PROMETHEUS_MULTIPROC_DIR``), its files are read instead; they hold
    no custom collectors, which are published here all the same.

    Args:
        registry: A ``CollectorRegistry``; True for the default one, ``"auto"`` for the default one as soon as the
            application has imported prometheus_client and registered something in it. False reads none, and shows
            what other processes have.
        patience: Seconds a collector may take before the others go on without it.
    """

    def __init__(self, registry: Any = "auto", *, patience: float = _PATIENCE) -> None:
        self._auto = registry == "auto" if isinstance(registry, str) else False
        self._registry: Any = registry if not isinstance(registry, (str, bool)) else None
        if registry is True:
            self._registry = client.default_registry(required=True)
        self._runner: TimeLimitedRunner[Collector, Rows] = TimeLimitedRunner("otelbridge-neighbour", _SHARE)
        self._seconds = patience / _SHARE
        # Now: what looks it up may import, and a child forked meanwhile could never import that.
        self._scope = InstrumentationScope(client.PACKAGE, client.version())
        self._streams: StreamRegistry | None = None
        self._processes: Processes | None = None
        self._limit = 0
        self._known: dict[tuple[Part, object], tuple[Any, ForeignStream]] = {}
        self._met: set[bytes] = set()
        self._baseline = Baseline()
        self._before: Rows | None = None
        self._last: Rows = {}
        self._counted: dict[Held, Rows] = {}
        self._shared: Collector | None = None
        self._forking: int | None = None
        # Rounds one after the other; and briefly, whoever changes what is known.
        self._round = forks.lock()
        self._lock = forks.lock()

    def join(self, streams: StreamRegistry, processes: Processes | None, limit: int) -> None:
        """See `otelbridge.metrics.foreign.Source`."""
        self._streams, self._processes, self._limit = streams, processes, limit
        self._started = time.time_ns() if processes is None else processes.started

    @property
    def present(self) -> bool:
        """See `otelbridge.metrics.foreign.Source`."""
        return bool(self._held())

    def refresh(self) -> None:
        """See `otelbridge.metrics.foreign.Source`."""
        # A signal handler, or a collector that scrapes, comes in the way of its own thread.
        if forks.owns(self._round) or not self._round.acquire(timeout=_TURN):
            return
        try:
            self._refresh()
        except Exception as error:  # whatever a registry of somebody's own making does
            warn_once(
                (client.PACKAGE, "refresh", type(error).__name__),
                "The metrics of prometheus_client are not shown as they are now, since reading them failed: %s",
                origin_of(error),
            )
        finally:
            self._round.release()
            log_waiting()

    def receive(self, totals: Totals | None) -> None:
        """See `otelbridge.metrics.foreign.Source`."""
        for identity in () if totals is None else totals.places.keys() - self._met:
            self._met.add(identity)
            if not is_foreign(identity):
                continue
            try:
                foreign = Foreign.decode(identity)
            except ValueError as error:  # another version of this package may have written it
                warn_once((client.PACKAGE, "guest"), "A metric of another process cannot be shown: %s", error)
            else:
                self._stream("everywhere", foreign, own=False)

    def wire(self, storage: Storage) -> None:
        """See `otelbridge.metrics.foreign.Source`."""
        fits = ("everywhere", "merged") if storage.merged else ("everywhere", "own")
        with self._lock:
            known = list(self._known.items())
        storage.adopt(
            self,
            {
                instrument: partial(ForeignMatch, stream=stream)
                for (part, _), (instrument, stream) in known
                if part in fits
            },
        )

    def before_fork(self) -> None:
        """See `otelbridge.metrics.foreign.Source`."""
        # No gauges: they are not counted, and may ask functions of the application.
        own: list[Held] = (
            [] if client.keeps_shared_values() else [each for each in self._held() if each.own and not each.mode]
        )
        # While somebody reads, prometheus_client's locks are taken, and would be for ever in the child. So nobody
        # reads until the fork is over, unless it is the reading itself that forks.
        inside = threading.current_thread() is self._runner.thread
        if not inside and self._round.acquire(timeout=_PATIENCE):
            self._forking = threading.get_ident()
            self._before = _joined(self._answers(self._read(own), own).values()) if own else None

    def after_fork_in_parent(self) -> None:
        """See `otelbridge.metrics.foreign.Source`."""
        # Several threads may fork at once, and not all of them wait for what is being read.
        if self._forking == threading.get_ident():
            self._before = self._forking = None
            self._round.release()

    def after_fork(self) -> None:
        """See `otelbridge.metrics.foreign.Source`."""
        before = self._before
        self.after_fork_in_parent()
        self._runner.after_fork()
        self._met = set()
        if not client.keeps_shared_values():
            self._baseline = Baseline(self._last if before is None else before)
        self._last, self._counted = {}, {}
        if self._processes is not None:
            self._publish_at_the_end()

    def _publish_at_the_end(self) -> None:
        # The children of these end without what is registered with `atexit`. Celery's are billiard's. They forget
        # finalizers when they begin, which is after this.
        for name in ("multiprocessing.util", "billiard.util"):
            util: Any = sys.modules.get(name)
            if util is not None:
                util.register_after_fork(self, partial(_finalize, util))

    def close(self) -> None:
        """Let the thread that reads end."""
        self._runner.close()

    def _held(self) -> list[Held]:
        registry = self._registry
        if self._auto and registry is None:
            registry = client.default_registry(required=False)
        if registry is None:
            return []
        found = client.held(registry)
        return [] if self._auto and client.only_defaults(found) else found

    def _refresh(self) -> None:
        held = self._held()
        if self._shares():
            parts: list[tuple[Part, list[Held]]] = [
                ("merged", self._files()),
                ("own", [each for each in held if each.own]),
                ("everywhere", [each for each in held if not each.own]),
            ]
        else:
            parts = [("everywhere", held)]
        # All at once, so that they share the time there is.
        found = self._read([each for _, collectors in parts for each in collectors])
        counted: dict[Held, Rows] = {}
        for part, collectors in parts:
            here = self._answers(found, collectors)
            counted |= {each: counting(rows) for each, rows in here.items()}
            if part == "everywhere":
                self._last = _joined([rows for each, rows in here.items() if each.own])
            self._feed(part, _joined(here.values()))
        self._counted = counted

    def _shares(self) -> bool:
        # Where each process is shown by itself, what others have in the files is not its own.
        return client.keeps_shared_values() and self._processes is not None

    def _files(self) -> list[Held]:
        try:
            self._shared = self._shared or client.shared_values()
        except ValueError as error:
            warn_once(
                (client.PACKAGE, "directory"),
                "The values of other processes in %s cannot be read: %s.",
                client.DIRECTORY_VARIABLE,
                error,
            )
            return []
        return [] if self._shared is None else [client.Held(self._shared, own=True, mode=None)]

    def _read(self, held: Sequence[Held]) -> dict[Held, Rows]:
        results, errors = self._runner.run(
            {each.collector: on_behalf(partial(_rows, each)) for each in held}, self._seconds
        )
        for collector, error in errors.items():
            warn_once(
                (client.PACKAGE, "collector", _described(collector), type(error).__name__),
                "A collector of prometheus_client is left out, %.200s: %s. What it had counted stays; the rest comes "
                "back when it answers.",
                _described(collector),
                # The text of what was raised is whoever's; that of what was not even raised is ours.
                error if error.__traceback__ is None else origin_of(error),
            )
        return {each: results[each.collector] for each in held if each.collector in results}

    def _answers(self, found: Mapping[Held, Rows], collectors: Sequence[Held]) -> dict[Held, Rows]:
        # What was counted stays while nobody answers: gone and back again, it would count twice in rates.
        return {each: found[each] if each in found else self._counted.get(each, {}) for each in collectors}

    def _feed(self, part: Part, rows: Mapping[Foreign, list[Any]]) -> None:
        fed: dict[object, tuple[Foreign, list[Any]]] = {}
        for foreign, each in rows.items():
            known, found = fed.setdefault(foreign.key, (foreign, []))
            if known is not foreign:
                warn_once(
                    (client.PACKAGE, "described", foreign.name),
                    "Two collectors of prometheus_client describe %.200s in two ways: %.100r is shown, and several "
                    "series with the labels of one another are shown as one. Rename one.",
                    foreign.name,
                    known.help,
                )
            found += self._baseline.take_off(foreign, each) if part == "everywhere" else each
        for foreign, each in fed.values():
            stream = self._stream(part, foreign, own=True)
            if stream is not None:
                stream.feed(each)
        for (whose, key), (_, stream) in list(self._known.items()):
            if whose == part and key not in fed:
                stream.feed(())
                if stream.alone and not stream.shown:
                    self._drop(part, stream.foreign)

    def _stream(self, part: Part, foreign: Foreign, *, own: bool) -> ForeignStream | None:
        with late_warnings, self._lock:
            known = self._known.get((part, foreign.key))
            if known is not None and (known[1].foreign == foreign or not own):
                return known[1]
            if known is not None and self._streams is not None:
                self._streams.drop((part, foreign.key))
            if self._streams is None or len(self._known) >= _MOST:
                warn_once(
                    (client.PACKAGE, "most"),
                    "There are more than %d metrics of prometheus_client; further ones are left out. Name a metric "
                    "once, and tell what varies by labels.",
                    _MOST,
                )
                return None
            processes, hide = self._processes if part == "everywhere" else None, self._streams.hide
            stream = self._streams.add(
                (part, foreign.key),
                lambda terms: ForeignStream(foreign, terms, processes, started=self._started, hide=hide),
                self._limit,
            )
            self._known[part, foreign.key] = (create_foreign_instrument(foreign, self._scope), stream)
            return stream

    def _drop(self, part: Part, foreign: Foreign) -> None:
        with self._lock:
            del self._known[part, foreign.key]
            self._met.discard(foreign.encode())  # another process may have it some day
            if self._streams is not None:
                self._streams.drop((part, foreign.key))


def _finalize(util: Any, neighbour: Neighbour) -> None:
    util.Finalize(neighbour, neighbour.refresh, exitpriority=0)


def _rows(held: Held) -> Rows:
    return read(held.collector.collect(), held.mode)


def _joined(found: Iterable[Rows]) -> Rows:
    joined: Rows = {}
    for rows in found:
        for foreign, each in rows.items():
            joined.setdefault(foreign, []).extend(each)
    return joined


def _described(collector: object) -> str:
    name = getattr(collector, "_name", None)
    return f"{type(collector).__module__}.{type(collector).__qualname__}" + (f" {name!r}" if name else "")
