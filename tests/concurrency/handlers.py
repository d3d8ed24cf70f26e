"""Provokes warnings beside a log handler that records, makes instruments, scrapes and flushes: prints what was logged.

Run by ``python -m tests.concurrency.handlers DIRECTORY``. Another thread logs all the time, so that the handler's lock
is mostly taken, and wants what the provoked calls have locked.
"""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import prometheus_client
from opentelemetry import metrics
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otelbridge
from otelbridge import diagnostics
from otelbridge.concurrency import forks
from otelbridge.metrics.provider import MeterProvider

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers = itertools.count()
_inside = threading.local()


class Handler(logging.Handler):
    """Does all that a handler may, with its lock held."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.locked: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "others":
            self.messages.append(record.getMessage())
            if forks.holding():
                self.locked.append(record.getMessage())
        if getattr(_inside, "it", False):
            return
        _inside.it = True
        try:
            number = next(_numbers)
            meter = metrics.get_meter(f"log {number % 10}")
            meter.create_counter(f"log_{number % 500}").add(1, {"level": str(number % 500)})
            meter.create_observable_gauge(f"log_seen_{number % 20}", [lambda _: [Observation(1)]])
            bridge.render()
            bridge.force_flush(0.01)
        finally:
            _inside.it = False


class Broken:
    """A collector of prometheus_client that raises."""

    def collect(self) -> list[Any]:
        raise ValueError("collector")


def _raises(_options: object) -> list[Observation]:
    raise ValueError("callback")


def _get(path: str) -> None:
    urllib.request.urlopen(f"{(bridge.metrics_url or '').removesuffix('/metrics')}{path}", timeout=60).read()


def _overflow() -> None:
    logins = metrics.get_meter("own").create_counter("logins")
    for number in range(10):
        logins.add(1, {"user": str(number)})


def _duplicates() -> None:
    meter = metrics.get_meter("own")
    meter.create_counter("twice", "s")
    meter.create_counter("twice", "By")


def _advice() -> None:
    meter = metrics.get_meter("own")
    meter.create_histogram("advised", explicit_bucket_boundaries_advisory=[1.0])
    meter.create_histogram("advised", explicit_bucket_boundaries_advisory=[2.0])
    meter.create_histogram("ill_advised", explicit_bucket_boundaries_advisory="no")  # pyright: ignore


def _callback() -> None:
    metrics.get_meter("own").create_observable_gauge("raising", [_raises])
    bridge.render()


def _pushed() -> None:
    (directory / "headers").write_text("\n\n=")
    bridge.force_flush(1)


def _provider() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], instrument_limit=1, series_limit=2, cardinality_limit=2)
    provider.add_metric_reader(reader)
    for number in range(3):
        meter = provider.get_meter(f"m{number}")
        meter.create_counter(f"c{number}").add(1)
    counter = provider.get_meter("m0").create_counter("c0")
    for number in range(5):
        counter.add(1, {"number": number})
    reader.get_metrics_data()
    provider.shutdown()
    provider.shutdown()
    provider.get_meter("late")


def _domains() -> None:
    otelbridge.agents.budget("b", -1)
    bridge.render()


_PROVOKED: dict[str, Callable[[], object]] = {
    "would exceed|limit of 5|overflow": _overflow,
    "exported as twice": _duplicates,
    "different advisory value": _advice,
    "instrument 'no name'": lambda: metrics.get_meter("own").create_counter("no name"),
    "leaves out the amount": lambda: metrics.get_meter("own").create_counter("down").add(-1),
    "Attributes are a mapping": lambda: metrics.get_meter("own").create_counter("odd").add(1, 7),  # pyright: ignore
    "callback": _callback,
    "collector of prometheus_client": lambda: _get("/metrics"),
    "do not arrive": _pushed,
    "headers": _pushed,
    "has been registered already": _provider,
    "There are 1 meters": _provider,
    "cannot be negative": _domains,
}


def _log_all_the_time() -> None:
    while not over.is_set():
        logging.getLogger("others").warning("busy")


directory = Path(sys.argv[1])
(directory / "headers").write_text("a=b")
registry = prometheus_client.CollectorRegistry()
registry.register(Broken())  # pyright: ignore
bridge = otelbridge.init(
    service_name="handlers",
    prometheus=otelbridge.PrometheusOptions(mode="server", port=0),
    otlp=otelbridge.OtlpOptions(endpoint="http://127.0.0.1:1", headers_file=str(directory / "headers")),
    cardinality_limit=5,
    instrument=False,
    prometheus_client=registry,
)
handler, over = Handler(), threading.Event()
logging.getLogger().addHandler(handler)
logging.getLogger().setLevel(logging.DEBUG)
busy = [threading.Thread(target=_log_all_the_time, daemon=True) for _ in range(2)]
for thread in busy:
    thread.start()
silent = []
for words, provoke in _PROVOKED.items():
    provoke()
    if not any(word in message for word in words.split("|") for message in handler.messages):
        silent.append(words)
over.set()
for thread in busy:
    thread.join()
otelbridge.shutdown(1)
diagnostics.log_waiting()
print(json.dumps({"silent": silent, "locked": handler.locked, "waiting": len(diagnostics._waiting)}))
