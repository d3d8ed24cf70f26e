"""A service that counts with prometheus_client and shows it with otelbridge; a WSGI application."""

from __future__ import annotations

import os
from typing import Any

import prometheus_client as client
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

import otelbridge
from otelbridge.config.options import PrometheusOptions

jobs = client.Counter("jobs", "Jobs.", ["kind"])
sizes = client.Histogram("job_size_bytes", "Sizes.", buckets=(10, 100))
waits = client.Summary("wait_seconds", "Waits.")
level = client.Gauge("level", "Everybody's own.", multiprocess_mode="liveall")
busy = client.Gauge("busy", "Added.", multiprocess_mode="livesum")
peak = client.Gauge("peak", "The highest.", multiprocess_mode="livemax")
latest = client.Gauge("latest", "Set last.", multiprocess_mode="livemostrecent")


class Custom:
    """What a collector of one's own gives."""

    done = 0

    def collect(self) -> list[Any]:
        """See prometheus_client."""
        return [
            CounterMetricFamily("custom", "", value=self.done),
            GaugeMetricFamily("custom_level", "", value=self.done),
        ]

    def describe(self) -> list[Any]:
        """Tell nothing beforehand."""
        return []


custom = Custom()
client.REGISTRY.register(custom)


def start() -> Any:
    """Start the metrics."""
    return otelbridge.init(
        service_name="neighbour-test",
        prometheus=PrometheusOptions(mode="server", port=0),
        otlp=os.environ.get("SERVICE_OTLP") or False,
        instrument=[],
        domains=[],
    )


def work(amount: int = 1) -> None:
    """Do some jobs."""
    jobs.labels("common").inc(amount)
    jobs.labels(f"of {os.getpid() % 5}").inc(amount)
    for _ in range(amount):
        sizes.observe(50)
        waits.observe(0.5)
    level.set(amount)
    busy.set(amount)
    peak.set(amount)
    latest.set(amount)
    custom.done += amount


if os.environ.get("SERVICE_BEFORE_FORK"):  # what a preloading server does before there are workers
    work(int(os.environ["SERVICE_BEFORE_FORK"]))

bridge = start() if "gunicorn" in os.environ.get("SERVER_SOFTWARE", "") else None


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Work, or show what all workers have done."""
    if environ["PATH_INFO"] == "/work":
        work()
        body = b"done"
    else:
        body = bridge.render().encode()
    headers = [("Content-Length", str(len(body))), ("X-Worker", str(os.getpid())), ("Content-Type", "text/plain")]
    start_response("200 OK", headers)
    return [body]
