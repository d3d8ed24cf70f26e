"""A process whose descriptors are all in use records, and goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.endtoend

_PROGRAM = """
import os, resource, sys
import otelbridge

own_port = otelbridge.PrometheusOptions(mode="server", port=0)
bridge = otelbridge.init(service_name="shop", prometheus=own_port, instrument=False, domains=sys.argv[1].split(","))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
with otelbridge.agents.workflow("answer"), otelbridge.agents.invocation("planner", model="m", provider="p") as call:
    call.tokens(input=1, output=1)
    call.cost(0.01, "USD")
otelbridge.business.revenue.add(1, currency="EUR")
otelbridge.cost.record(1, "EUR", category="llm")
with otelbridge.database.operation("SELECT", system="postgresql"):
    pass
otelbridge.health.exception(ValueError("x"), origin="worker")
with otelbridge.tasks.task("deliver", queue="billing"):
    pass
with otelbridge.job("nightly"):
    pass
try:
    with otelbridge.tasks.task("fails"):
        raise ConnectionError("no")
except ConnectionError:
    pass
for each in taken:
    os.close(each)
print(bridge.render())
bridge.shutdown()
"""
_ALL = "agents,business,cost,database,health,tasks"


def page(domains: str) -> str:
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM, domains],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=root,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_first_call_of_each_domain_is_recorded() -> None:
    found = page(_ALL)
    for line in (
        "gen_ai_invoke_agent_duration_seconds_count{",
        "gen_ai_invoke_workflow_duration_seconds_count{",
        "business_revenue_total{",
        'cost_usage_total{cost_category="llm"',
        "db_client_operation_duration_seconds_count{",
        "health_exceptions_total{",
        'task_duration_seconds_count{task_name="nightly",task_result="success"} 1',
        'task_duration_seconds_count{error_type="ConnectionError",task_name="fails",task_result="failure"} 1',
    ):
        assert line in found


def test_one_of_a_domain_that_is_off_does_nothing() -> None:
    found = page("health")
    assert "health_exceptions_total{" in found
    assert "task_duration" not in found
