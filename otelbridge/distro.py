"""What `opentelemetry-instrument` finds: a distribution and a configurator named ``otelbridge``.

Both act only where ``OTEL_PYTHON_DISTRO`` or ``OTEL_PYTHON_CONFIGURATOR`` names them: that otelbridge is installed
changes nothing for whoever uses another.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.distro import BaseDistro
from opentelemetry.instrumentation.environment_variables import OTEL_PYTHON_CONFIGURATOR, OTEL_PYTHON_DISTRO

from otelbridge.automatic import start
from otelbridge.instrumentation import discovery

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_NAME = "otelbridge"
_ALSO_OURS = ("asgi", "system_metrics")


class Distro(BaseDistro):
    """Has otelbridge configured, and leaves to it what it instruments by itself."""

    def _configure(self, **kwargs: Any) -> None:  # noqa: ARG002  # the base class's
        os.environ.setdefault(OTEL_PYTHON_CONFIGURATOR, _NAME)

    def load_instrumentor(self, entry_point: EntryPoint, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Switch an instrumentation on, unless otelbridge has one of its own for the library.

        Args:
            entry_point: The instrumentation.
            **kwargs: For it.
        """
        if entry_point.name not in (*discovery.known(), *_ALSO_OURS):
            super().load_instrumentor(entry_point, **kwargs)  # pyright: ignore[reportUnknownMemberType]


class Configurator:
    """Starts otelbridge; where nobody has named it, lets the next configurator do what it does."""

    def configure(self, **kwargs: Any) -> None:
        """Configure what records and exports.

        Args:
            **kwargs: For another configurator.
        """
        if os.environ.get(OTEL_PYTHON_CONFIGURATOR) == _NAME:
            start()
            return
        for entry_point in entry_points(group="opentelemetry_configurator"):
            if entry_point.name != _NAME:
                entry_point.load()().configure(**kwargs)
                return


def distro() -> Distro | None:
    """Make the distribution; None, which `opentelemetry-instrument` passes over, where nobody has named it."""
    return Distro() if os.environ.get(OTEL_PYTHON_DISTRO) == _NAME else None
