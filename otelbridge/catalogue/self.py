"""What otelbridge says about itself: what it had to count together, and how its processes are."""

from __future__ import annotations

from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric

_METRIC_NAME = Attribute(
    "otelbridge.metric.name",
    "Which metric. Beyond a hundred, the rest is _OTHER.",
    example="http.server.request.duration",
)
_REASON = Attribute(
    "otelbridge.process.degraded.reason",
    "What the system said; none where all is well.",
    values=("none", "no_room", "no_right", "no_descriptors", "_OTHER"),
    closed=True,
    example="no_room",
)

OVERFLOW = Metric(
    id="O1",
    name="otelbridge.metric.overflow",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{stream}",
    brief="Streams that have more attribute sets than are kept apart, so that some are counted together.",
    attributes=(_METRIC_NAME,),
    merge="max",
)

SERIES = Metric(
    id="O2",
    name="otelbridge.series.held",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{series}",
    brief="Attribute sets a process keeps apart now, over all its metrics.",
    merge="per_worker",
)

DEGRADED = Metric(
    id="O3",
    name="otelbridge.process.degraded",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{process}",
    brief="1 where a process counts for itself, since it cannot share its values with the others; else 0.",
    attributes=(_REASON,),
    merge="max",
)

LIVE = Metric(
    id="O4",
    name="otelbridge.process.live",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{process}",
    brief="Processes of the service that run and are seen as one.",
    merge="max",
)

FOLDED = Metric(
    id="O5",
    name="otelbridge.process.folded",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{process}",
    brief="Processes of the service that have ended and whose counts were added to the common ones.",
)

DOMAIN = Domain(
    "self",
    "otelbridge itself: limits that were reached, and the processes that are seen as one.",
    (OVERFLOW, SERIES, DEGRADED, LIVE, FOLDED),
)
