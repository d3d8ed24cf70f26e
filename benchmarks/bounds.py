"""What must hold, as ratios measured within one run. Absolute times are nobody's promise."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.http import INSTRUMENTATOR, OFFICIAL_TWO
from benchmarks.imports import BY_HAND
from benchmarks.model import OURS
from benchmarks.peers import HELD, LABELS, MULTIPROCESS, PROMETHEUS, SDK_ONE, SDK_TWO


@dataclass(frozen=True)
class Bound:
    """One promise about one figure."""

    figure: str
    """Name of the figure."""

    peer: str | None
    """Whom ours is divided by; None for figures that are a ratio, or a count, by themselves."""

    limit: float
    """What the median must not exceed, or fall below."""

    promise: str
    """Where it comes from: the sentence that is promised."""

    at_least: bool = False
    """Whether the limit is the lower one."""

    contender: str = OURS
    """Whose figure it is."""


_UPSTREAM_STALL = "make_asgi_app with the OpenTelemetry SDK"

_BOUND_COUNTER = "A bound counter costs at most 0.3 of a held prometheus_client child and 1/100 of the SDK"
_BOUND_HISTOGRAM = "A bound histogram costs at most 0.35 of a held prometheus_client child and 1/40 of the SDK"
_DICT = "Recording with 3 attributes costs at most 0.4 of prometheus_client's labels() and 1/20 of the SDK"
_READER = "A second reader costs nothing on the recording path (1.05)"
_THREADS = "4 threads on one series reach 0.75 of the throughput of one, and nothing is lost"
_COUNTERS = "A scrape of 10 000 counters takes 1/30 of upstream's reader and 1/10 of prometheus_client"
_HISTOGRAMS = "A scrape of 10 000 histograms takes 1/15 of upstream's reader and 1/10 of prometheus_client"
_LINEAR = "A scrape is linear to 100 000 series"
_STALL = "A scrape of 10 000 histograms stalls the event loop for at most 1/10 of upstream's endpoint"
_WORKERS = "A scrape of 16 workers takes 1/15 of prometheus_client's multi-process mode, and is flat in dead workers"
_OTLP = "A push of 10 000 points takes at most 1/8 of the SDK"
_HTTP = "FastAPI: at most 0.4 of prometheus-fastapi-instrumentator and 1/9 of the official instrumentation is added"
_SQL = "A SQLAlchemy statement with its duration recorded takes at most 1.3 of a bare one"
_MEMORY = "10 000 series take at most half the memory of the SDK with two readers"
_IMPORT = "Import and init() take at most 1.1 of the SDK and its exporters set up by hand"

_DICT_THREADS = f"{OURS}, with a dict"

# Caches of the processor fit ten thousand series better than a hundred thousand: a quick renderer feels that.
_LINEAR_LIMIT = 2.0
_FLAT_LIMIT = 1.25

BOUNDS: tuple[Bound, ...] = (
    Bound("recording.counter_bound", HELD, 0.3, _BOUND_COUNTER),
    Bound("recording.counter_bound", SDK_TWO, 1 / 100, _BOUND_COUNTER),
    Bound("recording.histogram_bound", HELD, 0.35, _BOUND_HISTOGRAM),
    Bound("recording.histogram_bound", SDK_TWO, 1 / 40, _BOUND_HISTOGRAM),
    Bound("recording.counter_dict", LABELS, 0.4, _DICT),
    Bound("recording.counter_dict", SDK_TWO, 1 / 20, _DICT),
    Bound("recording.histogram_dict", LABELS, 0.4, _DICT),
    Bound("recording.histogram_dict", SDK_TWO, 1 / 20, _DICT),
    Bound("recording.second_reader", None, 1.05, _READER),
    Bound("threads.counter_scaling", None, 0.75, _THREADS, at_least=True),
    Bound("threads.histogram_scaling", None, 0.75, _THREADS, at_least=True),
    Bound("threads.counter_lost", None, 0, _THREADS),
    Bound("threads.counter_lost", None, 0, _THREADS, contender=_DICT_THREADS),
    Bound("threads.histogram_lost", None, 0, _THREADS),
    Bound("threads.histogram_lost", None, 0, _THREADS, contender=_DICT_THREADS),
    Bound("scrape.counters", SDK_ONE, 1 / 30, _COUNTERS),
    Bound("scrape.counters", PROMETHEUS, 1 / 10, _COUNTERS),
    Bound("scrape.histograms", SDK_ONE, 1 / 15, _HISTOGRAMS),
    Bound("scrape.histograms", PROMETHEUS, 1 / 10, _HISTOGRAMS),
    Bound("scrape.counters_growth", None, _LINEAR_LIMIT, _LINEAR),
    Bound("scrape.histograms_growth", None, _LINEAR_LIMIT, _LINEAR),
    Bound("scrape.stall", _UPSTREAM_STALL, 1 / 10, _STALL),
    Bound("workers.scrape", MULTIPROCESS, 1 / 15, _WORKERS),
    Bound("workers.scrape_many", MULTIPROCESS, 1 / 15, _WORKERS),
    Bound("workers.dead", None, _FLAT_LIMIT, _WORKERS),
    Bound("workers.very_many_dead", None, _FLAT_LIMIT, _WORKERS),
    Bound("otlp.counters", "OpenTelemetry SDK", 1 / 8, _OTLP),
    Bound("otlp.histograms", "OpenTelemetry SDK", 1 / 8, _OTLP),
    Bound("http.added", INSTRUMENTATOR, 0.4, _HTTP),
    Bound("http.added", OFFICIAL_TWO, 1 / 9, _HTTP),
    Bound("sqlalchemy.statement", None, 1.3, _SQL),
    Bound("memory.counters", SDK_TWO, 0.5, _MEMORY),
    Bound("memory.histograms", SDK_TWO, 0.5, _MEMORY),
    Bound("imports.init", BY_HAND, 1.1, _IMPORT),
)
