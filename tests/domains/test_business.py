"""What the service earns and how it is used."""

from __future__ import annotations

import contextlib
import logging
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otelbridge
from otelbridge.diagnostics import forget_warnings
from otelbridge.domains import business
from otelbridge.domains.business import Subscriptions
from otelbridge.metrics.switch import switch

ANYTHING = st.one_of(
    st.none(),
    st.text(),
    st.integers(),
    st.floats(),
    st.binary(),
    st.lists(st.integers()),
    st.dictionaries(st.one_of(st.text(), st.integers()), st.one_of(st.none(), st.text(), st.binary())),
)


def test_the_value_of_an_order(recorded):
    business.order(49.90, "eur", status="completed")
    business.order(Decimal("0.10"), "EUR", status="completed")
    business.order(5, "USD")
    points = recorded.points("business.order.value")
    assert points[0] == ({"currency": "EUR", "business.order.status": "completed"}, (2, 50.0))
    assert points[1] == ({"currency": "USD"}, (1, 5))


def test_revenue_by_full_names_and_by_keywords_is_the_same(recorded):
    otelbridge.business.revenue.add(0.25, {"currency": "EUR", "business.revenue.source": "answers"})
    otelbridge.business.revenue.add(0.50, currency="EUR", source="answers")
    otelbridge.business.revenue.add(0.25, {"currency": "USD", "business.revenue.source": "x"}, currency="eur ")
    assert recorded.points("business.revenue") == [
        ({"currency": "EUR", "business.revenue.source": "answers"}, 0.75),
        ({"currency": "EUR", "business.revenue.source": "x"}, 0.25),
    ]


def test_adding_revenue_leaves_the_callers_attributes_alone(recorded):
    attributes = {"currency": "eur"}
    business.revenue.add(1, attributes, source="answers")
    assert attributes == {"currency": "eur"}
    assert recorded.points("business.revenue") == [({"currency": "EUR", "business.revenue.source": "answers"}, 1)]


@pytest.mark.parametrize("attributes", ["EUR", 5, ["currency", "EUR"], {"customer": "42"}])
def test_revenue_with_odd_attributes_is_reported_and_not_lost(recorded, caplog, attributes):
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        business.revenue.add(3, attributes)
    assert recorded.points("business.revenue") == [({"currency": "XXX"}, 3)]
    assert "business.revenue" in caplog.text


@pytest.mark.parametrize("amount", [-1, "1", None, float("nan")])
def test_what_is_no_amount_is_left_out(recorded, amount):
    business.revenue.add(amount, currency="EUR")
    business.order(amount, "EUR")
    assert recorded.points("business.revenue") == recorded.points("business.order.value") == []


def payments(recorded):
    return {
        (attributes["business.payment.result"], attributes.get("error.type")): count
        for attributes, (count, _) in recorded.points("business.payment.duration")
    }


def test_a_payment_that_works(recorded):
    with business.payment("stripe", operation="charge"):
        pass
    [(attributes, (count, seconds))] = recorded.points("business.payment.duration")
    assert attributes == {
        "business.payment.provider": "stripe",
        "business.payment.operation": "charge",
        "business.payment.result": "success",
    }
    assert count == 1
    assert seconds >= 0


def test_a_payment_can_say_how_it_ended(recorded):
    with business.payment("stripe") as payment:
        payment.pending()
    with business.payment("stripe") as payment:
        payment.failed("card_declined")
    with business.payment("stripe") as payment:
        payment.failed(ConnectionError("handled"))
    assert payments(recorded) == {
        ("pending", None): 1,
        ("failure", "card_declined"): 1,
        ("failure", "ConnectionError"): 1,
    }


def test_an_exception_is_a_failure_whatever_was_said_before(recorded):
    def pay(say):
        with business.payment("stripe") as payment:
            say(payment)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        pay(lambda payment: payment.pending())
    with pytest.raises(ConnectionError):
        pay(lambda payment: payment.failed("card_declined"))
    assert payments(recorded) == {("failure", "ConnectionError"): 1, ("failure", "card_declined"): 1}


def test_a_payment_object_used_again_starts_afresh(recorded):
    payment = business.payment("stripe")
    with payment:
        payment.failed("card_declined")
    with payment:
        pass
    assert payments(recorded) == {("failure", "card_declined"): 1, ("success", None): 1}


async def test_a_payment_wraps_a_coroutine_function(recorded):
    @business.payment("cards", operation="invoice_create")
    async def create_invoice(order):
        return order

    assert await create_invoice(7) == 7
    assert recorded.points("business.payment.duration")[0][0]["business.payment.operation"] == "invoice_create"


def test_changes_of_subscriptions(recorded, caplog):
    business.subscriptions.changed("created", plan="pro")
    business.subscriptions.changed("cancelled", plan="pro")
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        business.subscriptions.changed("paused")
    assert recorded.points("business.subscription.changes") == [
        ({"business.subscription.plan": "pro", "business.subscription.change": "created"}, 1),
        ({"business.subscription.plan": "pro", "business.subscription.change": "cancelled"}, 1),
        ({"business.subscription.change": "_OTHER"}, 1),
    ]
    assert "cancelled" in caplog.text


def test_a_snapshot_of_subscriptions_feeds_both_gauges(recorded):
    registration = business.subscriptions.observe(
        lambda: [
            Subscriptions("pro", "active", 3, recurring_value=147.0, currency="eur"),
            Subscriptions("free", "active", 20),
            Subscriptions("pro", "past_due", 0, Decimal(0), "EUR"),
        ]
    )
    pro = {"business.subscription.plan": "pro", "business.subscription.state": "active"}
    free = {"business.subscription.plan": "free", "business.subscription.state": "active"}
    due = {"business.subscription.plan": "pro", "business.subscription.state": "past_due"}
    assert recorded.points("business.subscription.count") == [(pro, 3), (free, 20), (due, 0)]
    assert recorded.points("business.subscription.recurring_value") == [
        ({**pro, "currency": "EUR"}, 147.0),
        ({**due, "currency": "EUR"}, 0),
    ]
    registration.close()
    assert recorded.points("business.subscription.count") == []
    assert recorded.points("business.subscription.recurring_value") == []


def test_a_snapshot_that_fails_is_reported_and_absent(recorded, caplog):
    registration = business.subscriptions.observe(lambda: [{"plan": "pro"}])
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        assert recorded.points("business.subscription.count") == []
    registration.close()
    assert "business.subscription.count" in caplog.text


def test_users(recorded):
    business.users.registered(channel="web")
    business.users.registered()
    assert recorded.points("business.user.registrations") == [({"business.user.channel": "web"}, 1), ({}, 1)]


def test_active_users_by_period_and_type(recorded):
    handles = [
        business.users.observe_active(lambda: {"1d": 12, "30d": 90, "90d": 200}),
        business.users.observe_active(lambda: {"30d": 7}, user_type="customer"),
    ]
    assert recorded.points("business.user.active") == [
        ({"business.user.type": "user", "business.user.period": "1d"}, 12),
        ({"business.user.type": "user", "business.user.period": "30d"}, 90),
        ({"business.user.type": "user", "business.user.period": "90d"}, 200),
        ({"business.user.type": "customer", "business.user.period": "30d"}, 7),
    ]
    for handle in handles:
        handle.close()
    assert recorded.points("business.user.active") == []


CUSTOMER = {"business.user.type": "customer"}


def test_a_session_is_active_while_its_block_runs(recorded):
    with business.session(user_type="customer"):
        assert recorded.points("business.session.active") == [(CUSTOMER, 1)]
    assert recorded.points("business.session.active") == [(CUSTOMER, 0)]
    [(attributes, (count, _))] = recorded.points("business.session.duration")
    assert (attributes, count) == (CUSTOMER, 1)


def test_a_session_that_ends_badly_has_ended(recorded):
    with contextlib.suppress(RuntimeError), business.session(user_type="customer"):
        raise RuntimeError
    assert recorded.value("business.session.active") == 0
    assert recorded.value("business.session.duration")[0] == 1


def test_a_session_outside_a_block_starts_and_ends_once(recorded):
    session = business.session(user_type="customer").start()
    assert session.start() is session
    assert recorded.value("business.session.active") == 1
    assert session.seconds > 0
    session.end()
    session.end()
    assert recorded.value("business.session.active") == 0
    assert recorded.value("business.session.duration")[0] == 1
    assert session.seconds == 0
    session.start()
    assert recorded.value("business.session.active") == 1
    session.end()


def test_a_session_opened_before_the_provider_is_not_taken_back(recorded):
    switch.disconnect()
    session = business.session().start()
    switch.connect(recorded.provider)
    session.end()
    assert recorded.points("business.session.active") == []
    assert recorded.points("business.session.duration") == []


def test_a_session_that_outlives_its_provider_is_not_taken_back_from_the_next(recorded):
    reader = InMemoryMetricReader()
    session = business.session().start()
    other = MeterProvider([reader], shutdown_on_exit=False)
    switch.connect(other)
    session.end()
    shown = reader.get_metrics_data().to_json()
    other.shutdown()
    assert "business.session.duration" in shown
    assert "business.session.active" not in shown


def test_uses_of_a_feature_by_variant(recorded):
    business.feature("export", flag="new-export", variant="b", outcome="success")
    business.feature("search")
    assert recorded.points("business.feature.uses") == [
        (
            {
                "business.feature.name": "export",
                "feature_flag.key": "new-export",
                "feature_flag.result.variant": "b",
                "business.feature.outcome": "success",
            },
            1,
        ),
        ({"business.feature.name": "search"}, 1),
    ]


def test_steps_of_a_journey(recorded):
    checkout = business.journey("checkout")
    checkout.step("basket")
    checkout.step("payment", outcome="completed")
    checkout.step("payment", outcome="completed")
    assert recorded.points("business.journey.steps") == [
        ({"business.journey.name": "checkout", "business.journey.step": "basket"}, 1),
        (
            {
                "business.journey.name": "checkout",
                "business.journey.step": "payment",
                "business.journey.outcome": "completed",
            },
            2,
        ),
    ]


def test_without_a_provider_nothing_happens(recorded, caplog):
    switch.disconnect()
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        business.order("five", None)
        business.revenue.add("five", "EUR")
        business.subscriptions.changed("paused")
        business.users.registered(channel=[])
        business.feature(None)
        business.journey(None).step(None)
        with business.payment(None) as payment, business.session():
            payment.failed(3)
    switch.connect(recorded.provider)
    assert recorded.metrics() == {}
    assert caplog.records == []


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=ANYTHING, two=ANYTHING, three=ANYTHING)
def test_no_call_raises(recorded, one, two, three):
    forget_warnings()
    business.order(one, two, status=three)
    business.revenue.add(one, two, currency=three, source=one)
    business.subscriptions.changed(one, plan=two)
    business.users.registered(channel=one)
    business.feature(one, flag=two, variant=three, outcome=one)
    business.journey(one).step(two, outcome=three)
    with business.payment(one, operation=two) as payment, business.session(user_type=three):
        payment.failed(three)
    assert {value for _, value in recorded.points("business.session.active")} == {0}


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(two=ANYTHING, three=ANYTHING)
def test_nothing_said_about_revenue_loses_it(recorded, two, three):
    before = sum(value for _, value in recorded.points("business.revenue"))
    business.revenue.add(1, two, currency=three, source=two)
    assert sum(value for _, value in recorded.points("business.revenue")) == before + 1
