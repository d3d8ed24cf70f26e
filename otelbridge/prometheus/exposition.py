"""From families to bytes, in the format that was agreed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.prometheus.model import Family, Piece, joined
from otelbridge.prometheus.negotiation import Format, Syntax
from otelbridge.prometheus.protobuf import protobuf_pieces
from otelbridge.prometheus.text import openmetrics_pieces, plain_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


def write(families: Sequence[Family], form: Format, *, created: bool = False) -> bytes:
    """Write families.

    Args:
        families: The families; their names must have been made for the format's escaping.
        form: The format.
        created: Whether OpenMetrics shows since when a series counts. Protobuf always does, plain text never.

    Returns:
        The body of the answer.
    """
    return joined(write_pieces(families, form, created=created))


def write_pieces(families: Sequence[Family], form: Format, *, created: bool = False) -> list[Piece]:
    """Write families one by one, so that some can be left out.

    Args:
        families: See `write`.
        form: See `write`.
        created: See `write`.

    Returns:
        What the body of the answer is made of.
    """
    return [*_WRITERS[form.syntax](families, created)]


_WRITERS: dict[Syntax, Callable[[Sequence[Family], bool], Iterable[Piece]]] = {
    Syntax.TEXT: lambda families, created: plain_pieces(families),  # noqa: ARG005  # it has no place for it
    Syntax.OPENMETRICS: lambda families, created: openmetrics_pieces(families, created=created),
    Syntax.PROTOBUF: lambda families, created: protobuf_pieces(families),  # noqa: ARG005  # it is always there
}
