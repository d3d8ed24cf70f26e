"""What of the application a bridge works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader


@dataclass(frozen=True)
class Attached:
    """The objects of the application that a bridge works on. Compared by identity."""

    app: Any = None
    """FastAPI or Starlette application, if any."""

    engines: tuple[Any, ...] = ()
    """SQLAlchemy engines."""

    meter_provider: MeterProvider | None = None
    """The user's own provider, which then keeps push to itself."""

    metric_readers: tuple[MetricReader, ...] = ()
    """Readers of the user's, beside ours."""

    automatic: bool = False
    """Whether the process was started with otelbridge, so that applications are found by themselves."""

    def differences(self, other: Attached) -> list[str]:
        """Name the fields in which other objects are attached. Equal ones do not count as the same."""
        same_engines = [id(engine) for engine in self.engines] == [id(engine) for engine in other.engines]
        same = {
            "app": self.app is other.app,
            "engine": same_engines,
            "meter_provider": self.meter_provider is other.meter_provider,
            "metric_readers": [*map(id, self.metric_readers)] == [*map(id, other.metric_readers)],
        }
        return [name for name, unchanged in same.items() if not unchanged]
