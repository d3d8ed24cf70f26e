"""Orders, revenue, payments, subscriptions, users, sessions, features and journeys. No convention covers them.

Amounts of money have the unit ``{currency}`` and carry the currency as an attribute, so queries always group by it.
Snapshots of a shared store (subscriptions, active users) are gauges: every process reports the same
number, so queries take the maximum, never the sum.
"""

from __future__ import annotations

from otelbridge.catalogue.attributes import CURRENCY, ERROR_TYPE
from otelbridge.catalogue.buckets import HTTPD, MONEY, SESS
from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric

_ORDER_STATUS = Attribute("business.order.status", "State of the order when recorded.", example="completed")
_REVENUE_SOURCE = Attribute("business.revenue.source", "What the money was earned with.", example="answers")
_PAYMENT_PROVIDER = Attribute("business.payment.provider", "Who moves the money.", example="stripe")
_PAYMENT_OPERATION = Attribute(
    "business.payment.operation",
    "What was asked of the provider.",
    values=("charge", "invoice_create", "refund", "payout"),
    example="charge",
)
_PAYMENT_RESULT = Attribute(
    "business.payment.result",
    "How it ended.",
    values=("success", "failure", "pending"),
    closed=True,
    example="success",
)
_PLAN = Attribute("business.subscription.plan", "Plan of the subscription.", example="pro")
_SUBSCRIPTION_STATE = Attribute("business.subscription.state", "State of the subscription.", example="active")
_SUBSCRIPTION_CHANGE = Attribute(
    "business.subscription.change",
    "What happened to the subscription.",
    values=("created", "renewed", "upgraded", "downgraded", "cancelled"),
    closed=True,
    example="created",
)
_USER_TYPE = Attribute("business.user.type", "Kind of user.", values=("user", "customer"), example="customer")
_USER_PERIOD = Attribute(
    "business.user.period",
    "Period in which they were active.",
    values=("now", "1d", "7d", "30d"),
    example="1d",
)
_USER_CHANNEL = Attribute("business.user.channel", "How the user came.", example="web")
_FEATURE_NAME = Attribute("business.feature.name", "Feature that was used.", example="export")
_FLAG_KEY = Attribute("feature_flag.key", "Flag that decided about the feature.", example="new-export")
_FLAG_VARIANT = Attribute("feature_flag.result.variant", "Variant the user got.", example="b")
_FEATURE_OUTCOME = Attribute("business.feature.outcome", "How the use ended.", example="success")
_JOURNEY_NAME = Attribute("business.journey.name", "Journey the step belongs to.", example="checkout")
_JOURNEY_STEP = Attribute("business.journey.step", "Step that was reached.", example="payment")
_JOURNEY_OUTCOME = Attribute("business.journey.outcome", "How the step ended.", example="completed")

ORDER_VALUE = Metric(
    id="B1",
    name="business.order.value",
    kind=Kind.HISTOGRAM,
    unit="{currency}",
    brief="Value of one order.",
    attributes=(CURRENCY, _ORDER_STATUS),
    buckets=MONEY,
    answers=("002-M55", "002-M56"),
)
REVENUE = Metric(
    id="B2",
    name="business.revenue",
    kind=Kind.COUNTER,
    unit="{currency}",
    brief="Gross revenue.",
    attributes=(CURRENCY, _REVENUE_SOURCE),
    answers=("000-M11", "002-M57", "003-M35", "003-M38", "004-M20"),
)
PAYMENT_DURATION = Metric(
    id="B3",
    name="business.payment.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Duration of one payment operation.",
    attributes=(_PAYMENT_PROVIDER, _PAYMENT_OPERATION, _PAYMENT_RESULT, ERROR_TYPE),
    buckets=HTTPD,
    answers=("000-M4", "000-M5", "004-M4", "004-M12"),
)
SUBSCRIPTION_COUNT = Metric(
    id="B4",
    name="business.subscription.count",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{subscription}",
    brief="Subscriptions by state, as the store has them.",
    attributes=(_PLAN, _SUBSCRIPTION_STATE),
    answers=("000-M14", "004-M16", "004-M17"),
)
SUBSCRIPTION_RECURRING_VALUE = Metric(
    id="B5",
    name="business.subscription.recurring_value",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{currency}",
    brief="Monthly recurring value of subscriptions, as the store has them.",
    attributes=(CURRENCY, _PLAN, _SUBSCRIPTION_STATE),
    answers=("004-M3", "004-M11"),
)
SUBSCRIPTION_CHANGES = Metric(
    id="B6",
    name="business.subscription.changes",
    kind=Kind.COUNTER,
    unit="{change}",
    brief="Changes in the life of subscriptions.",
    attributes=(_PLAN, _SUBSCRIPTION_CHANGE),
    answers=("000-M14", "004-M17"),
)
USER_ACTIVE = Metric(
    id="B7",
    name="business.user.active",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{user}",
    brief="Distinct users active in a period, as the store has them; periods overlap and do not add up.",
    attributes=(_USER_TYPE, _USER_PERIOD),
    answers=("000-M10", "002-M58", "004-M2", "004-M9", "004-M10", "004-M19", "004-M20"),
)
USER_REGISTRATIONS = Metric(
    id="B8",
    name="business.user.registrations",
    kind=Kind.COUNTER,
    unit="{user}",
    brief="Users who registered.",
    attributes=(_USER_CHANNEL,),
    answers=("000-M15", "002-M59", "004-M18"),
)
SESSION_ACTIVE = Metric(
    id="B9",
    name="business.session.active",
    kind=Kind.UP_DOWN_COUNTER,
    unit="{session}",
    brief="Sessions open now.",
    attributes=(_USER_TYPE,),
    answers=("003-M12",),
)
SESSION_DURATION = Metric(
    id="B10",
    name="business.session.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Length of a session that has ended.",
    attributes=(_USER_TYPE,),
    buckets=SESS,
    answers=("003-M12", "003-M31"),
)
FEATURE_USES = Metric(
    id="B11",
    name="business.feature.uses",
    kind=Kind.COUNTER,
    unit="{use}",
    brief="Uses of a feature, by flag variant.",
    attributes=(_FEATURE_NAME, _FLAG_KEY, _FLAG_VARIANT, _FEATURE_OUTCOME),
    answers=("003-M13", "003-M32"),
)
JOURNEY_STEPS = Metric(
    id="B12",
    name="business.journey.steps",
    kind=Kind.COUNTER,
    unit="{step}",
    brief="Steps of user journeys.",
    attributes=(_JOURNEY_NAME, _JOURNEY_STEP, _JOURNEY_OUTCOME),
    answers=("003-M30",),
)

DOMAIN = Domain(
    "business",
    "Orders, revenue, payments, subscriptions, users, sessions, features and journeys.",
    (
        ORDER_VALUE,
        REVENUE,
        PAYMENT_DURATION,
        SUBSCRIPTION_COUNT,
        SUBSCRIPTION_RECURRING_VALUE,
        SUBSCRIPTION_CHANGES,
        USER_ACTIVE,
        USER_REGISTRATIONS,
        SESSION_ACTIVE,
        SESSION_DURATION,
        FEATURE_USES,
        JOURNEY_STEPS,
    ),
)
