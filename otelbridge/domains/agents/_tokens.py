"""Tokens spent, as one report and as the counters and histograms it goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from otelbridge.catalogue.agents import (
    CACHE_READ_INPUT_TOKENS,
    CACHE_WRITE_INPUT_TOKENS,
    INPUT_TOKENS,
    OPERATION_INPUT_TOKENS,
    OPERATION_OUTPUT_TOKENS,
    OUTPUT_TOKENS,
    REASONING_OUTPUT_TOKENS,
)
from otelbridge.diagnostics import warn_once
from otelbridge.domains.agents._step import meter
from otelbridge.domains.checks import checked_amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otelbridge.catalogue.model import Metric

    Attributes = Mapping[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Usage:
    """One report of tokens; None where nothing is known."""

    input: int | None = None
    """All input tokens."""

    output: int | None = None
    """All output tokens."""

    cache_read: int | None = None
    """Those of `input` that came from the provider's cache."""

    cache_write: int | None = None
    """Those of `input` that were written to it."""

    reasoning: int | None = None
    """Those of `output` that were spent on reasoning."""

    modality: str | None = None
    """What the tokens stand for."""


_SPENT = {
    "input": meter.recorder(INPUT_TOKENS),
    "output": meter.recorder(OUTPUT_TOKENS),
    "cache_read": meter.recorder(CACHE_READ_INPUT_TOKENS),
    "cache_write": meter.recorder(CACHE_WRITE_INPUT_TOKENS),
    "reasoning": meter.recorder(REASONING_OUTPUT_TOKENS),
}
_PER_CALL = {
    "input": meter.recorder(OPERATION_INPUT_TOKENS),
    "output": meter.recorder(OPERATION_OUTPUT_TOKENS),
}


def record_call(usages: Iterable[Usage], attributes: Attributes) -> None:
    """Record what one model call spent.

    Args:
        usages: Its reports, for instance one a modality.
        attributes: Attributes of the call.
    """
    if not meter.active:
        return
    totals: dict[str, int] = {}
    for usage in usages:
        spent_attributes = {**attributes, "gen_ai.token.modality": usage.modality}
        for part, recorder in _SPENT.items():
            tokens = _checked_tokens(recorder.metric, getattr(usage, part))
            if tokens is not None:
                recorder.record(tokens, spent_attributes)
                totals[part] = totals.get(part, 0) + tokens
    for part, recorder in _PER_CALL.items():
        if part in totals:
            recorder.record(totals[part], attributes)


def _checked_tokens(metric: Metric, given: object) -> int | None:
    amount = None if given is None else checked_amount(metric, given)
    if amount is None:
        return None
    if amount != int(amount):
        warn_once((metric.name, "whole"), "%s takes whole tokens, not %r; they are left out.", metric.name, given)
        return None
    return int(amount)
