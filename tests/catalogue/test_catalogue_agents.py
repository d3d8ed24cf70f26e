"""The declarations of the domains `agents` and `cost`."""

from __future__ import annotations

import re

import pytest

from otelbridge.catalogue import agents, cost
from otelbridge.catalogue.model import Kind
from otelbridge.catalogue.naming import metric_name

METRICS = (*agents.DOMAIN.metrics, *cost.DOMAIN.metrics)


def test_every_id_is_declared_once_and_in_order():
    assert [metric.id for metric in agents.DOMAIN.metrics] == [f"A{number}" for number in range(1, 22)]
    assert [metric.id for metric in cost.DOMAIN.metrics] == ["X1"]


def test_every_constant_of_a_module_is_in_its_domain():
    for module in (agents, cost):
        declared = {value.name for value in vars(module).values() if isinstance(value, type(METRICS[0]))}
        assert declared == {metric.name for metric in module.DOMAIN.metrics}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.id)
def test_a_declaration_is_whole(metric):
    assert (metric.buckets is not None) == (metric.kind is Kind.HISTOGRAM)
    assert len(metric.attribute_keys) == len(metric.attributes)
    assert metric.attributes
    assert "\n" not in metric.brief
    assert (metric.convention == "semconv") == metric.name.startswith("gen_ai.")
    assert all(re.fullmatch(r"00[0-4]-M\d+", row) for row in metric.answers)


@pytest.mark.parametrize(
    ("metric", "exposed"),
    [
        (agents.INVOKE_AGENT_DURATION, "gen_ai_invoke_agent_duration_seconds"),
        (agents.INVOKE_WORKFLOW_DURATION, "gen_ai_invoke_workflow_duration_seconds"),
        (agents.EXECUTE_TOOL_DURATION, "gen_ai_execute_tool_duration_seconds"),
        (agents.INFERENCE_DURATION, "gen_ai_client_inference_duration_seconds"),
        (agents.INPUT_TOKENS, "gen_ai_client_inference_usage_input_tokens_total"),
        (agents.OUTPUT_TOKENS, "gen_ai_client_inference_usage_output_tokens_total"),
        (agents.CACHE_READ_INPUT_TOKENS, "gen_ai_client_inference_usage_cache_read_input_tokens_total"),
        (agents.CACHE_WRITE_INPUT_TOKENS, "gen_ai_client_inference_usage_cache_write_input_tokens_total"),
        (agents.REASONING_OUTPUT_TOKENS, "gen_ai_client_inference_usage_reasoning_output_tokens_total"),
        (agents.OPERATION_INPUT_TOKENS, "gen_ai_client_inference_operation_input_tokens"),
        (agents.OPERATION_OUTPUT_TOKENS, "gen_ai_client_inference_operation_output_tokens"),
        (agents.TIME_TO_FIRST_CHUNK, "gen_ai_client_inference_time_to_first_chunk_seconds"),
        (agents.TIME_PER_OUTPUT_CHUNK, "gen_ai_client_inference_time_per_output_chunk_seconds"),
        (agents.INFERENCE_CALLS, "gen_ai_invoke_agent_inference_calls"),
        (agents.TOOL_CALLS, "gen_ai_invoke_agent_tool_calls"),
        (agents.INVOCATION_ACTIVE, "agent_invocation_active"),
        (agents.DECISION_CONFIDENCE, "agent_decision_confidence"),
        (agents.APPROVAL_DURATION, "agent_approval_duration_seconds"),
        (agents.BUDGET_CONSUMPTION, "agent_budget_consumption_total"),
        (agents.BUDGET_LIMIT, "agent_budget_limit"),
        (agents.BUDGET_OVERRUNS, "agent_budget_overruns_total"),
        (cost.COST_USAGE, "cost_usage_total"),
    ],
)
def test_the_exposed_names(metric, exposed):
    assert metric_name(metric) == exposed
