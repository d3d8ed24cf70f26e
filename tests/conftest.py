"""What most tests need: a real SDK provider behind the switch, and a way to read what it holds."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader, Metric

from otelbridge.cells.evidence import GROUP_VARIABLE
from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.switch import switch
from tests.guard import nothing_left
from tests.leftovers import contained, memory_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


# How long an example takes says how busy the machine is.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


class Recorded:
    """Reads back what was recorded through the switch into a real SDK provider."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def metrics(self) -> dict[str, Metric]:
        """All metrics by name; a name that two scopes use fails, since a test must not guess which is meant."""
        data = self.reader.get_metrics_data()
        found: dict[str, Metric] = {}
        for resource_metrics in data.resource_metrics if data else ():
            for scope_metrics in resource_metrics.scope_metrics:
                for metric in scope_metrics.metrics:
                    assert metric.name not in found, f"{metric.name} comes from two scopes"
                    found[metric.name] = metric
        return found

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Points of a metric: (attributes, value), for histograms (attributes, (count, sum))."""
        metric = self.metrics().get(name)
        if metric is None:
            return []
        if isinstance(metric.data, Histogram):
            return [(dict(point.attributes or {}), (point.count, point.sum)) for point in metric.data.data_points]
        return [(dict(point.attributes or {}), point.value) for point in metric.data.data_points]

    def value(self, name: str) -> Any:
        """The value of a metric that has exactly one point."""
        points = self.points(name)
        assert len(points) == 1, f"{name} has {len(points)} points: {points}"
        return points[0][1]


@pytest.fixture(scope="session", autouse=True)
def _apart() -> Iterator[None]:
    """Neither what other programs of the machine left behind, nor what programs of a whole module leave."""
    with contained(), pytest.MonkeyPatch.context() as patch, _alone(patch):
        yield


@pytest.fixture(autouse=True)
def _unchanged() -> Iterator[None]:
    """No test changes the process for the next one, or leaves something running."""
    with nothing_left():
        yield


@pytest.fixture(autouse=True)
def alone(_unchanged: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test leaves a group of processes behind for the next one, or for its programs, to join or to deliver."""
    with _alone(monkeypatch):
        yield


@contextmanager
def _alone(patch: pytest.MonkeyPatch) -> Iterator[None]:
    patch.setenv(GROUP_VARIABLE, "")  # so that it is undone, whoever sets it
    patch.delenv(GROUP_VARIABLE)
    with memory_directory() as directory:
        patch.setenv("XDG_RUNTIME_DIR", str(directory))
        yield


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio, which is what ASGI servers use."""
    return "asyncio"


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """A real SDK provider connected to the switch for one test."""
    forget_warnings()
    recorded = Recorded()
    # FastAPI records by itself what nobody else records, to the global provider, which is the switch once a
    # test of the process has called init().
    switch.connect(recorded.provider, muted=["fastapi"])
    yield recorded
    switch.disconnect()
    recorded.provider.shutdown()
