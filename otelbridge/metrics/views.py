"""Views from the catalogue: which attributes a stream keeps, and in which buckets.

The allow-list of attributes is what keeps a client, a library or a slip from creating series at will.
A view of the user replaces ours for the instruments it selects, as a whole: what it does not say is then
the specification's default, not ours.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk import metrics as sdk
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation

from otelbridge.catalogue.buckets import BY_UNIT
from otelbridge.catalogue.http_foreign import OLD_KEYS, OLD_METRICS, VALUES
from otelbridge.catalogue.model import Kind, Metric
from otelbridge.catalogue.naming import metric_name
from otelbridge.config.view import FileView
from otelbridge.errors import ConfigError
from otelbridge.metrics._sdk import Gauge, YieldingView
from otelbridge.metrics.view import View

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping, Sequence

    from opentelemetry.sdk.metrics.view import Aggregation
    from opentelemetry.sdk.metrics.view import View as SdkView

    from otelbridge.catalogue.model import Buckets
    from otelbridge.metrics.secrets import Hide

_TYPES = {
    Kind.COUNTER: sdk.Counter,
    Kind.UP_DOWN_COUNTER: sdk.UpDownCounter,
    Kind.HISTOGRAM: sdk.Histogram,
    Kind.GAUGE: Gauge,
    Kind.OBSERVABLE_COUNTER: sdk.ObservableCounter,
    Kind.OBSERVABLE_UP_DOWN_COUNTER: sdk.ObservableUpDownCounter,
    Kind.OBSERVABLE_GAUGE: sdk.ObservableGauge,
}

# How alike two names are that differ in a letter or two. The conventions have names that are nearly as close.
_SLIP = 0.94


def user_views(views: Iterable[SdkView | FileView]) -> list[SdkView]:
    """Make the user's views: those of a file are data until now."""
    return [View(**vars(view)) if isinstance(view, FileView) else view for view in views]


def create_views(metrics: Iterable[Metric], user_views: Sequence[SdkView] = ()) -> list[SdkView]:
    """Make the views of a provider.

    Returns:
        The user's views, then one a metric, those of earlier conventions included, then one a unit for
        histograms of other libraries that bring no boundaries.
    """
    declared: list[SdkView] = [_view_of(metric, user_views) for metric in metrics]
    declared += [_view_of_old(name, buckets, user_views) for name, buckets in OLD_METRICS.items()]
    by_unit: list[SdkView] = [
        YieldingView(
            (*user_views, *declared),
            unadvised_only=True,
            instrument_type=sdk.Histogram,
            instrument_name="*",
            instrument_unit=unit,
            aggregation=ExplicitBucketHistogramAggregation(buckets.boundaries),
        )
        for unit, buckets in BY_UNIT.items()
    ]
    return [*user_views, *declared, *by_unit]


def check_targets(metrics: Iterable[Metric], user_views: Sequence[SdkView]) -> None:
    """Refuse views that name a metric of the catalogue in a wrong way, and so would select nothing.

    Any name may be that of an instrument the application makes later. What can be told is the name a
    metric has in Prometheus, and a slip of the pen.

    Args:
        metrics: The metrics of the catalogue.
        user_views: The user's own views. One with a pattern, or with the name of a meter, is taken as it is.

    Raises:
        ConfigError: A view names something that is close to a metric, and none.
    """
    exposed = {metric_name(metric): metric.name for metric in metrics}
    known = set(exposed.values())
    for view in user_views:
        name: str | None = getattr(view, "_instrument_name", None)  # the SDK's views offer no public name for it
        if name is None or name in known or {"*", "?"} & set(name) or getattr(view, "_meter_name", None):
            continue
        close = get_close_matches(name, known, n=1, cutoff=_SLIP)
        meant = exposed.get(name) or (close[0] if close else None)
        if meant is not None:
            raise ConfigError(
                f"A view selects the instrument {name!r}, which is not in the catalogue",
                f"Write {meant!r} if that is meant; for an instrument of your own, name its meter too (meter_name)",
            )


def _view_of(metric: Metric, user_views: Sequence[SdkView]) -> SdkView:
    # Our own instruments carry their boundaries as advice, which leaves a reader free to prefer
    # exponential histograms. Instruments of other libraries may carry none, so the view says them.
    foreign = metric.recorded_by != "otelbridge"
    return YieldingView(
        user_views,
        instrument_type=_TYPES[metric.kind],
        instrument_name=metric.name,
        attribute_keys=set(metric.attribute_keys),
        aggregation=_aggregation(metric.buckets if foreign else None),
        merge=metric.merge,
        hide=_hide_made_up(metric.attribute_keys),
    )


def _view_of_old(name: str, buckets: Buckets | None, user_views: Sequence[SdkView]) -> SdkView:
    return YieldingView(
        user_views,
        instrument_type=sdk.Histogram,
        instrument_name=name,
        attribute_keys=set(OLD_KEYS),
        aggregation=_aggregation(buckets),
        hide=_hide_made_up(OLD_KEYS),
    )


def _aggregation(buckets: Buckets | None) -> Aggregation | None:
    return ExplicitBucketHistogramAggregation(buckets.boundaries) if buckets else None


def _hide_made_up(keys: Collection[str]) -> Hide | None:
    """Make what leaves out values that a client made up, whoever records them."""
    known = {key: values for key, values in VALUES.items() if key in keys}
    return partial(_without_made_up, known) if known else None


def _without_made_up(known: Mapping[str, Container[object]], attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    made_up = [key for key, values in known.items() if key in attributes and attributes[key] not in values]
    return {key: value for key, value in attributes.items() if key not in made_up} if made_up else attributes
