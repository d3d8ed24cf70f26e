"""The section ``meter_provider.views`` of the configuration file, made into views as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import view as sdk

from otelbridge.config import checks
from otelbridge.config.view import FileView
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.configuration.models import Aggregation, MeterProvider, View

_INSTRUMENTS: Mapping[str, type[api.Instrument]] = {
    "counter": api.Counter,
    "gauge": api._Gauge,  # pyright: ignore[reportPrivateUsage]  # in __all__, under no other name
    "histogram": api.Histogram,
    "observable_counter": api.ObservableCounter,
    "observable_gauge": api.ObservableGauge,
    "observable_up_down_counter": api.ObservableUpDownCounter,
    "up_down_counter": api.UpDownCounter,
}


def read_views(section: MeterProvider | None) -> tuple[FileView, ...] | None:
    """Read the views of a file.

    Args:
        section: ``meter_provider`` as loaded.

    Returns:
        Views in the order of the file; None where it has none.

    Raises:
        ConfigError: A view says something that views cannot do.
    """
    if section is None or section.views is None:
        return None
    return tuple(_view(f"meter_provider.views[{number}]", view) for number, view in enumerate(section.views))


def _view(where: str, view: View) -> FileView:
    selector, stream = view.selector, view.stream
    if not any(vars(selector).values()):
        raise ConfigError(f"{where}.selector selects nothing in particular", "Give an instrument_name; '*' takes all")
    if stream.name and set("*?") & set(selector.instrument_name or "*"):
        raise ConfigError(
            f"{where}.stream.name gives one name to several instruments",
            "Select one instrument by its full name, or leave the name out",
        )
    kind, keys, limit = selector.instrument_type, stream.attribute_keys, stream.aggregation_cardinality_limit
    return FileView(
        instrument_type=None if kind is None else _INSTRUMENTS[kind.value],
        instrument_name=selector.instrument_name,
        instrument_unit=selector.unit,
        meter_name=selector.meter_name,
        meter_version=selector.meter_version,
        meter_schema_url=selector.meter_schema_url,
        name=stream.name,
        description=stream.description,
        attribute_keys=_keys(f"{where}.stream.attribute_keys.included", keys and keys.included),
        exclude_attribute_keys=_keys(f"{where}.stream.attribute_keys.excluded", keys and keys.excluded) or frozenset(),
        aggregation=_aggregation(f"{where}.stream.aggregation", stream.aggregation),
        cardinality_limit=None
        if limit is None
        else checks.limit(f"{where}.stream.aggregation_cardinality_limit", limit),
    )


def _keys(where: str, keys: Sequence[str] | None) -> frozenset[str] | None:
    patterns = [key for key in keys or () if set("*?") & set(key)]
    if patterns:
        raise ConfigError(
            f"{where} has the pattern {patterns[0]!r}, and only full keys are known", "Write the keys out"
        )
    return None if keys is None else frozenset(keys)


def _aggregation(where: str, chosen: Aggregation | None) -> sdk.Aggregation | None:
    if chosen is None:
        return None
    name = next(name for name, value in vars(chosen).items() if value is not None)
    return _AGGREGATIONS[name](f"{where}.{name}", getattr(chosen, name))


def _explicit(where: str, section: Any) -> sdk.Aggregation:
    boundaries: list[float] | None = section.boundaries
    if boundaries is not None and sorted(set(boundaries)) != boundaries:
        raise ConfigError(f"{where}.boundaries is {boundaries}, which does not rise", "Sort it, each value once")
    # Floats, because an integer bound would be printed as another label value in Prometheus.
    floats = None if boundaries is None else [float(bound) for bound in boundaries]
    return sdk.ExplicitBucketHistogramAggregation(floats, section.record_min_max is not False)


def _exponential(where: str, section: Any) -> sdk.Aggregation:
    del where
    stated = {key: getattr(section, key) for key in ("max_size", "max_scale", "record_min_max")}
    said = {key: value for key, value in stated.items() if value is not None}
    return sdk.ExponentialBucketHistogramAggregation(**said)


_AGGREGATIONS: Mapping[str, Callable[[str, Any], sdk.Aggregation]] = {
    "default": lambda where, section: sdk.DefaultAggregation(),  # noqa: ARG005
    "drop": lambda where, section: sdk.DropAggregation(),  # noqa: ARG005
    "explicit_bucket_histogram": _explicit,
    "base2_exponential_bucket_histogram": _exponential,
    "last_value": lambda where, section: sdk.LastValueAggregation(),  # noqa: ARG005
    "sum": lambda where, section: sdk.SumAggregation(),  # noqa: ARG005
}
