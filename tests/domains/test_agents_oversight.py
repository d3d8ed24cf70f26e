"""What people, policies and budgets say to agents: decisions, approvals, spending."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import threading
from decimal import Decimal

import anyio
import pytest

from otelbridge.domains import agents

CONFIDENCE = "agent.decision.confidence"
APPROVAL = "agent.approval.duration"
CONSUMPTION = "agent.budget.consumption"
LIMIT = "agent.budget.limit"
OVERRUNS = "agent.budget.overruns"


def test_a_decision_names_who_made_it(recorded):
    agents.decision("ltv_prediction", 0.4)
    agents.decision("agent_routing", confidence=0.93, agent="router")
    with agents.invocation("planner"):
        agents.decision("agent_routing", 1)
    assert recorded.points(CONFIDENCE) == [
        ({"agent.decision.type": "ltv_prediction"}, (1, 0.4)),
        ({"agent.decision.type": "agent_routing", "gen_ai.agent.name": "router"}, (1, 0.93)),
        ({"agent.decision.type": "agent_routing", "gen_ai.agent.name": "planner"}, (1, 1)),
    ]


@pytest.mark.parametrize("confidence", [93, 1.01, -0.1, "0.9", None])
def test_what_is_no_confidence_is_left_out_and_reported_once(recorded, caplog, confidence):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        agents.decision("agent_routing", confidence)
        agents.decision("agent_routing", confidence)
    assert recorded.points(CONFIDENCE) == []
    assert len(caplog.records) == 1


def outcomes(recorded) -> dict[str | None, int]:
    return {attributes.get("agent.approval.outcome"): count for attributes, (count, _sum) in recorded.points(APPROVAL)}


@pytest.mark.parametrize(
    ("say", "outcome"), [("approved", "approved"), ("rejected", "rejected"), ("timed_out", "timeout")]
)
def test_an_outcome_that_is_said(recorded, say, outcome):
    with agents.approval("deploy") as approval:
        getattr(approval, say)()
    ((attributes, (count, _sum)),) = recorded.points(APPROVAL)
    assert (attributes, count) == ({"agent.approval.type": "deploy", "agent.approval.outcome": outcome}, 1)


def test_saying_nothing_is_approval(recorded):
    with agents.approval("deploy"):
        pass
    assert outcomes(recorded) == {"approved": 1}


class ClientTimeoutError(TimeoutError):
    pass


@pytest.mark.parametrize(
    "error", [TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError, ClientTimeoutError]
)
def test_a_timeout_is_an_outcome(recorded, error):
    with pytest.raises(error), agents.approval("deploy"):
        raise error
    assert outcomes(recorded) == {"timeout": 1}


async def test_a_deadline_inside_the_block_is_a_timeout(recorded):
    async def ask() -> None:
        async with agents.approval("deploy"):
            with anyio.fail_after(0):
                await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        await ask()
    assert outcomes(recorded) == {"timeout": 1}


def test_any_other_error_is_no_decision(recorded):
    with pytest.raises(ConnectionError), agents.approval("deploy"):
        raise ConnectionError
    assert outcomes(recorded) == {None: 1}


def test_what_was_said_wins_over_an_error_and_the_last_word_counts(recorded):
    def ask() -> None:
        with agents.approval("deploy") as approval:
            approval.approved()
            approval.rejected()
            raise PermissionError

    with pytest.raises(PermissionError):
        ask()
    assert outcomes(recorded) == {"rejected": 1}


async def test_a_decorated_function_rejects_by_returning_false(recorded):
    @agents.approval("deploy")
    def ask(answer: bool | None) -> bool | None:
        return answer

    @agents.approval("deploy")
    async def ask_later(answer: bool) -> bool:
        return answer

    assert [ask(True), ask(None), ask(False), await ask_later(False)] == [True, None, False, False]
    assert outcomes(recorded) == {"approved": 2, "rejected": 2}


@pytest.fixture
def daily():
    budget = agents.budget("daily", limit=100.0)
    yield budget
    budget.close()


BUDGET = {"agent.budget.name": "daily"}


def test_a_budget_counts_what_is_spent_and_shows_its_limit(recorded, daily):
    daily.spend(5.0)
    daily.spend(Decimal("2.5"))
    assert recorded.points(CONSUMPTION) == [(BUDGET, 7.5)]
    assert recorded.points(LIMIT) == [(BUDGET, 100)]
    assert recorded.points(OVERRUNS) == [(BUDGET, 0)]
    assert daily.spent == 7.5
    daily.limit = 200
    assert recorded.value(LIMIT) == 200


def test_an_overrun_counts_once_a_window(recorded, daily):
    daily.spend(100)
    assert not daily.exceeded
    assert recorded.value(OVERRUNS) == 0
    daily.spend(1)
    daily.spend(50)
    assert daily.exceeded
    assert recorded.value(OVERRUNS) == 1
    daily.reset()
    assert not daily.exceeded
    daily.spend(101)
    assert recorded.value(OVERRUNS) == 2
    assert recorded.value(CONSUMPTION) == 252


def test_moving_the_limit_may_cross_it_too(recorded, daily):
    daily.spend(60)
    daily.limit = 50
    assert recorded.value(OVERRUNS) == 1
    daily.limit = 70
    assert not daily.exceeded
    daily.spend(20)
    assert recorded.value(OVERRUNS) == 2


def test_the_same_name_is_the_same_budget(daily):
    assert agents.budget("daily") is daily
    assert agents.budget("daily", limit=7) is daily
    assert daily.limit == 7


def test_a_budget_without_a_limit_only_counts(recorded):
    budget = agents.budget("open")
    try:
        budget.spend(1_000_000)
        assert recorded.points(LIMIT) == []
        assert recorded.value(OVERRUNS) == 0
        assert budget.limit is None
    finally:
        budget.close()


def test_a_closed_budget_is_forgotten(recorded):
    budget = agents.budget("monthly", limit=5)
    assert recorded.value(LIMIT) == 5
    budget.close()
    budget.close()
    assert recorded.points(LIMIT) == []
    fresh = agents.budget("monthly")
    try:
        assert fresh is not budget
    finally:
        fresh.close()


@pytest.mark.parametrize("limit", [-1, "100", float("inf"), [1]])
def test_a_wrong_limit_is_reported_once_and_changes_nothing(recorded, daily, caplog, limit):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        daily.limit = limit
        daily.limit = limit
    assert daily.limit == 100
    assert len(caplog.records) == 1
    daily.limit = None
    assert daily.limit is None


@pytest.mark.parametrize("amount", [-1, "5", None, float("nan")])
def test_what_is_no_amount_is_not_spent(recorded, daily, amount):
    daily.spend(amount)
    assert daily.spent == 0
    assert recorded.points(CONSUMPTION) == []


def test_threads_spend_exactly(recorded, daily):
    def work() -> None:
        for _ in range(500):
            daily.spend(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert daily.spent == 2000
    assert recorded.value(CONSUMPTION) == 2000
    assert recorded.value(OVERRUNS) == 1


def test_a_budget_watches_before_a_provider_is_connected(daily):
    daily.spend(101)
    assert daily.exceeded


def test_a_budget_without_a_proper_name_only_counts(recorded):
    budget = agents.budget(["no", "name"], 5)
    budget.spend(3)
    assert recorded.points("agent.budget.consumption") == [({}, 3)]
    budget.close()
