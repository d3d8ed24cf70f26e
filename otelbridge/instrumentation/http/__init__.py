"""HTTP in the stable conventions: requests an application serves, and requests the process makes."""

from __future__ import annotations

from otelbridge.instrumentation.http.clients import instrument_clients
from otelbridge.instrumentation.http.servers import instrument_http

__all__ = ["instrument_clients", "instrument_http"]
