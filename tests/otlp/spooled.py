"""Programs that record and push as they are told, one command a line.

Starting Python and loading everything takes longer than most of what is tested. So one process does that, and forks off
a program whenever it is asked to, before anything of ours has begun in it: ``python -m tests.otlp.spooled SOCKET``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import prometheus_client
from opentelemetry import metrics
from opentelemetry.metrics import Observation

import otelbridge
import otelbridge.bridge
import otelbridge.lifecycle
import otelbridge.otlp.ticker

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Settings:
    """What a program is started with."""

    urls: list[str]
    group: str = ""
    interval: float = 3600.0
    timeout: float = 5.0
    temporality: str = "cumulative"
    aggregation: str = "explicit_bucket_histogram"
    environ: dict[str, str] = field(default_factory=dict)


class Program:
    """What can be told."""

    def __init__(self, settings: Settings) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self.observed: float | None = None
        self._settings = settings
        self._begin()

    def _begin(self) -> None:
        settings = self._settings
        self.bridge = otelbridge.init(
            service_name="shop",
            prometheus="off",
            instrument=False,
            domains=[],
            prometheus_client=self.registry,
            resource_attributes={"team": "blue"},
            otlp=[
                otelbridge.OtlpOptions(
                    metrics_endpoint=url,
                    interval=settings.interval,
                    timeout=settings.timeout,
                    temporality=settings.temporality,
                    histogram_aggregation=settings.aggregation,
                )
                for url in settings.urls
            ],
        )
        provider = metrics.get_meter_provider()
        self.meter = provider.get_meter("lib", "1.0", "https://schema.test/1", {"scope.key": "v"})

    def add(self, *amounts: float, name: str = "orders", **attributes: Any) -> None:
        for amount in amounts:
            self.meter.create_counter(name, unit="{order}", description="Orders.").add(amount, attributes)

    def record(self, *amounts: float) -> None:
        for amount in amounts:
            self.meter.create_histogram("size", unit="{row}").record(amount)

    def set(self, amount: float) -> None:
        self.meter.create_gauge("level").set(amount)

    def move(self, amount: float) -> None:
        self.meter.create_up_down_counter("stock").add(amount)

    def observe(self, total: float) -> None:
        if self.observed is None:
            self.meter.create_observable_counter("seen", [lambda _: [Observation(self.observed)]])
        self.observed = total

    def count_elsewhere(self, amount: float) -> None:
        """Count with prometheus_client."""
        prometheus_client.Counter("elsewhere", "Counted elsewhere.", registry=self.registry).inc(amount)

    def flush(self, seconds: float = 5.0) -> bool:
        return otelbridge.force_flush(seconds)

    def shutdown(self, seconds: float = 5.0) -> bool:
        return otelbridge.shutdown(seconds)

    def interrupted_shutdown(self) -> str:
        """End, and lose patience as soon as the last push has begun; what was raised."""
        begin = otelbridge.otlp.ticker.Ticker.ask
        # A shell has what it starts in the background ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def ask(ticker: Any, seconds: float, *, last: bool = False) -> Any:
            begin(ticker, seconds, last=last)
            return lambda: signal.raise_signal(signal.SIGINT)

        otelbridge.otlp.ticker.Ticker.ask = ask
        try:
            otelbridge.shutdown(5)
        except KeyboardInterrupt as interrupt:
            return type(interrupt).__name__
        finally:
            otelbridge.otlp.ticker.Ticker.ask = begin
        return ""

    def restart(self, seconds: float = 5.0) -> bool:
        """End, wait for the last push so many seconds, and begin again; whether the push arrived."""
        arrived = otelbridge.shutdown(seconds)
        self._begin()
        return arrived

    def instance(self) -> str:
        return str(self.bridge.resource.attributes["service.instance.id"])

    def fork(self) -> int:
        """Fork a child that does nothing but live, until this program ends."""
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            while os.getppid() == parent:
                time.sleep(0.05)
            os._exit(0)
        return child

    def multiply(self, amount: float, method: str) -> str:
        """Have a child of multiprocessing count, which then is killed; the group it was in."""
        context = multiprocessing.get_context(method)
        counted, count = context.Pipe(duplex=False)
        child = context.Process(target=_count, args=(self if method == "fork" else self._settings, amount, count))
        child.start()
        count.close()
        group = counted.recv()
        child.kill()
        child.join()
        return group

    def group(self) -> str:
        return os.environ["OTELBRIDGE_GROUP"]


def _count(program: Program | Settings, amount: float, counted: Any) -> None:
    program = Program(program) if isinstance(program, Settings) else program
    program.add(amount)
    counted.send(program.group())
    time.sleep(3600)


def run(settings: Settings) -> None:
    """Be a program, until there are no more commands."""
    os.environ.update(settings.environ)
    program = Program(settings)
    sys.stdout.write("null\n")
    sys.stdout.flush()
    for line in sys.stdin:
        name, arguments, keywords = json.loads(line)
        call: Callable[..., Any] = getattr(program, name)
        sys.stdout.write(json.dumps(call(*arguments, **keywords)) + "\n")
        sys.stdout.flush()


def main(control: socket.socket) -> None:
    """Fork off a program for each request, and tell its pid."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that who has ended is gone
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 2)
        if not request:
            return
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.close()
            for descriptor, standard in zip(descriptors, (0, 1), strict=True):
                os.dup2(descriptor, standard)
                os.close(descriptor)
            run(Settings(**json.loads(request)))
            return
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(b"%d\n" % child)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
