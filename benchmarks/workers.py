"""A scrape that has to show many worker processes as one."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from opentelemetry import metrics

from benchmarks import ours
from benchmarks.measure import cpu_sampler
from benchmarks.model import OURS, Effort, Figure, UnmeasuredError
from benchmarks.peers import MULTIPROCESS, choose_multiprocess
from benchmarks.series import otel_touch, prometheus_touch

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.model import Sampler

    Prepare = Callable[[Effort], Sampler]
    Record = Callable[[], None]
    Scrape = Callable[[], str | bytes]

_COUNTERS, _HISTOGRAMS = 800, 200
_DEAD = 3
_VERY_MANY_DEAD = 19
"""Generations of workers that come and go."""
_BEST_OF = 3
_SETTLING = 1.0
"""Seconds until a worker does what it does all its life; ours observes nothing in its first half second."""
_VALUE = re.compile(r"^bench_requests_0_total\{[^}]*\} (\S+)$", re.MULTILINE)


class _Forked:
    """Worker processes that record and then stay until they are told to end."""

    def __init__(self, count: int, record: Record) -> None:
        self._workers: list[tuple[int, int]] = []
        recorded = [self._fork(record) for _ in range(count)]
        for each in recorded:
            if os.read(each, 1) != b"1":
                raise RuntimeError("a worker process died while recording")
            os.close(each)

    def _fork(self, record: Record) -> int:
        """Start one; gives the pipe on which it tells that it has recorded."""
        ready, tell_ready = os.pipe()
        wait, end = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                # Were they open here too, the others would not see their parent go.
                for mine in (end, *(other for _, other in self._workers)):
                    os.close(mine)
                record()
                os.write(tell_ready, b"1")
                os.read(wait, 1)
                code = 0
            finally:
                os._exit(code)
        os.close(tell_ready)
        os.close(wait)
        self._workers.append((pid, end))
        return ready

    def end(self) -> None:
        """End them and wait until they are gone."""
        for pid, end in self._workers:
            os.write(end, b"1")
            os.close(end)
            os.waitpid(pid, 0)


def _ours() -> tuple[Record, Scrape]:
    bridge = ours.start()
    counters = otel_touch(metrics.get_meter("bench"), "counter", _COUNTERS)
    histograms = otel_touch(metrics.get_meter("bench"), "histogram", _HISTOGRAMS)
    return _recorder(counters, histograms), bridge.render


def _prometheus() -> tuple[Record, Scrape]:
    choose_multiprocess()
    from prometheus_client import CollectorRegistry, generate_latest, multiprocess

    collected, unused = CollectorRegistry(), CollectorRegistry()
    multiprocess.MultiProcessCollector(collected)
    counters = prometheus_touch(unused, "counter", _COUNTERS)
    histograms = prometheus_touch(unused, "histogram", _HISTOGRAMS)
    return _recorder(counters, histograms), lambda: generate_latest(collected)


def _recorder(counters: Callable[[int], None], histograms: Callable[[int], None]) -> Record:
    def record() -> None:
        for index in range(_COUNTERS):
            counters(index)
        for index in range(_HISTOGRAMS):
            histograms(index)

    return record


def _check(scrape: Scrape, workers: int) -> None:
    answer = scrape()
    text = answer if isinstance(answer, str) else answer.decode()
    shown = sum(float(value) for value in _VALUE.findall(text))
    if shown != workers * _COUNTERS:
        raise UnmeasuredError(
            f"not there yet: the scrape shows {shown:.0f} of the {workers * _COUNTERS} that {workers} workers counted"
        )


def _live(create: Callable[[], tuple[Record, Scrape]], times: float = 1) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        record, scrape = create()
        count = max(1, int(effort.workers * times))
        _Forked(count, record)
        time.sleep(_SETTLING)
        _check(scrape, count)
        return cpu_sampler(scrape)

    return prepare


def _dead(create: Callable[[], tuple[Record, Scrape]], generations: int = _DEAD) -> Prepare:
    def prepare(effort: Effort) -> Sampler:
        record, scrape = create()
        live = max(1, effort.workers // 4)
        _Forked(live, record)
        time.sleep(_SETTLING)
        _check(scrape, live)
        timed = cpu_sampler(scrape)

        def sample() -> float:
            before = min(timed() for _ in range(_BEST_OF))
            for _ in range(generations):
                _Forked(effort.workers, record).end()
            _check(scrape, live + generations * effort.workers)
            return min(timed() for _ in range(_BEST_OF)) / before

        return sample

    return prepare


FIGURES = (
    Figure(
        "workers.scrape",
        "One scrape of 16 workers with 1000 series each (800 counters, 200 histograms)",
        "ms",
        {OURS: _live(_ours), MULTIPROCESS: _live(_prometheus)},
    ),
    Figure(
        "workers.scrape_few",
        "The same of 4 workers",
        "ms",
        {OURS: _live(_ours, 1 / 4), MULTIPROCESS: _live(_prometheus, 1 / 4)},
    ),
    Figure(
        "workers.scrape_many",
        "The same of 64 workers",
        "ms",
        {OURS: _live(_ours, 4), MULTIPROCESS: _live(_prometheus, 4)},
        rounds=3,
    ),
    Figure(
        "workers.dead",
        "A scrape of 4 workers after 48 more have come and gone, as a multiple of one before",
        "x",
        {OURS: _dead(_ours), MULTIPROCESS: _dead(_prometheus)},
        heavy=True,
        rounds=3,
        fresh=True,
    ),
    Figure(
        "workers.very_many_dead",
        "A scrape of 4 workers after 304 more have come and gone, as a multiple of one before",
        "x",
        {OURS: _dead(_ours, _VERY_MANY_DEAD)},
        rounds=3,
        fresh=True,
    ),
)
