"""What otelbridge says about itself: what it had to count together, how its processes are, what has left it."""

from __future__ import annotations

from otelbridge.catalogue.attributes import ERROR_TYPE
from otelbridge.catalogue.buckets import HTTPD
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

_EXPORTER = Attribute(
    "otel.component.name",
    "Which destination, by its protocol and its place in the settings.",
    example="otlp_http_metric_exporter/0",
)

_READER = Attribute(
    "otel.component.name",
    "Which reader: the scrape endpoint, or a destination by its protocol and its place in the settings.",
    example="prometheus_http_text_metric_exporter/0",
)

_READER_TYPE = Attribute(
    "otel.component.type",
    "Its kind.",
    example="prometheus_http_text_metric_exporter",
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

EXPORTED = Metric(
    id="O6",
    name="otel.sdk.exporter.metric_data_point.exported",
    kind=Kind.OBSERVABLE_COUNTER,
    unit="{data_point}",
    brief="Data points of finished pushes; those that did not arrive have an error.type.",
    attributes=(_EXPORTER, ERROR_TYPE),
    convention="semconv",
)

PUSH_AGE = Metric(
    id="O7",
    name="otelbridge.push.age",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="s",
    brief="Time since the last push that arrived; none before the first.",
    attributes=(_EXPORTER,),
    merge="min",
)

COLLECTION_DURATION = Metric(
    id="O8",
    name="otel.sdk.metric_reader.collection.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Time it takes to read all metrics for one scrape or push; for a scrape, with the page that is written.",
    attributes=(_READER, _READER_TYPE),
    buckets=HTTPD,
    convention="semconv",
)

LEFT_OUT = Metric(
    id="O9",
    name="otelbridge.scrape.left_out",
    kind=Kind.OBSERVABLE_GAUGE,
    unit="{family}",
    brief="Metrics that were left out of the last scrape, since its page would have been too large.",
    merge="max",
)

DOMAIN = Domain(
    "self",
    "otelbridge itself: limits that were reached, the processes that are seen as one, scrapes and pushes.",
    (OVERFLOW, SERIES, DEGRADED, LIVE, FOLDED, EXPORTED, PUSH_AGE, COLLECTION_DURATION, LEFT_OUT),
)
