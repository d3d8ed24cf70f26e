"""What `opentelemetry-instrument` finds: a distribution and a configurator named ``otelbridge``.

Both act only where ``OTEL_PYTHON_DISTRO`` or ``OTEL_PYTHON_CONFIGURATOR`` names them: that otelbridge is installed
changes nothing for whoever uses another.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import Any

from opentelemetry.instrumentation.distro import BaseDistro
from opentelemetry.instrumentation.environment_variables import (
    OTEL_PYTHON_CONFIGURATOR,
    OTEL_PYTHON_DISABLED_INSTRUMENTATIONS,
    OTEL_PYTHON_DISTRO,
)

from otelbridge.automatic import start
from otelbridge.instrumentation import discovery

_NAME = "otelbridge"
_ALSO_OURS = ("asgi", "system_metrics")


class Distro(BaseDistro):
    """Has otelbridge configured."""

    def _configure(self, **kwargs: Any) -> None:  # noqa: ARG002  # the base class's
        os.environ.setdefault(OTEL_PYTHON_CONFIGURATOR, _NAME)


class Configurator:
    """Starts otelbridge, and leaves to it what it instruments by itself.

    Where nobody has named it, the next configurator does what it does.
    """

    def configure(self, **kwargs: Any) -> None:
        """Configure what records and exports.

        Args:
            **kwargs: For another configurator.
        """
        if os.environ.get(OTEL_PYTHON_CONFIGURATOR) == _NAME:
            _switch_off(*discovery.known(), *_ALSO_OURS)
            start()
            return
        for entry_point in entry_points(group="opentelemetry_configurator"):
            if entry_point.name != _NAME:
                entry_point.load()().configure(**kwargs)
                return


def _switch_off(*names: str) -> None:
    # Its loader passes over these before it looks whether the library's version is one that they know.
    said = os.environ.get(OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, "").split(",")
    every = dict.fromkeys((*(name.strip() for name in said if name.strip()), *names))
    os.environ[OTEL_PYTHON_DISABLED_INSTRUMENTATIONS] = ",".join(every)


def distro() -> Distro | None:
    """Make the distribution; None, which `opentelemetry-instrument` passes over, where nobody has named it."""
    return Distro() if os.environ.get(OTEL_PYTHON_DISTRO) == _NAME else None
