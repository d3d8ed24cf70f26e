"""Everything taken from prometheus_client, which is imported only where an application has done so or asks for it.

Checked against prometheus_client 0.26. What it does not offer under a public name has a way round: a registry without
the private mapping of its collectors is read as a whole, and a gauge that does not tell its mode is shown per process.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGE = "prometheus_client"
DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus_client keeps the values of several processes, when it does so itself."""

_UPSTREAM = "opentelemetry.exporter.prometheus"
_DEFAULTS = ("PROCESS_COLLECTOR", "PLATFORM_COLLECTOR", "GC_COLLECTOR")


class Collector(Protocol):
    """What a registry holds."""

    def collect(self) -> Iterable[Any]:
        """Give metrics: objects with ``name``, ``documentation``, ``type``, ``unit`` and ``samples``."""
        ...


@dataclass(frozen=True)
class Held:
    """A collector and what is known of it besides."""

    collector: Collector
    """The collector."""

    own: bool
    """Whether it is one of prometheus_client's own instruments, which its multi-process mode knows."""

    mode: str | None
    """The multi-process mode of a gauge; None for everything else."""


def version() -> str | None:
    """Give the version of prometheus_client that is installed; None where it does not say."""
    try:
        return installed(PACKAGE)
    except PackageNotFoundError:
        return None


def default_registry(*, required: bool) -> Any:
    """Give the default registry.

    Args:
        required: Whether prometheus_client is imported for it. If not, it is given where the application has
            imported it.

    Returns:
        The registry; None where nobody has imported prometheus_client.
    """
    if required:
        import prometheus_client

        return prometheus_client.REGISTRY
    return getattr(sys.modules.get(PACKAGE), "REGISTRY", None)


def shown_registry(said: Any) -> Any:
    """Give the registry that a setting stands for; see `otelbridge.config.options.Settings.prometheus_client`.

    Args:
        said: True, False, ``"auto"`` or a registry.

    Returns:
        The registry; None where there is none, or none yet.
    """
    if isinstance(said, bool) or said == "auto":
        return default_registry(required=False) if said else None
    return said


def held(registry: Any) -> list[Held]:
    """List the collectors of a registry, so that each can be read by itself.

    Args:
        registry: A ``CollectorRegistry``, or anything with a ``collect()`` like it.

    Returns:
        The collectors in the order of their registration. What upstream's exporter has registered is left out:
        it shows the metrics of a provider of OpenTelemetry, which the provider's own readers show.
    """
    known = getattr(registry, "_collector_to_names", None)
    if known is None:
        return [Held(registry, own=False, mode=None)]
    collectors: list[Any] = [_Target(registry)] if getattr(registry, "_target_info", None) else []
    collectors += list(cast("dict[Any, object]", known).copy())  # somebody may be registering
    return [
        Held(collector, own=_is_own(collector), mode=getattr(collector, "_multiprocess_mode", None))
        for collector in collectors
        if not type(collector).__module__.startswith(_UPSTREAM)
    ]


def only_defaults(collectors: Iterable[Held]) -> bool:
    """Tell whether collectors are only those every registry begins with: process, platform, garbage collector."""
    client = sys.modules.get(PACKAGE)
    defaults = [getattr(client, name, None) for name in _DEFAULTS]
    return all(any(each.collector is default for default in defaults) for each in collectors)


def shared_values() -> Collector | None:
    """Give what reads the values of all processes, where prometheus_client keeps them together.

    Returns:
        A collector; None where it does not keep them (``PROMETHEUS_MULTIPROC_DIR`` is not set).

    Raises:
        ValueError: The variable names no directory.
    """
    if not keeps_shared_values():
        return None
    from prometheus_client import multiprocess

    return cast("Collector", multiprocess.MultiProcessCollector(None, os.environ[DIRECTORY_VARIABLE]))


def keeps_shared_values() -> bool:
    """Tell whether prometheus_client itself keeps the values of all processes together."""
    return bool(os.environ.get(DIRECTORY_VARIABLE))


def _is_own(collector: Any) -> bool:
    # Whoever subclasses an instrument still has its values in the client's files.
    return any(f"{base.__module__}.{base.__qualname__}" == _WRAPPER for base in type(collector).__mro__)


_WRAPPER = f"{PACKAGE}.metrics.MetricWrapperBase"


class _Target:
    """The target information of a registry, which no collector gives."""

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Any]:
        """See `Collector`."""
        return [self._registry._target_info_metric()]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Target) and other._registry is self._registry

    def __hash__(self) -> int:
        return hash((_Target, id(self._registry)))
