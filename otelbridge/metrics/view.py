"""A view that can say what the SDK's cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from opentelemetry.sdk.metrics.view import View as SdkView

from otelbridge.catalogue.model import MergeRule
from otelbridge.errors import ConfigError
from otelbridge.metrics._sdk import filter_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from opentelemetry.metrics import Instrument
    from opentelemetry.sdk.metrics import ExemplarReservoir
    from opentelemetry.sdk.metrics.view import Aggregation


class View(SdkView):
    """The SDK's view with four settings more. The SDK's own provider takes it too, and heeds `exclude_attribute_keys`.

    Args:
        instrument_type: See the SDK's `View`, as for all that follow up to `instrument_unit`.
        instrument_name: Pattern with ``*`` and ``?``.
        meter_name: Name of the scope.
        meter_version: Version of the scope.
        meter_schema_url: Schema URL of the scope.
        name: New name of the stream.
        description: New description.
        attribute_keys: Keys to keep; None keeps all.
        aggregation: How measurements are aggregated.
        exemplar_reservoir_factory: Makes the reservoirs of exemplars.
        instrument_unit: Pattern of the unit.
        exclude_attribute_keys: Keys to leave out of what is kept; metrics SDK specification, "Stream configuration".
        cardinality_limit: How many attribute sets the stream keeps apart; the same section. None leaves it to the
            reader and the provider.
        forget_after: Seconds after which a series that nobody recorded to is left out, until somebody does again.
            None keeps it for ever.
        merge: How several worker processes become one; see `otelbridge.catalogue.model.MergeRule`. None takes what
            is right for the instrument.

    Raises:
        ConfigError: A setting cannot be used.
    """

    def __init__(
        self,
        instrument_type: type[Instrument] | None = None,
        instrument_name: str | None = None,
        meter_name: str | None = None,
        meter_version: str | None = None,
        meter_schema_url: str | None = None,
        name: str | None = None,
        description: str | None = None,
        attribute_keys: set[str] | None = None,
        aggregation: Aggregation | None = None,
        exemplar_reservoir_factory: Callable[[type[object]], Callable[..., ExemplarReservoir]] | None = None,
        instrument_unit: str | None = None,
        *,
        exclude_attribute_keys: Collection[str] = (),
        cardinality_limit: int | None = None,
        forget_after: float | None = None,
        merge: MergeRule | None = None,
    ) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            instrument_type=instrument_type,
            instrument_name=instrument_name,
            meter_name=meter_name,
            meter_version=meter_version,
            meter_schema_url=meter_schema_url,
            name=name,
            description=description,
            attribute_keys=attribute_keys,
            aggregation=aggregation,
            exemplar_reservoir_factory=exemplar_reservoir_factory,  # pyright: ignore[reportArgumentType]
            instrument_unit=instrument_unit,
        )
        if cardinality_limit is not None and cardinality_limit < 1:
            raise ConfigError(
                f"cardinality_limit is {cardinality_limit}", "Give the number of attribute sets the stream may have"
            )
        if forget_after is not None and not forget_after > 0:
            raise ConfigError(f"forget_after is {forget_after}", "Give seconds, or None to keep series for ever")
        if merge is not None and merge not in get_args(MergeRule):
            raise ConfigError(f"merge is {merge!r}", f"Choose one of {', '.join(get_args(MergeRule))}")
        if exclude_attribute_keys:
            filter_keys(self, attribute_keys, frozenset(exclude_attribute_keys))
        self.cardinality_limit = cardinality_limit
        """See the class."""
        self.forget_after = forget_after
        """See the class."""
        self.merge: MergeRule | None = merge
        """See the class."""
