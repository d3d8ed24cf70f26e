"""A service whose code changes: what it measures, and how, stands in a file that each process reads when it starts.

Environment: SERVICE_VERSION, the file. For WSGI and for ASGI servers.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from opentelemetry import metrics

import otelbridge
from otelbridge.config.options import PrometheusOptions
from otelbridge.metrics.view import View

NAME = "versions-test"


def _view(instrument_name: str, **settings: Any) -> View:
    keys = settings.pop("attribute_keys", None)
    return View(instrument_name=instrument_name, attribute_keys=None if keys is None else set(keys), **settings)


_version: dict[str, Any] = json.loads(Path(os.environ["SERVICE_VERSION"]).read_text("utf-8"))
_bridge = otelbridge.init(
    service_name=NAME,
    prometheus=PrometheusOptions(mode="server", port=0),
    otlp=False,
    instrument=["process", "runtime"],
    views=[_view(**view) for view in _version.get("views", ())],
    **_version.get("init", {}),
)
_meter = metrics.get_meter("service")
_orders = getattr(_meter, f"create_{_version.get('kind', 'counter')}")(
    "service.orders", unit=_version.get("unit", ""), description=_version.get("description", "")
)
_sizes = _meter.create_histogram(
    "service.size", explicit_bucket_boundaries_advisory=_version.get("boundaries", [1, 10, 100])
)


def work() -> bytes:
    """Do one job."""
    _orders.add(1, {"kind": f"of {os.getpid() % 3}", "color": "blue"})
    _sizes.record(os.getpid() % 200)
    return b"done"


def answer(path: str) -> bytes:
    """Answer a request."""
    if path == "/metrics":
        return _bridge.render().encode()
    return work() if path == "/work" else b""


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Serve the service to a WSGI server."""
    body = answer(environ["PATH_INFO"])
    headers = [("Content-Length", str(len(body))), ("X-Worker", str(os.getpid())), ("Content-Type", "text/plain")]
    start_response("200 OK", headers)
    return [body]


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the service to an ASGI server."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    await receive()
    body = await asyncio.to_thread(answer, scope["path"])
    headers = [(b"content-type", b"text/plain"), (b"x-worker", str(os.getpid()).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
