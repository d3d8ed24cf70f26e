"""A service that counts its work, and shows what it and its siblings have counted.

Environment: SERVICE_URLS, a file to which each process that has an endpoint of its own adds its URL;
SERVICE_HELD_SECONDS and SERVICE_HELD, how long `hold` holds and the file that tells that it does; SERVICE_OTLP, a
receiver to push to; SERVICE_PORT, the port of the endpoint, also where there is an application to mount it on.
"""

from __future__ import annotations

import ctypes
import json
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otelbridge
from otelbridge.config.options import PrometheusOptions

if TYPE_CHECKING:
    from otelbridge.bridge import Bridge

NAME = "workers-test"
PORT = os.environ.get("SERVICE_PORT")
OWN_PORT = PrometheusOptions(mode="server", port=int(PORT or 0))

_meter = metrics.get_meter("service")
starts = _meter.create_counter("service.starts")
jobs = _meter.create_counter("service.jobs")
sizes = _meter.create_histogram("service.job.size", unit="By")


class _Started:
    """The bridge of this process."""

    bridge: Bridge


def start(app: Any = None) -> Bridge:
    """Start the metrics: on the application, or on a port of its own."""
    bridge = otelbridge.init(
        service_name=NAME,
        app=app,
        prometheus=OWN_PORT if app is None or PORT else None,
        otlp=os.environ.get("SERVICE_OTLP") or False,
    )
    _Started.bridge = bridge
    starts.add(1)
    urls = os.environ.get("SERVICE_URLS")
    if urls and bridge.metrics_url and app is None:
        with Path(urls).open("a") as file:
            file.write(f"{bridge.metrics_url}\n")
    return bridge


def work() -> bytes:
    """Do one job."""
    # A series that all processes have, and one that only this process has.
    jobs.add(1, {"kind": "common"})
    jobs.add(1, {"kind": f"of {os.getpid() % 7}"})
    sizes.record(os.getpid() % 1000)
    return b"done"


def degraded() -> str:
    """Why this process counts for itself; empty while it does not."""
    return _processes().degraded


def scrape() -> bytes:
    """What a scrape gets."""
    return _Started.bridge.render().encode()


def status() -> bytes:
    """When the series of this process' scrape began, and what the process thinks of its group, as JSON."""
    data = json.loads(_reader(os.getpid()).get_metrics_data().to_json())
    begun = {
        point["start_time_unix_nano"]
        for resource in data["resource_metrics"]
        for scope in resource["scope_metrics"]
        for metric in scope["metrics"]
        for point in metric["data"]["data_points"]
        if point.get("start_time_unix_nano")
    }
    instance = data["resource_metrics"][0]["resource"]["attributes"]["service.instance.id"]
    processes = _processes()
    return json.dumps(
        {
            "pid": os.getpid(),
            "begun": sorted(begun),
            "instance": instance,
            "degraded": processes.degraded,
            "group": processes.group,
            "why": processes.membership.why if processes.membership else "",
        }
    ).encode()


def _processes() -> Any:
    return _Started.bridge._pipeline.provider._processes


@cache
def _reader(_pid: int) -> Any:
    reader = InMemoryMetricReader()
    _Started.bridge._pipeline.provider.add_metric_reader(reader)
    return reader


def hold() -> bytes:
    """Hold the interpreter's lock, as an extension that computes for long does."""
    Path(os.environ["SERVICE_HELD"]).touch()
    # Unlike CDLL, PyDLL calls without giving up the lock.
    ctypes.PyDLL(None).usleep(int(float(os.environ["SERVICE_HELD_SECONDS"]) * 1e6))
    return b"held"


def _nothing() -> bytes:
    return b""


PAGES = {"/metrics": scrape, "/status": status, "/work": work, "/hold": hold}
"""What can be asked for."""


def answer(path: str) -> bytes:
    """Answer a request."""
    return PAGES.get(path, _nothing)()
