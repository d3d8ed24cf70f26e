"""Money spent, in the currency it was spent in.

No convention names cost yet. A counter whose unit is an annotation keeps the currency out of the
exposed name, and the currency as an attribute lets one instrument serve them all; queries group by it.
"""

from __future__ import annotations

from otelbridge.catalogue.attributes import AGENT_NAME, CURRENCY, PROVIDER_NAME, REQUEST_MODEL
from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric

_CATEGORY = Attribute(
    "cost.category",
    "What the money was spent on.",
    values=("llm", "infrastructure", "acquisition"),
    example="llm",
)
_SOURCE = Attribute(
    "cost.source",
    "Who priced it: the provider's answer or a local price list.",
    values=("provider", "local"),
    example="provider",
)

COST_USAGE = Metric(
    id="X1",
    name="cost.usage",
    kind=Kind.COUNTER,
    unit="{currency}",
    brief="Money spent, priced when it was recorded.",
    attributes=(CURRENCY, _CATEGORY, _SOURCE, PROVIDER_NAME, REQUEST_MODEL, AGENT_NAME),
    answers=("000-M15", "003-M4", "003-M16", "003-M35", "004-M1", "004-M9", "004-M10", "004-M28"),
)

DOMAIN = Domain("cost", "What running the service costs, by category, provider, model and agent.", (COST_USAGE,))
