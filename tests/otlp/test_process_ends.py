"""What the end of a process costs: nothing that it has recorded, while another of its group lives."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.otlp.faults import Receiver, answer
from tests.otlp.pushing import eventually, points, run_directory
from tests.workers.endings import ENDINGS, JOBS, OF_A_CHILD
from tests.workers.programs import GROUP, attempt, observed

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.endtoend

# Nobody pushes at this interval, so what arrives was pushed at the end.
_NEVER = {"OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
# Those ends at which Python still runs something.
_CLEAN = ("return", "exception", "SIGINT", "os.fork child", "fork child", "spawn child")
_AT_ONCE = 3


class Totals:
    """The jobs of each ending, as a receiver heard of them."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self._heard: dict[str, list[float]] = {}
        self._read = 0

    def of(self, how: str) -> float:
        """The total that came last; none may be less than one before it."""
        new = self.receiver.exchanges[self._read :]
        self._read += len(new)
        for where, value in points(exchange.body for exchange in new).get("service.jobs", []):
            self._heard.setdefault(where["kind"], []).append(value)
        totals = self._heard.get(how, [0])
        assert totals == sorted(totals), "a total fell"
        return totals[-1]


def wanted(how: str) -> int:
    return JOBS + OF_A_CHILD if "child" in how else JOBS


def end(how: str, settings: dict[str, str]) -> None:
    """Run a process that does its jobs and ends."""
    attempt([sys.executable, "-m", "tests.workers.endings", how], environment={**settings, **_NEVER})


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Totals]:
    """A group whose leader pushes all the time, after all its others have ended."""
    with Receiver(answer()) as receiver, run_directory() as directory:
        url = receiver.url.removesuffix("/v1/metrics")
        group = {"OTELBRIDGE_RUN_DIRECTORY": directory, **GROUP, "SERVICE_OTLP": url}
        with observed({**group, "OTEL_METRIC_EXPORT_INTERVAL": "500"}, tmp_path_factory.mktemp("observer")):
            eventually(lambda: receiver.exchanges)
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda how: end(how, group), ENDINGS))
            yield Totals(receiver)


@pytest.fixture(scope="module")
def alone() -> Iterator[dict[str, Totals]]:
    """Processes without a group that have ended."""

    def run(how: str) -> Totals:
        with Receiver(answer()) as receiver, run_directory() as directory:
            end(how, {"OTELBRIDGE_RUN_DIRECTORY": directory, "SERVICE_OTLP": receiver.url.removesuffix("/v1/metrics")})
        return Totals(receiver)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield dict(zip(_CLEAN, pool.map(run, _CLEAN), strict=True))


@pytest.mark.parametrize("how", ENDINGS)
def test_whoever_leads_sends_what_one_that_has_ended_recorded(how, led) -> None:
    eventually(lambda: led.of(how) >= wanted(how))
    # Whether what is over was folded meanwhile or is at this moment, it must not count twice.
    before = len(led.receiver.exchanges)
    eventually(lambda: len(led.receiver.exchanges) > before)
    assert led.of(how) == wanted(how)


@pytest.mark.parametrize("how", _CLEAN)
def test_one_that_is_alone_sends_at_its_end(how, alone) -> None:
    assert alone[how].of(how) == wanted(how)
