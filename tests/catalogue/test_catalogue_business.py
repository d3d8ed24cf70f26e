"""The declarations of the domains `tasks`, `business` and `health`."""

from __future__ import annotations

import re

import pytest

from otelbridge.catalogue import business, health, tasks
from otelbridge.catalogue.model import Kind, Metric
from otelbridge.catalogue.naming import metric_name

MODULES = (tasks, business, health)
METRICS = tuple(metric for module in MODULES for metric in module.DOMAIN.metrics)


def test_every_id_is_declared_once_and_in_order():
    assert [metric.id for metric in tasks.DOMAIN.metrics] == [f"T{number}" for number in range(1, 6)]
    assert [metric.id for metric in business.DOMAIN.metrics] == [f"B{number}" for number in range(1, 13)]
    assert health.DOMAIN.metrics[0].id == "E1"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.DOMAIN.name)
def test_every_constant_of_a_module_is_in_its_domain(module):
    declared = {value.name for value in vars(module).values() if isinstance(value, Metric)}
    assert declared == {metric.name for metric in module.DOMAIN.metrics}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.id)
def test_a_declaration_is_whole(metric):
    assert (metric.buckets is not None) == (metric.kind is Kind.HISTOGRAM)
    assert len(metric.attribute_keys) == len(metric.attributes)
    assert metric.attributes
    assert "\n" not in metric.brief
    assert metric.answers
    assert all(re.fullmatch(r"00[0-4]-M\d+", row) for row in metric.answers)
    assert all(attribute.values for attribute in metric.attributes if attribute.closed)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.id)
def test_money_says_its_currency(metric):
    assert (metric.unit == "{currency}") == ("currency" in metric.attribute_keys)


@pytest.mark.parametrize(
    ("metric", "exposed", "buckets"),
    [
        (tasks.TASK_DURATION, "task_duration_seconds", "LONG"),
        (tasks.TASK_ACTIVE, "task_active", None),
        (tasks.TASK_QUEUE_SIZE, "task_queue_size", None),
        (tasks.TASK_DEPENDENCY_DURATION, "task_dependency_duration_seconds", "LONG"),
        (tasks.TASK_WORKER_COUNT, "task_worker_count", None),
        (business.ORDER_VALUE, "business_order_value", "MONEY"),
        (business.REVENUE, "business_revenue_total", None),
        (business.PAYMENT_DURATION, "business_payment_duration_seconds", "HTTPD"),
        (business.SUBSCRIPTION_COUNT, "business_subscription_count", None),
        (business.SUBSCRIPTION_RECURRING_VALUE, "business_subscription_recurring_value", None),
        (business.SUBSCRIPTION_CHANGES, "business_subscription_changes_total", None),
        (business.USER_ACTIVE, "business_user_active", None),
        (business.USER_REGISTRATIONS, "business_user_registrations_total", None),
        (business.SESSION_ACTIVE, "business_session_active", None),
        (business.SESSION_DURATION, "business_session_duration_seconds", "SESS"),
        (business.FEATURE_USES, "business_feature_uses_total", None),
        (business.JOURNEY_STEPS, "business_journey_steps_total", None),
        (health.EXCEPTIONS, "health_exceptions_total", None),
    ],
)
def test_the_exposed_names_and_buckets(metric, exposed, buckets):
    assert metric_name(metric) == exposed
    assert (metric.buckets.name if metric.buckets else None) == buckets
