"""From families to bytes, in the format that was agreed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.prometheus.negotiation import Format, Syntax
from otelbridge.prometheus.protobuf import protobuf
from otelbridge.prometheus.text import openmetrics_text, plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otelbridge.prometheus.model import Family


def write(families: Sequence[Family], form: Format, *, created: bool = False) -> bytes:
    """Write families.

    Args:
        families: The families; their names must have been made for the format's escaping.
        form: The format.
        created: Whether OpenMetrics shows since when a series counts. Protobuf always does, plain text never.

    Returns:
        The body of the answer.
    """
    return _WRITERS[form.syntax](families, created)


_WRITERS: dict[Syntax, Callable[[Sequence[Family], bool], bytes]] = {
    Syntax.TEXT: lambda families, created: plain_text(families),  # noqa: ARG005  # it has no place for it
    Syntax.OPENMETRICS: lambda families, created: openmetrics_text(families, created=created),
    Syntax.PROTOBUF: lambda families, created: protobuf(families),  # noqa: ARG005  # it is always there
}
