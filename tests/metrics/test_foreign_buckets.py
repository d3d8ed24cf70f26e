"""Histograms of other libraries, made over the OpenTelemetry API and read from a scrape, have boundaries that fit."""

from __future__ import annotations

import re

import pytest
from opentelemetry.metrics import get_meter
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

import otelbridge
from otelbridge.catalogue import agents
from otelbridge.catalogue.buckets import AGENT, COST, FIRST_TOKEN, GEN, HTTPD, MONEY, NEXT_TOKEN, SIZE, TOK

pytestmark = pytest.mark.endtoend

_DEFAULT = (0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10000.0)


@pytest.fixture
def started():
    bridges = []

    def start(*views):
        bridges.append(
            otelbridge.init(
                service_name="shop",
                prometheus=otelbridge.PrometheusOptions(mode="server", port=0),
                workers="separate",
                views=views,
            )
        )
        return bridges[0]

    yield start
    otelbridge.shutdown()


@pytest.fixture
def meter(request):
    # The instruments of a meter live as long as the process.
    return get_meter(request.node.name)


def bounds(bridge, exposed: str) -> tuple[float, ...]:
    found = re.findall(rf'^{exposed}_bucket{{.*?le="([^"]+)"', bridge.render(), re.MULTILINE)
    return tuple(map(float, found[:-1]))


@pytest.mark.parametrize(
    ("name", "unit", "exposed", "expected"),
    [
        ("gen_ai.client.token.usage", "{token}", "gen_ai_client_token_usage", TOK),
        ("gen_ai.client.token.usage", "token", "gen_ai_client_token_usage", TOK),
        ("gen_ai.client.operation.duration", "s", "gen_ai_client_operation_duration_seconds", GEN),
        (
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            GEN,
        ),
        ("gen_ai.server.request.duration", "s", "gen_ai_server_request_duration_seconds", GEN),
        ("gen_ai.server.time_to_first_token", "s", "gen_ai_server_time_to_first_token_seconds", FIRST_TOKEN),
        ("gen_ai.server.time_per_output_token", "s", "gen_ai_server_time_per_output_token_seconds", NEXT_TOKEN),
        ("gen_ai.usage.cost", "USD", "gen_ai_usage_cost_USD", COST),
        ("operation.cost", "{USD}", "operation_cost", COST),
        ("operation.cost", "", "operation_cost", COST),
        ("billing.amount", "{EUR}", "billing_amount", MONEY),
        ("agent.step.tokens", "{tokens}", "agent_step_tokens", TOK),
        ("some.library.duration", "s", "some_library_duration_seconds", HTTPD),
        ("some.library.size", "By", "some_library_size_bytes", SIZE),
        # A name of the catalogue, recorded by somebody else, who brings no boundaries.
        (agents.INVOKE_AGENT_DURATION.name, "s", "gen_ai_invoke_agent_duration_seconds", AGENT),
    ],
)
def test_those_that_bring_none_get_ours(started, meter, name, unit, exposed, expected) -> None:
    bridge = started()
    meter.create_histogram(name, unit).record(0.003, {"gen_ai.agent.name": "planner"})
    assert bounds(bridge, exposed) == expected.boundaries


def test_a_price_below_a_cent_is_told_from_another(started, meter) -> None:
    bridge = started()
    cost = meter.create_histogram("operation.cost", "{USD}", "Monetary cost")
    for amount in (0.00004, 0.0004, 0.004):
        cost.record(amount)
    otelbridge.business.order(0.004, "USD")
    page = bridge.render()
    for bound, count in (("5e-05", 1), ("0.0005", 2), ("0.005", 3)):
        assert re.search(rf'^operation_cost_bucket{{.*le="{bound}".*}} {count}$', page, re.MULTILINE)
    assert re.search(r'^business_order_value_bucket{.*le="0.001".*} 0$', page, re.MULTILINE)
    assert re.search(r'^business_order_value_bucket{.*le="0.005".*} 1$', page, re.MULTILINE)


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("ms", _DEFAULT), ("{thing}", _DEFAULT), ("{token}/s", _DEFAULT), ("Usd", _DEFAULT), ("GiBy", _DEFAULT)],
)
def test_what_nothing_is_known_of_is_as_the_specification_says(started, meter, unit, expected) -> None:
    bridge = started()
    meter.create_histogram("some.library.value", unit).record(1)
    (exposed,) = set(re.findall(r"^(some_library_value\w*)_bucket{", bridge.render(), re.MULTILINE))
    assert bounds(bridge, exposed) == expected


@pytest.mark.parametrize("name", ["gen_ai.client.token.usage", agents.INVOKE_AGENT_DURATION.name, "operation.cost"])
def test_boundaries_that_a_library_brings_stand(started, meter, name) -> None:
    bridge = started()
    meter.create_histogram(name, "{USD}", explicit_bucket_boundaries_advisory=[3.0, 7.0]).record(5)
    assert bounds(bridge, name.replace(".", "_")) == (3.0, 7.0)


@pytest.mark.parametrize("name", ["gen_ai.client.token.usage", "operation.cost", agents.INVOKE_AGENT_DURATION.name])
def test_a_view_of_the_user_replaces_ours(started, meter, name) -> None:
    bridge = started(View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation([9.0])))
    meter.create_histogram(name, "{token}").record(1)
    exposed = name.replace(".", "_")
    assert bounds(bridge, exposed) == (9.0,)
    assert bridge.render().count(f"\n{exposed}_count") == 1
