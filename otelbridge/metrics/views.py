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

from otelbridge.catalogue.buckets import FITS
from otelbridge.catalogue.http_foreign import OLD_KEYS, OLD_METRICS, VALUES
from otelbridge.catalogue.model import Kind, Metric
from otelbridge.catalogue.naming import metric_name
from otelbridge.config.view import FileView
from otelbridge.errors import ConfigError
from otelbridge.metrics._sdk import Gauge, YieldingView
from otelbridge.metrics.view import View

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping, Sequence

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
        The user's views, then those of the metrics, those of earlier conventions included, then those for histograms of
        other libraries that bring no boundaries.
    """
    views: list[SdkView] = [*user_views]
    for metric in metrics:
        views += _views_of(metric, user_views)
    views += [_view_of_old(name, buckets, user_views) for name, buckets in OLD_METRICS.items()]
    for name, unit, buckets in FITS:
        aggregation = ExplicitBucketHistogramAggregation(buckets.boundaries)
        views.append(
            YieldingView(
                views,
                unadvised_only=True,
                instrument_type=sdk.Histogram,
                instrument_name=name,
                instrument_unit=unit,
                aggregation=aggregation,
            )
        )
    return views


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


def _views_of(metric: Metric, user_views: Sequence[SdkView]) -> list[SdkView]:
    # Our own instruments carry their boundaries as advice, which leaves a reader free to prefer exponential
    # histograms. Those of other libraries may carry none, whatever their name, so a view says them.
    kept: Any = {
        "instrument_type": _TYPES[metric.kind],
        "instrument_name": metric.name,
        "attribute_keys": set(metric.attribute_keys),
        "merge": metric.merge,
        "hide": _hide_made_up(metric.attribute_keys),
    }
    if metric.buckets is None:
        return [YieldingView(user_views, **kept)]
    explicit = ExplicitBucketHistogramAggregation(metric.buckets.boundaries)
    if metric.recorded_by != "otelbridge":
        return [YieldingView(user_views, aggregation=explicit, **kept)]
    unadvised = YieldingView(user_views, unadvised_only=True, aggregation=explicit, **kept)
    return [unadvised, YieldingView((*user_views, unadvised), **kept)]


def _view_of_old(name: str, buckets: Buckets | None, user_views: Sequence[SdkView]) -> SdkView:
    return YieldingView(
        user_views,
        instrument_type=sdk.Histogram,
        instrument_name=name,
        attribute_keys=set(OLD_KEYS),
        aggregation=ExplicitBucketHistogramAggregation(buckets.boundaries) if buckets else None,
        hide=_hide_made_up(OLD_KEYS),
    )


def _hide_made_up(keys: Collection[str]) -> Hide | None:
    """Make what leaves out values that a client made up, whoever records them."""
    known = {key: values for key, values in VALUES.items() if key in keys}
    return partial(_without_made_up, known) if known else None


def _without_made_up(known: Mapping[str, Container[object]], attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    made_up = [key for key, values in known.items() if key in attributes and attributes[key] not in values]
    return {key: value for key, value in attributes.items() if key not in made_up} if made_up else attributes
