"""Features that are used and journeys that are made."""

from __future__ import annotations

from otelbridge.catalogue.business import FEATURE_USES, JOURNEY_STEPS
from otelbridge.domains.business._meter import meter

_uses = meter.recorder(FEATURE_USES)
_steps = meter.recorder(JOURNEY_STEPS)


def feature(name: str, *, flag: str | None = None, variant: str | None = None, outcome: str | None = None) -> None:
    """Count one use of a feature, as ``business.feature.uses``. Never raises.

    Args:
        name: Feature that was used.
        flag: Key of the flag that decided about it.
        variant: Variant the user got, for comparing variants.
        outcome: How it ended, for instance ``success``.
    """
    _uses.record(
        1,
        {
            "business.feature.name": name,
            "feature_flag.key": flag,
            "feature_flag.result.variant": variant,
            "business.feature.outcome": outcome,
        },
    )


class Journey:
    """A journey of users through the service, such as a checkout.

    Args:
        name: Name of the journey.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def step(self, step: str, *, outcome: str | None = None) -> None:
        """Count a step that was reached, as ``business.journey.steps``. Never raises.

        Args:
            step: Name of the step, out of a small set.
            outcome: How it ended, for instance ``completed`` or ``abandoned``.
        """
        _steps.record(
            1,
            {
                "business.journey.name": self.name,
                "business.journey.step": step,
                "business.journey.outcome": outcome,
            },
        )
