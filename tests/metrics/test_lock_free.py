"""The guard of recording without a lock: what the interpreter really executes between load and store."""

from __future__ import annotations

import dis
import inspect

import pytest

from otelbridge.metrics.bound import create_bound_writer
from otelbridge.metrics.kinds import Kind
from otelbridge.metrics.limits import Terms
from otelbridge.metrics.series import LOCK_FREE, HistogramSeries, SumSeries
from otelbridge.metrics.streams import Stream
from otelbridge.metrics.writers import create_writer

pytestmark = pytest.mark.skipif(not LOCK_FREE, reason="this interpreter makes no promise, so a lock is taken instead")

_INTERRUPTS = ("CALL", "PRECALL", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "RESUME", "YIELD", "SEND", "FOR_ITER", "IMPORT")


def _writers():
    for kind in (Kind("sum"), Kind("histogram", (1.0, 2.0))):
        stream = Stream("s", kind, None, Terms(10))
        settings = {"signed": False, "watch": None, "offer": lambda *_: None}
        yield pytest.param(create_writer(stream, "s", **settings), id=f"{kind.name} by attributes")
        yield pytest.param(create_bound_writer(stream, None, "s", **settings), id=f"{kind.name} bound")
    yield pytest.param(SumSeries._put, id="sum by itself")
    yield pytest.param(HistogramSeries._put, id="histogram by itself")


def _atomic_lines(function) -> set[int]:
    """The lines between the comments that say so, but for the way out when 64 bits are not enough."""
    source, first = inspect.getsourcelines(function)
    found, inside = set(), False
    for at, line in enumerate(source):
        text = line.strip()
        if text == "# Atomic from here":
            inside = True
        elif text == "# to here.":
            inside = False
        elif inside and not text.startswith("except ValueError") and not text.endswith(".spill()"):
            found.add(first + at)
    assert not inside
    return found


def _lines(function, *texts: str) -> set[int]:
    source, first = inspect.getsourcelines(function)
    return {first + at for at, line in enumerate(source) if line.strip().startswith(texts)}


def _interrupts(function, lines: set[int]) -> list[str]:
    """Instructions on some source lines at which another thread, a signal handler or a finalizer could run."""
    found, line = [], None
    for instruction in dis.get_instructions(function):
        position = getattr(instruction, "positions", None)
        if position is not None and position.lineno is not None:
            line = position.lineno
        elif isinstance(instruction.starts_line, int) and not isinstance(instruction.starts_line, bool):
            line = instruction.starts_line
        if line in lines and instruction.opname.startswith(_INTERRUPTS):
            found.append(f"{instruction.opname} in line {line}")
    return found


@pytest.mark.parametrize("write", list(_writers()))
def test_nothing_can_run_while_a_series_is_written(write) -> None:
    lines = _atomic_lines(write)
    assert len(lines) >= 8
    assert _interrupts(write, lines) == []


def test_nothing_can_run_while_a_histogram_is_taken() -> None:
    lines = _lines(HistogramSeries._take, "row =", "low =", "high =", "self.min =", "self.max =")
    assert len(lines) == 5
    assert _interrupts(HistogramSeries._take, lines) == []


def test_the_guard_sees_a_call() -> None:
    def broken(series, amount) -> None:
        series.whole += float(amount)

    assert _interrupts(broken, _lines(broken, "series.whole +=")) != []
