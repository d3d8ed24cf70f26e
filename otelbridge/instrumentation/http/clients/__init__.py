"""Requests the process makes (H5): one module a library, one for what is recorded, one for who else records it."""

from __future__ import annotations

from otelbridge.instrumentation.http.clients.libraries import instrument_clients

__all__ = ["instrument_clients"]
