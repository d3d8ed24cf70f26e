"""A view of the configuration file, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opentelemetry.metrics import Instrument
    from opentelemetry.sdk.metrics.view import Aggregation


@dataclass(frozen=True, kw_only=True)
class FileView:
    """What a view of the file says, under the names of the parameters of `otelbridge.metrics.view.View`.

    It is data because views are made by the metrics, which know the configuration and not the other way round.
    """

    instrument_type: type[Instrument] | None = None
    """Kind of instruments it selects."""

    instrument_name: str | None = None
    """Name of the instruments it selects, or a pattern with ``*`` and ``?``."""

    instrument_unit: str | None = None
    """Unit of the instruments it selects."""

    meter_name: str | None = None
    """Name of the scope it selects."""

    meter_version: str | None = None
    """Version of the scope it selects."""

    meter_schema_url: str | None = None
    """Schema URL of the scope it selects."""

    name: str | None = None
    """New name of the stream."""

    description: str | None = None
    """New description of the stream."""

    attribute_keys: frozenset[str] | None = None
    """Keys to keep; None keeps all."""

    exclude_attribute_keys: frozenset[str] = frozenset()
    """Keys to leave out of what is kept."""

    aggregation: Aggregation | None = None
    """How measurements are aggregated; None takes the default of the instrument."""

    cardinality_limit: int | None = None
    """How many attribute sets the stream keeps apart; None leaves it to the reader and the process."""
