"""Whether a measurement may be made within a span, and so become an exemplar.

Looking into the current context costs about as much as recording by a bound handle. So nobody looks until a context
with a span was attached in this process for the first time, whichever tracer provider made the span, or whichever
propagator read it out of a request. The recording path reads `spans` itself, which spares it a call.
"""

from __future__ import annotations

from typing import Literal

from otelbridge.metrics._sdk import on_first_span

spans: Literal[True] | None = None
"""Whether a context with a span was ever attached; compared with None, which is quicker than asking for its truth."""


def within_span() -> bool:
    """Tell whether a measurement may be made within a span now."""
    return spans is not None


def _tell() -> None:
    global spans
    spans = True


on_first_span(_tell)
