"""Exemplars are made wherever the current context carries a sampled span, and looking for one costs nothing before."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import context
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from otelbridge.metrics.provider import MeterProvider

VERBS = {"counter": "add", "up_down_counter": "add", "histogram": "record", "gauge": "set"}
SAMPLED, UNSAMPLED = (f"00-{7:032x}-{9:016x}-0{flag}" for flag in (1, 0))


@pytest.fixture(params=VERBS)
def recorder(request: pytest.FixtureRequest) -> Any:
    """Records by attributes, by a handle and in a context it is given; gives the trace of each exemplar there is."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    instrument = getattr(provider.get_meter("lib"), f"create_{request.param}")("i")
    record, handle = (
        getattr(instrument, VERBS[request.param]),
        getattr(instrument.bind({"k": "b"}), VERBS[request.param]),
    )

    def run(given: Any = None) -> dict[Any, list[int]]:
        if given is None:
            record(1, {"k": "a"})
            handle(1)
        else:
            record(1, {"k": "a"}, given)
        (metric,) = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        points = metric.data.data_points
        return {point.attributes["k"]: [each.trace_id for each in point.exemplars] for point in points}

    yield run
    provider.shutdown()


def test_of_a_tracer_provider_that_is_not_the_global_one(recorder: Any) -> None:
    with TracerProvider().get_tracer("t").start_as_current_span("span") as span:
        number = span.get_span_context().trace_id
        assert recorder() == {"a": [number], "b": [number]}


@pytest.mark.parametrize(("header", "found"), [(SAMPLED, [7]), (UNSAMPLED, [])], ids=["sampled", "unsampled"])
def test_of_a_remote_parent_without_any_tracing_here(recorder: Any, header: str, found: list[int]) -> None:
    parent = TraceContextTextMapPropagator().extract({"traceparent": header})
    token = context.attach(parent)
    try:
        assert recorder() == {"a": found, "b": found}
    finally:
        context.detach(token)


def test_of_a_context_that_is_given_and_not_attached(recorder: Any) -> None:
    assert recorder(TraceContextTextMapPropagator().extract({"traceparent": SAMPLED})) == {"a": [7]}


def test_none_without_a_span(recorder: Any) -> None:
    assert recorder() == {"a": [], "b": []}


def _run(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


_RECORD = f"""
from opentelemetry import context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
parent = TraceContextTextMapPropagator().extract({{"traceparent": "{SAMPLED}"}})

def provide():
    from otelbridge.metrics.provider import MeterProvider
    reader = InMemoryMetricReader()
    return reader, MeterProvider([reader], shutdown_on_exit=False).get_meter("lib").create_counter("c").bind()

def exemplars(reader):
    return reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics[0].data.data_points[0].exemplars
"""


def test_a_process_without_spans_never_looks_at_the_context() -> None:
    _run(f"""{_RECORD}
from otelbridge.metrics import exemplars as watched
from otelbridge.metrics._sdk import unobserved
reader, handle = provide()
with unobserved():
    context.detach(context.attach(context.set_value("other", "value")))
    handle.add(1)
assert watched.spans is None and not watched.within_span()
given = context.attach(parent)
assert watched.spans and watched.within_span()
assert "attach" not in vars(context._RUNTIME_CONTEXT), "nothing stands in the way of attaching any longer"
handle.add(1)
context.detach(given)
assert len(exemplars(reader)) == 1
""")


def test_a_span_that_was_there_before_this_package() -> None:
    _run(f"""{_RECORD}
context.attach(parent)
reader, handle = provide()
handle.add(1)
assert len(exemplars(reader)) == 1
""")


def test_one_that_attaches_in_another_way_goes_on_doing_so() -> None:
    _run(f"""{_RECORD}
reader, handle = provide()
ours = context._RUNTIME_CONTEXT.attach
context._RUNTIME_CONTEXT.attach = theirs = lambda given: ours(given)
context.attach(parent)
assert context._RUNTIME_CONTEXT.attach is theirs
handle.add(1)
assert len(exemplars(reader)) == 1
""")
