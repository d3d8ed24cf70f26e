"""What otelbridge says about itself."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelbridge.catalogue.registry import METRICS
from otelbridge.catalogue.self import DEGRADED, DOMAIN
from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics import processes as module
from otelbridge.metrics.introspection import observe_itself
from otelbridge.metrics.processes import REASONS, Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.views import create_views

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _every_cause_is_news():
    forget_warnings()


def build(processes: Processes | None = None, **limits: int) -> tuple[MeterProvider, InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    views = create_views(METRICS.values())
    provider = MeterProvider([reader], views=views, shutdown_on_exit=False, processes=processes, **limits)
    observe_itself(provider, processes)
    return provider, reader


def shown(reader: Any) -> dict[str, dict[Any, Any]]:
    data = reader.get_metrics_data()
    return {
        metric.name: {tuple(sorted(point.attributes.items())): point.value for point in metric.data.data_points}
        for scope_metrics in data.resource_metrics[0].scope_metrics
        if scope_metrics.scope.name == DOMAIN.meter
        for metric in scope_metrics.metrics
    }


def test_series_and_overflow_are_counted() -> None:
    provider, reader = build(cardinality_limit=3)
    assert shown(reader)["otelbridge.series.held"] == {(): 0}
    counter = provider.get_meter("lib").create_counter("c")
    for number in range(5):
        counter.add(1, {"k": number})
    found = shown(reader)
    assert found["otelbridge.metric.overflow"] == {(("otelbridge.metric.name", "c"),): 1}
    assert found["otelbridge.series.held"][()] >= 3
    assert "otelbridge.process.live" not in found


def test_many_metrics_that_overflow_are_few_series() -> None:
    provider, reader = build(cardinality_limit=1000, series_limit=1)
    for metric in range(150):
        counter = provider.get_meter("lib").create_counter(f"c{metric:03}")
        for number in range(2):
            counter.add(1, {"k": number})
    found = shown(reader)["otelbridge.metric.overflow"]
    assert len(found) == 1
    provider, reader = build(cardinality_limit=101)
    for metric in range(150):
        counter = provider.get_meter("lib").create_counter(f"c{metric:03}")
        for number in range(102):
            counter.add(1, {"k": number})
    found = shown(reader)["otelbridge.metric.overflow"]
    assert (len(found), found[(("otelbridge.metric.name", "_OTHER"),)]) == (101, 50)


def test_processes_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTELBRIDGE_GROUP", "introspection")
    group = [Processes("service", tmp_path) for _ in range(3)]
    (first, reader), (second, _), (third, _) = (build(processes) for processes in group)
    for provider in (first, second, third):
        provider.get_meter("lib").create_counter("c").add(1)
    shown(reader)
    found = shown(reader)
    assert found["otelbridge.process.live"] == {(): 3}
    assert found["otelbridge.process.folded"] == {(): 0}
    assert found["otelbridge.process.degraded"] == {(("otelbridge.process.degraded.reason", "none"),): 0}
    third.shutdown()
    group[0]._tidy()
    shown(reader)
    found = shown(reader)
    assert (found["otelbridge.process.live"], found["otelbridge.process.folded"]) == ({(): 2}, {(): 1})
    for provider in (first, second):
        provider.shutdown()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EMFILE, errno.EIO])
def test_a_process_that_cannot_share_says_why_in_a_word(number, tmp_path, monkeypatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(module.Book, "open", refuse)
    provider, reader = build(Processes("service", tmp_path))
    provider.get_meter("lib").create_counter("c").add(1)
    (((_, reason),),) = shown(reader)["otelbridge.process.degraded"]
    assert reason == REASONS.get(number, "_OTHER")
    assert shown(reader)["otelbridge.process.degraded"] == {(("otelbridge.process.degraded.reason", reason),): 1}
    provider.shutdown()


def test_every_reason_is_in_the_catalogue() -> None:
    (attribute,) = DEGRADED.attributes
    assert {*REASONS.values(), "none", "_OTHER"} == set(attribute.values)
