"""Money counts, whatever it is labelled with."""

from __future__ import annotations

import logging
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otelbridge.diagnostics import forget_warnings
from otelbridge.domains import cost


def test_every_attribute_arrives(recorded):
    cost.record(0.5, "USD", category="llm", source="provider", provider="openai", model="gpt-5", agent="planner")
    assert recorded.points("cost.usage") == [
        (
            {
                "currency": "USD",
                "cost.category": "llm",
                "cost.source": "provider",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-5",
                "gen_ai.agent.name": "planner",
            },
            0.5,
        )
    ]


def test_amounts_add_up_by_currency_and_absent_attributes_are_left_out(recorded):
    cost.record(1, "EUR")
    cost.record(Decimal("0.25"), "eur")
    cost.record(2, "USD")
    assert sorted(recorded.points("cost.usage"), key=str) == [({"currency": "EUR"}, 1.25), ({"currency": "USD"}, 2)]


@pytest.mark.parametrize(
    ("currency", "recorded_as"), [("Bitcoin", "Bitcoin"), ("€", "€"), ("", "XXX"), (None, "XXX"), (978, "XXX")]
)
def test_an_odd_currency_is_reported_once_and_its_money_counts(recorded, caplog, currency, recorded_as):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        cost.record(1, currency)
        cost.record(1, currency)
    assert recorded.points("cost.usage") == [({"currency": recorded_as}, 2)]
    assert len(caplog.records) == 1
    assert "ISO 4217" in caplog.text


@pytest.mark.parametrize("amount", [-1, "1", None])
def test_what_is_no_amount_is_left_out(recorded, amount):
    cost.record(amount, "EUR")
    assert recorded.points("cost.usage") == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(currency=st.one_of(st.text(), st.none(), st.integers(), st.binary()))
def test_no_currency_loses_money(recorded, currency):
    before = sum(value for _attributes, value in recorded.points("cost.usage"))
    cost.record(1, currency)
    assert sum(value for _attributes, value in recorded.points("cost.usage")) == before + 1


def test_without_a_provider_nothing_happens(caplog):
    forget_warnings()
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        cost.record("no amount", "no currency")
    assert caplog.records == []
