"""Alerts as data: what has to be wrong, for how long, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from otelbridge.catalogue import self as own
from otelbridge.catalogue.naming import metric_name

Severity = Literal["info", "warning", "critical"]

_EXPORTED = metric_name(own.EXPORTED)
_COLLECTION = metric_name(own.COLLECTION_DURATION)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of Prometheus."""

    name: str
    """Its name, in CamelCase."""

    expression: str
    """PromQL that gives the series for which something is wrong."""

    minutes: int
    """For how long it has to be so."""

    severity: Severity
    """How soon somebody has to look."""

    summary: str
    """One line; ``{{ $labels.x }}`` stands for a label of the series."""

    cure: str
    """What it means, where to look, and what to do."""


@dataclass(frozen=True, slots=True)
class AlertGroup:
    """Alerts that belong together."""

    name: str
    """Name of the group."""

    alerts: tuple[Alert, ...]
    """Its alerts."""


SELF = AlertGroup(
    "otelbridge",
    (
        Alert(
            name="OtelbridgePushStopped",
            expression=f"min by (job, otel_component_name) ({metric_name(own.PUSH_AGE)}) > 300",
            minutes=5,
            severity="critical",
            summary="{{ $labels.job }}: nothing has arrived at {{ $labels.otel_component_name }} for "
            "{{ $value | humanizeDuration }}",
            cure="The service pushes and nothing is acknowledged. Its log has one line with the cause; see whether the "
            "collector runs, answers, and takes what it is sent. Totals are not lost: the first push that arrives "
            "carries them. Scrapes go on.",
        ),
        Alert(
            name="OtelbridgePushNeverArrived",
            expression=(
                f'sum by (job, otel_component_name) (increase({_EXPORTED}{{error_type!=""}}[15m])) > 0 '
                f'unless sum by (job, otel_component_name) ({_EXPORTED}{{error_type=""}}) > 0'
            ),
            minutes=5,
            severity="critical",
            summary="{{ $labels.job }}: nothing has ever arrived at {{ $labels.otel_component_name }}",
            cure="The service has pushed since it started and not once was it acknowledged: look at endpoint, "
            "protocol, headers and certificates first. Its log has one line with the answer it got.",
        ),
        Alert(
            name="OtelbridgePointsRejected",
            expression=(
                f'sum by (job, otel_component_name, error_type) (increase({_EXPORTED}{{error_type=~"rejected|refused"}}'
                "[15m])) > 0"
            ),
            minutes=0,
            severity="warning",
            summary="{{ $labels.job }}: {{ $labels.otel_component_name }} does not take all data points "
            "({{ $labels.error_type }})",
            cure="The receiver took the request and not all of its points, or refused it for good: these points are "
            "not sent again. The service's log has the receiver's own words.",
        ),
        Alert(
            name="OtelbridgeOverflow",
            expression=f"max by (job, otelbridge_metric_name) ({metric_name(own.OVERFLOW)}) > 0",
            minutes=0,
            severity="warning",
            summary="{{ $labels.job }}: {{ $labels.otelbridge_metric_name }} has too many attribute sets",
            cure="Further sets are counted together under otel_metric_overflow=true; totals are exact. The service's "
            "log names the attribute that explodes: drop it by a view, or raise the limit.",
        ),
        Alert(
            name="OtelbridgeDegraded",
            expression=f"max by (job, otelbridge_process_degraded_reason) ({metric_name(own.DEGRADED)}) > 0",
            minutes=5,
            severity="warning",
            summary="{{ $labels.job }}: a worker counts for itself ({{ $labels.otelbridge_process_degraded_reason }})",
            cure="It cannot share its values with the other workers, so that a scrape shows some of them only. Make "
            "room in the run directory, or name another with OTELBRIDGE_RUN_DIRECTORY.",
        ),
        Alert(
            name="OtelbridgeCollectionSlow",
            expression=(
                f"histogram_quantile(0.99, sum by (job, otel_component_name, le) (rate({_COLLECTION}_bucket[10m]))) > 5"
            ),
            minutes=10,
            severity="warning",
            summary="{{ $labels.job }}: {{ $labels.otel_component_name }} takes {{ $value | humanizeDuration }} to "
            "read all metrics",
            cure="A scrape times out after 10 s by default. Look for a callback that waits for something, and for "
            "metrics with many series (otelbridge_series_held).",
        ),
        Alert(
            name="OtelbridgeScrapeIncomplete",
            expression=f"max by (job) ({metric_name(own.LEFT_OUT)}) > 0",
            minutes=0,
            severity="warning",
            summary="{{ $labels.job }}: {{ $value }} metrics are left out of the scrape",
            cure="The page would be larger than allowed, so that the largest metrics are missing whole; the service's "
            "log names them. Drop attributes by views, or raise max_bytes of the endpoint.",
        ),
    ),
)

GROUPS = (SELF,)
