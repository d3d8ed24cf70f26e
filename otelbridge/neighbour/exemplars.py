"""Exemplars of prometheus_client, under the names those of the SDK have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelbridge.metrics.secrets import Hide

_TRACE = re.compile(r"[0-9a-f]{32}")
_SPAN = re.compile(r"[0-9a-f]{16}")


class ForeignExemplar(NamedTuple):
    """An exemplar. The names are those of the SDK's `Exemplar`."""

    filtered_attributes: Mapping[str, str]
    """Its labels, but for the two below."""

    value: float
    """What was measured."""

    time_unix_nano: int
    """When, in nanoseconds since the epoch; 0 where it does not say."""

    span_id: int | None
    """The label ``span_id``, where both are identifiers of OpenTelemetry."""

    trace_id: int | None
    """The label ``trace_id``, likewise."""

    def hidden(self, hide: Hide) -> ForeignExemplar:
        """Give it without credentials.

        Args:
            hide: Hides them.

        Returns:
            The same object where there are none.
        """
        shown = hide(self.filtered_attributes)
        return self if shown is self.filtered_attributes else self._replace(filtered_attributes=shown)


def convert(exemplar: Any) -> ForeignExemplar:
    """Convert an exemplar.

    Args:
        exemplar: A ``prometheus_client.samples.Exemplar``.

    Returns:
        The same as OpenTelemetry has it.
    """
    labels = {str(key): str(value) for key, value in exemplar.labels.items()}
    trace, span = labels.get("trace_id", ""), labels.get("span_id", "")
    traced = bool(_TRACE.fullmatch(trace) and _SPAN.fullmatch(span) and int(trace, 16) and int(span, 16))
    if traced:
        labels = {key: value for key, value in labels.items() if key not in ("trace_id", "span_id")}
    time = 0 if exemplar.timestamp is None else int(float(exemplar.timestamp) * 1e9)
    return ForeignExemplar(
        labels,
        float(exemplar.value),
        max(time, 0),
        int(span, 16) if traced else None,
        int(trace, 16) if traced else None,
    )
