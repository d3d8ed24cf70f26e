"""How sure an agent or a model was of what it decided."""

from __future__ import annotations

from otelbridge.catalogue.agents import DECISION_CONFIDENCE
from otelbridge.diagnostics import warn_once
from otelbridge.domains.agents._context import current
from otelbridge.domains.agents._step import meter
from otelbridge.domains.checks import checked_amount

_confidence = meter.recorder(DECISION_CONFIDENCE)


def decision(type: str, confidence: float, *, agent: str | None = None) -> None:  # noqa: A002 -- as in the attribute
    """Record the confidence of a decision or prediction in ``agent.decision.confidence``. Never raises.

    Args:
        type: What was decided, for instance ``agent_routing``.
        confidence: How sure, from 0 to 1. Anything beyond (a percentage, say) is left out and reported
            once, since it would spoil the mean.
        agent: Who decided. Default: the agent of the running invocation.
    """
    if not meter.active:
        return
    checked = checked_amount(DECISION_CONFIDENCE, confidence)
    if checked is None:
        return
    if checked > 1:
        warn_once(
            (DECISION_CONFIDENCE.name, "range"),
            "%s takes a confidence from 0 to 1, not %r; it is left out. Divide a percentage by 100.",
            DECISION_CONFIDENCE.name,
            confidence,
        )
        return
    running = current()
    decider = agent if agent is not None or running is None else running.agent
    _confidence.record(checked, {"agent.decision.type": type, "gen_ai.agent.name": decider})
