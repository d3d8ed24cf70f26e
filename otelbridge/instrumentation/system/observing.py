"""Several observed metrics switched on and off as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.domains.recording import Registration

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otelbridge.domains.recording import Observed, Source


def observe_all(key: str, sources: Iterable[tuple[Observed, Source | None]]) -> Registration:
    """Observe several metrics under one key.

    Args:
        key: Identity of the sources; observing under it again replaces them.
        sources: Each metric with what reads it. None where this platform has no way to read it: that
            metric is then absent.

    Returns:
        One handle for all of them.
    """
    registrations = [observed.observe(key, source) for observed, source in sources if source is not None]

    def close() -> None:
        for registration in registrations:
            registration.close()

    return Registration(close)
