"""Assembles everything one `init()` starts, from one `Config`, and takes it down again."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from otelbridge.catalogue.registry import DOMAINS, METRICS
from otelbridge.config.resolve import differences
from otelbridge.diagnostics import inform
from otelbridge.domains import health
from otelbridge.domains.recording import Registration
from otelbridge.errors import ConfigError
from otelbridge.instrumentation import discovery
from otelbridge.instrumentation.applications import ApplicationFinder
from otelbridge.instrumentation.attach import Attachments
from otelbridge.interpreters import refuse_subinterpreter
from otelbridge.metrics._sdk import registered_readers
from otelbridge.metrics.hosts import read_provider
from otelbridge.metrics.introspection import observe_itself
from otelbridge.metrics.limits import with_limits
from otelbridge.metrics.pipeline import Pipeline, seconds_left
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.resource import create_resource
from otelbridge.metrics.switch import switch
from otelbridge.metrics.views import check_targets, create_views, user_views
from otelbridge.neighbour.client import shown_registry
from otelbridge.neighbour.heirs import Heirs
from otelbridge.neighbour.source import Neighbour
from otelbridge.otlp.introspection import named_pushes, observe_pushes
from otelbridge.otlp.reader import create_console_reader, create_otlp_reader, destination_keys
from otelbridge.otlp.spool import start_spool
from otelbridge.prometheus.introspection import observe_scrapes
from otelbridge.prometheus.places import ON_APPLICATIONS, Places
from otelbridge.prometheus.pull import Pull
from otelbridge.prometheus.readiness import ComponentHealth
from otelbridge.reentrance import unless_refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.resources import Resource

    from otelbridge.attached import Attached
    from otelbridge.config.options import Config
    from otelbridge.otlp.spans import Spans
    from otelbridge.otlp.spool import Spool
    from otelbridge.prometheus.serving import AsgiEndpoint

_SHUTDOWN_TIMEOUT = 10.0


class Bridge:
    """What `otelbridge.init` started. Made by `create_bridge`."""

    def __init__(self, config: Config, attached: Attached) -> None:
        self.config = config
        """The settings, decided."""
        self.attached = attached
        """The application's objects it was given."""
        self.resource: Resource | None = None
        """The service; None with the user's own provider, and when switched off."""
        self.metrics_url: str | None = None
        """Where Prometheus can scrape: a full URL for the own server, a path for an application."""
        self.running = False
        """Whether it has been started, and not shut down since."""
        self.provisional = False
        """Whether the application has not called `otelbridge.init` yet, and may have other settings."""
        self._pull: Pull | None = None
        self._places: Places | None = None
        self._pipeline: Pipeline | None = None
        self._pushes: list[MetricReader] = []
        self._spans: Spans | None = None
        self._spool: Spool | None = None
        self._attachments: Attachments | None = None
        self._undo = ExitStack()

    @property
    def endpoint(self) -> AsgiEndpoint | None:
        """The scrape endpoint as an ASGI application, to mount by hand; None when pull is off."""
        return None if self._pull is None else self._pull.endpoint()

    def render(self, accept: str | None = None) -> str:
        """Render what a scrape would get now.

        Args:
            accept: ``Accept`` header; by default the plain Prometheus text format.

        Returns:
            The text; empty when pull is off.
        """
        return "" if self._pull is None else self._pull.reader.render(accept).body.decode()

    def instrument_app(self, app: Any) -> Registration:
        """Record the HTTP metrics of a further application. It is not kept alive.

        Args:
            app: A FastAPI or Starlette application.

        Returns:
            A handle whose `close()` undoes it; the same one for the same application.
        """
        if self._attachments is None or not self.running:
            return Registration(lambda: None)
        return self._attachments.app(app)

    def take(self, config: Config, attached: Attached) -> bool:
        """Become what the application asks for, where that only adds to what was started without it.

        Args:
            config: The settings it decided on.
            attached: Its objects.

        Returns:
            Whether it is that now; if not, nothing has changed.

        Raises:
            ConfigError: The application cannot be instrumented, or serves the path already.
        """
        changed = {*differences(self.config, config), *self.attached.differences(attached)}
        if changed - {"app", "engine"}:
            return False
        if attached.app is not None:
            self.adopt(attached.app)
        for engine in attached.engines:
            self.instrument_engine(engine)
        self.attached, self.provisional = attached, False
        return True

    def adopt(self, app: Any) -> None:
        """Take an application that was found, or given later: record its requests, and serve the metrics on it.

        Args:
            app: A FastAPI or Starlette application.

        Raises:
            ConfigError: It cannot be instrumented, or serves the path already.
        """
        if self.running:
            self.instrument_app(app)
            if self._places is not None:
                self._places.serve_on(app)

    def instrument_engine(self, engine: Any) -> Registration:
        """Record the database metrics of a further engine. It is not kept alive.

        Args:
            engine: A SQLAlchemy ``Engine`` or ``AsyncEngine``.

        Returns:
            A handle whose `close()` undoes it; the same one for the same engine, which is not found again either.
        """
        if self._attachments is None or not self.running:
            return Registration(lambda: None)
        return self._attachments.engine(engine)

    def force_flush(self, timeout: float = 10.0) -> bool:
        """Push what is recorded now, metrics and spans, to every destination.

        Args:
            timeout: Seconds for it.

        Returns:
            Whether every destination acknowledged it; False at once for a callback, signal handler or finalizer in the
            middle of a scrape, a flush or the end.
        """
        return unless_refused("force_flush()", lambda: self._flush(timeout))

    def _flush(self, timeout: float) -> bool:
        deadline = monotonic() + timeout
        spans = None if self._spans is None else self._spans.begin_flush()
        arrived = True if self._pipeline is None else self._pipeline.force_flush(timeout)
        return (spans is None or spans(seconds_left(deadline))) and arrived

    def shutdown(self, timeout: float = _SHUTDOWN_TIMEOUT) -> bool:
        """Push once more, then undo everything that was started. Stopping twice is harmless.

        Args:
            timeout: Seconds for the last push.

        Returns:
            Whether the last push and the last spans arrived everywhere, and every reader stopped without an error.
            False at once, and nothing is stopped, for a callback, signal handler or finalizer in the middle of a
            scrape, a flush or the end.
        """
        return unless_refused("shutdown()", lambda: self.end(timeout))

    def end(self, timeout: float) -> bool:
        """Do what `shutdown` does; the caller has made sure that this thread is in no scrape, flush or end."""
        self.running = False
        deadline = monotonic() + timeout
        with self._undo:  # also when somebody has no patience for the last push
            # First the data, while everything that observes is still there to be read.
            arrived = True if self._pipeline is None else self._pipeline.shutdown(timeout)
            sent = True if self._spans is None else self._spans.close(seconds_left(deadline))
            return arrived and sent

    def start(self) -> None:
        """Start everything, or nothing.

        Raises:
            ConfigError: Something that was asked for cannot be had. What had been started is undone.
        """
        if not self.config.enabled:
            self.running = True
            inform("otelbridge is switched off (OTEL_SDK_DISABLED); nothing is recorded.")
            return
        refuse_subinterpreter()
        names = discovery.select(self.config.instrument)
        views = user_views(self.config.views)
        check_targets(METRICS.values(), views)
        with ExitStack() as undo:
            processes = self._join(undo)
            self._serve(processes, undo)
            provider = self.attached.meter_provider or self._create_pipeline(views, processes, undo).provider
            self._start_spans(undo)
            muted = [domain.meter for domain in DOMAINS if domain.name not in self.config.domains]
            undo.callback(switch.disconnect)
            switch.connect(provider, muted)
            self._attach(names, undo)
            self._undo = undo.pop_all()
        self.running = True

    def _join(self, undo: ExitStack) -> Processes | None:
        if self.config.workers != "merged" or self.attached.meter_provider is not None:
            return None
        processes = Processes(self.config.service_name or "", self.config.run_directory)
        undo.callback(processes.close)
        return processes

    def _serve(self, processes: Processes | None, undo: ExitStack) -> None:
        config = self.config.prometheus
        if config.mode == "off":
            return
        self._pull = pull = Pull(config, lambda: self._health(processes))
        theirs = self.attached.meter_provider
        if theirs is not None:
            undo.callback(read_provider(theirs, pull.reader))
        undo.callback(pull.close)
        registry = self.config.prometheus_client if theirs is None else False
        self._places = places = Places(pull, partial(shown_registry, registry))
        undo.callback(places.close)
        if self.attached.app is not None:
            places.serve_on(self.attached.app)
        places.listen(processes)
        self.metrics_url = places.url

    def _health(self, processes: Processes | None) -> Iterator[ComponentHealth]:
        yield ComponentHealth("metrics", "service", "degraded" if processes and processes.degraded else "healthy")
        for name, reader in named_pushes(self._pushes).items():
            # What is not delivered yet is kept; the service does its work without.
            failing = reader.state.consecutive_failures > 0
            yield ComponentHealth(name, "integration", "degraded" if failing else "healthy")
        for each in health.components():
            yield ComponentHealth(each.name, each.type, each.state)

    def _create_pipeline(self, views: Sequence[View], processes: Processes | None, undo: ExitStack) -> Pipeline:
        _check_readers(self.attached.metric_readers)
        self.resource = create_resource(self.config, processes.identity if processes else "")
        views = create_views(METRICS.values(), views)
        neighbour = self._neighbour(undo)
        push = self._pushes
        with ExitStack() as undo_push:
            undo_push.callback(_stop, push)
            for destination, key in zip(self.config.otlp, destination_keys(self.config.otlp), strict=True):
                reader = create_otlp_reader(destination, processes, key)
                push.append(with_limits(reader, destination.cardinality_limits))
            if self.config.console:
                push.append(create_console_reader())
            self._pipeline = Pipeline(
                self.resource,
                views,
                [self._pull.reader] if self._pull else [],
                (*push, *self.attached.metric_readers),
                self.config.exemplar_filter,
                cardinality_limit=self.config.cardinality_limit,
                series_limit=self.config.series_limit,
                processes=processes,
                hide_secrets=self.config.hide_secrets,
            )
            undo_push.pop_all()
        undo.callback(self._pipeline.shutdown, _SHUTDOWN_TIMEOUT)
        if neighbour is not None:
            self._pipeline.provider.add_source(neighbour)
        if "self" in self.config.domains:
            observe_itself(self._pipeline.provider, processes)
            observe_pushes(self._pipeline.provider, push)
            if self._pull is not None:
                observe_scrapes(self._pipeline.provider, self._pull.reader)
        self._start_spool(self.resource, processes, undo)
        return self._pipeline

    def _start_spool(self, resource: Resource, processes: Processes | None, undo: ExitStack) -> None:
        sources = tuple if self.config.prometheus_client is False else _heirs
        self._spool = start_spool(self.config, processes, resource, sources)
        if self._spool is not None:
            undo.callback(self._spool.close)

    def _neighbour(self, undo: ExitStack) -> Neighbour | None:
        if self.config.prometheus_client is False:
            return None
        neighbour = Neighbour(self.config.prometheus_client)
        undo.callback(neighbour.close)
        return neighbour

    def _start_spans(self, undo: ExitStack) -> None:
        if self.config.traces and self.resource is not None:
            from otelbridge.otlp.spans import Spans

            self._spans = Spans(self.resource, self.config.spans, console=self.config.spans_on_console)
            undo.callback(self._spans.close)

    def _attach(self, names: Sequence[str], undo: ExitStack) -> None:
        attachments = Attachments(
            names,
            domains=self.config.domains,
            find_engines=self.config.find_engines,
            tracer_provider=self._spans.provider if self._spans else None,
            excluded_paths=(self.config.prometheus.path,) if self.config.prometheus.mode in ON_APPLICATIONS else (),
        )
        undo.callback(attachments.close)
        self._attachments = attachments
        attachments.process()
        if self.attached.app is not None:
            attachments.app(self.attached.app)
        for engine in self.attached.engines:
            attachments.engine(engine)
        if self.attached.automatic:
            undo.callback(ApplicationFinder(self.adopt).close)


def _heirs() -> tuple[Heirs]:
    return (Heirs(),)


def _check_readers(readers: Sequence[MetricReader]) -> None:
    taken = registered_readers()[1]
    for number, reader in enumerate(readers):
        if reader in taken or reader in readers[:number]:
            raise ConfigError(
                f"metric_readers has a {type(reader).__name__} that a provider has already, or had",
                "Make a new one for each init(), and name it once",
            )


def _stop(readers: Sequence[MetricReader]) -> None:
    # Each has a thread from the start, which stops with the provider, once there is one.
    for reader in readers:
        reader.shutdown()  # pyright: ignore[reportUnknownMemberType]


def create_bridge(config: Config, attached: Attached) -> Bridge:
    """Make a bridge and start it.

    Args:
        config: The settings, decided.
        attached: The application's objects.

    Returns:
        The running bridge.

    Raises:
        ConfigError: Something that was asked for cannot be had; nothing is left started.
    """
    if config.prometheus.mode == "app" and attached.app is None and not attached.automatic:
        raise ConfigError(
            "prometheus='app' asks for the endpoint on an application, but there is no app=",
            "Pass the application with app=..., or serve a port of its own with prometheus='server'",
        )
    bridge = Bridge(config, attached)
    bridge.start()
    return bridge
