"""Which instrumentations there are, and which of them can run here.

Asking must cost nothing: a package is looked up, never imported, so that a service without a database
does not load an ORM because a list of names was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from otelbridge.errors import ConfigError, MissingDependencyError, unknown_name

AUTO = "auto"
"""Stands for every instrumentation that can run here."""


@dataclass(frozen=True, slots=True)
class Need:
    """A package an instrumentation cannot do without."""

    module: str
    """What is imported, for instance ``opentelemetry.instrumentation.httpx``."""

    distribution: str
    """What is installed, for instance ``opentelemetry-instrumentation-httpx``."""


@dataclass(frozen=True, slots=True)
class Instrumentation:
    """One instrumentation, as the table lists it."""

    needs: tuple[Need, ...]
    """Packages that must be there, the library itself first."""

    extra: str = ""
    """The extra of otelbridge that brings them; empty where nothing is needed."""


def _official(module: str) -> Need:
    return Need(f"opentelemetry.instrumentation.{module}", f"opentelemetry-instrumentation-{module.replace('_', '-')}")


_KNOWN: dict[str, Instrumentation] = {
    "fastapi": Instrumentation((Need("fastapi", "fastapi"), _official("fastapi")), "fastapi"),
    "starlette": Instrumentation((Need("starlette", "starlette"), _official("asgi")), "starlette"),
    "sqlalchemy": Instrumentation((Need("sqlalchemy", "sqlalchemy"),), "sqlalchemy"),
    "system": Instrumentation((Need("psutil", "psutil"),), "system"),
    "process": Instrumentation(()),
    "runtime": Instrumentation(()),
    "httpx": Instrumentation((Need("httpx", "httpx"),), "httpx"),
    "httpx2": Instrumentation((Need("httpx2", "httpx2"),), "httpx2"),
    "requests": Instrumentation((Need("requests", "requests"), Need("urllib3", "urllib3")), "requests"),
    "urllib3": Instrumentation((Need("urllib3", "urllib3"),), "urllib3"),
    "aiohttp-client": Instrumentation((Need("aiohttp", "aiohttp"),), "aiohttp-client"),
}


def known() -> tuple[str, ...]:
    """Give the names ``instrument=`` accepts beside ``auto``."""
    return tuple(_KNOWN)


def installed(name: str) -> bool:
    """Tell whether everything an instrumentation needs is installed. Nothing is imported.

    Args:
        name: One of `known`.

    Returns:
        True where it can be switched on.

    Raises:
        ConfigError: The name is not known.
    """
    return _missing(name) is None


def require(name: str) -> None:
    """Refuse an instrumentation whose packages are not installed.

    Args:
        name: One of `known`.

    Raises:
        MissingDependencyError: A package is missing; the error names the extra that brings it.
        ConfigError: The name is not known.
    """
    missing = _missing(name)
    if missing is not None:
        raise MissingDependencyError(f"The instrumentation {name!r}", missing.distribution, _KNOWN[name].extra)


def select(instrument: tuple[str, ...]) -> tuple[str, ...]:
    """Turn what the user asked for into the instrumentations to switch on.

    Args:
        instrument: Names of `known`, or ``auto`` for every one that is installed, or both: a name beside
            ``auto`` must be installed.

    Returns:
        The names, each once, in the order of `known`.

    Raises:
        ConfigError: A name is not known.
        MissingDependencyError: A name was asked for whose packages are not installed.
    """
    if isinstance(instrument, str):
        raise ConfigError(f"instrument={instrument!r} is a string", f"Write a sequence of names: ({instrument!r},)")
    chosen: set[str] = set()
    for name in instrument:
        if name == AUTO:
            chosen.update(candidate for candidate in _KNOWN if installed(candidate))
        else:
            require(name)
            chosen.add(name)
    return tuple(name for name in _KNOWN if name in chosen)


def found(module: str) -> bool:
    """Tell whether a module can be imported, without importing it.

    Args:
        module: Full name of the module. Its parent packages are imported, which for the official
            instrumentations are namespaces without code.

    Returns:
        True where it is there.
    """
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # a parent package is missing, or the module was blocked in sys.modules
        return False
    # A mere folder of that name on the path is found too, as a namespace package, which has no origin.
    return spec is not None and spec.origin is not None


def _missing(name: str) -> Need | None:
    instrumentation = _KNOWN.get(name)
    if instrumentation is None:
        raise unknown_name("instrumentation", name, (*_KNOWN, AUTO))
    return next((need for need in instrumentation.needs if not found(need.module)), None)
