"""Endpoints of others that show a registry of prometheus_client and nothing else."""

from __future__ import annotations

import inspect
from types import FunctionType
from typing import Any

from otelbridge.neighbour.client import PACKAGE, default_registry

_PACKAGES = (PACKAGE, "prometheus_fastapi_instrumentator")


def registry_shown_by(route: Any) -> Any:
    """Give the registry that a route of a Starlette application shows.

    Args:
        route: A route or a mount.

    Returns:
        The registry, where the route is ``make_asgi_app()`` of prometheus_client, mounted, or ``expose()`` of
        prometheus-fastapi-instrumentator, open to everybody; None for anything else.
    """
    function = getattr(route, "endpoint", None) or getattr(route, "app", None)
    # What asks for credentials is not to be put out of the way.
    if not isinstance(function, FunctionType) or getattr(route, "dependencies", None):
        return None
    if function.__module__.partition(".")[0] not in _PACKAGES:
        return None
    kept = inspect.getclosurevars(function).nonlocals
    registry = kept.get("registry") or getattr(kept.get("self"), "registry", None)
    return registry or default_registry(required=False)
