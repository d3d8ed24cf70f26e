"""A scrape that an exception ends anywhere (^C, a time limit, an alarm) costs the next one nothing."""

from __future__ import annotations

import sys
import threading

import pytest
from opentelemetry.metrics import Observation

import otelbridge.prometheus
from otelbridge.metrics.provider import MeterProvider
from otelbridge.prometheus.reader import Exposition, PrometheusReader

_ROOM = otelbridge.prometheus.__path__[0]


class _Interrupt(BaseException):
    """As what a signal handler raises."""


class _Interrupter:
    """Raises at one line of the room: the first, the second, ..."""

    def __init__(self, at: int) -> None:
        self._left = at

    @property
    def raised(self) -> bool:
        return self._left < 0

    def __call__(self, frame, event, _argument):
        if not frame.f_code.co_filename.startswith(_ROOM) or frame.f_code.co_name in ("__exit__", "__del__"):
            return None
        return self._line

    def _line(self, frame, event, _argument):
        if event == "line":
            self._left -= 1
            if self._left == -1:
                raise _Interrupt
        return self._line


def _interrupted_at(line: int, reader: PrometheusReader, form: str) -> bool:
    interrupter = _Interrupter(line)
    before = sys.gettrace()
    sys.settrace(interrupter)
    try:
        reader.render(form)
    except _Interrupt:
        pass
    finally:
        sys.settrace(before)
    return interrupter.raised


def _parts(page: Exposition) -> list[object]:
    # Families are in the order in which they were first seen, and what was interrupted sees them anew.
    return sorted(page.body if b"\0" in page.body else page.body.splitlines())


@pytest.mark.parametrize("form", ["text/plain", "application/openmetrics-text", "application/vnd.google.protobuf"])
def test_the_next_scrape_is_whole_wherever_one_was_interrupted(form) -> None:
    interrupted, calm = PrometheusReader(), PrometheusReader()
    provider = MeterProvider([interrupted, calm], shutdown_on_exit=False)
    meter = provider.get_meter("shop")
    orders, size = meter.create_counter("orders"), meter.create_histogram("size")
    meter.create_observable_gauge("depth", [lambda _: [Observation(3, {"queue": "mail"})]])
    line = 0
    while True:
        # Series come and go, so that what is remembered from scrape to scrape is not all there is.
        kind = {"kind": line // 3 % 4}
        orders.add(1, kind)
        size.record(line, {"kind": line % 2})
        if line % 3 == 2:
            orders.remove(kind)
        if not _interrupted_at(line, interrupted, form):
            break
        assert _parts(interrupted.render(form)) == _parts(calm.render(form))
        line += 1
    assert line > 100
    # And the turn is nobody's.
    pages = []
    thread = threading.Thread(target=lambda: pages.append(interrupted.render(form)), daemon=True)
    thread.start()
    thread.join(30)
    assert [_parts(page) for page in pages] == [_parts(calm.render(form))]
