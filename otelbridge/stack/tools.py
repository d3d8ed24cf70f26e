"""The tools of the stack as data: what they are called, what is demanded of them, where they come from."""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from otelbridge.errors import unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Version = tuple[int, ...]

_VERSION = re.compile(r"version\s+v?(\d+)\.(\d+)(?:\.(\d+))?")
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_SECONDS_TO_ANSWER = 20


@dataclass(frozen=True, kw_only=True)
class Release:
    """Where a project publishes a pinned version. ``{system}`` and ``{machine}`` stand for the platform."""

    base_url: str
    """URL of the directory that holds the archive and its checksum file."""

    archive: str
    """File name of the archive."""

    checksums: str
    """File name of the published SHA-256 sums, in the format of ``sha256sum``."""

    members: Mapping[str, str]
    """Tool name to its path inside the archive."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """Tools that are downloaded and built together."""

    name: str
    """What the package is called in the cache."""

    version: str
    """The pinned version."""

    recipe: str
    """The file in ``otelbridge/stack/data`` that a build is made from."""

    release: Release
    """The official archive."""


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """One program and what is demanded of it."""

    name: str
    """What `locate` calls it."""

    variable: str
    """Environment variable that names a path to it."""

    commands: tuple[str, ...]
    """What it is called on ``PATH``, the most fitting first."""

    minimum: str
    """Oldest version the stack works with."""

    package: Package
    """What brings it when it is not installed."""

    components: frozenset[str] = frozenset()
    """For a Collector: the components that the configuration names and a distribution must have."""

    ways_out: str = ""
    """How a person gets it, for the error message."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program that was found."""

    name: str
    """What `locate` calls it."""

    path: Path
    """The executable."""

    version: str
    """What it says of itself, as digits and dots."""

    origin: str
    """Which way it was found, in words."""


_COLLECTOR = Package(
    name="otelcol",
    version="0.155.0",
    recipe="otelcol-builder.yaml",
    release=Release(
        base_url="https://github.com/open-telemetry/opentelemetry-collector-releases/releases/download/v0.155.0",
        archive="otelcol-contrib_0.155.0_{system}_{machine}.tar.gz",
        checksums="opentelemetry-collector-releases_otelcol-contrib_checksums.txt",
        members={"otelcol": "otelcol-contrib"},
    ),
)
_PROMETHEUS = Package(
    name="prometheus",
    version="3.15.0",
    recipe="prometheus.mod",
    release=Release(
        base_url="https://github.com/prometheus/prometheus/releases/download/v3.15.0",
        archive="prometheus-3.15.0.{system}-{machine}.tar.gz",
        checksums="sha256sums.txt",
        members={
            "prometheus": "prometheus-3.15.0.{system}-{machine}/prometheus",
            "promtool": "prometheus-3.15.0.{system}-{machine}/promtool",
        },
    ),
)

TOOLS: Mapping[str, ToolSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            ToolSpec(
                name="otelcol",
                variable="OTELBRIDGE_OTELCOL",
                commands=("otelcol-otelbridge", "otelcol-contrib", "otelcol"),
                minimum="0.155",
                package=_COLLECTOR,
                # The distribution `otelcol` has no file_storage, so a version alone does not tell.
                components=frozenset(
                    {"otlp", "memory_limiter", "prometheus", "otlp_http", "debug", "health_check", "file_storage"}
                ),
                ways_out="put a release of otelcol-contrib, 0.155 or later, on PATH",
            ),
            ToolSpec(
                name="prometheus",
                variable="OTELBRIDGE_PROMETHEUS_SERVER",
                commands=("prometheus",),
                minimum="2.40",
                package=_PROMETHEUS,
                ways_out="put a release of Prometheus on PATH (or: apt install prometheus)",
            ),
            ToolSpec(
                name="promtool",
                variable="OTELBRIDGE_PROMTOOL",
                commands=("promtool",),
                minimum="2.40",
                package=_PROMETHEUS,
                ways_out="put a release of Prometheus, which has promtool, on PATH (or: apt install prometheus)",
            ),
        )
    }
)


def tool_spec(name: str) -> ToolSpec:
    """Look a tool up.

    Args:
        name: One of the names in `TOOLS`.

    Returns:
        Its declaration.

    Raises:
        ConfigError: No tool of that name.
    """
    if name not in TOOLS:
        raise unknown_name("tool", name, TOOLS)
    return TOOLS[name]


def parse_version(text: str) -> Version:
    """Turn ``3.15.0`` into something that compares.

    Args:
        text: Digits and dots.

    Returns:
        The numbers, in order.
    """
    return tuple(int(part) for part in text.split("."))


def read_version(path: Path) -> str | None:
    """Ask a program for its version.

    Args:
        path: The executable.

    Returns:
        The version as digits and dots; None if it does not run or does not say.
    """
    said = _answer(path, "--version")
    # The official Debian build prints a suffix (2.42.0+ds); only the numbers compare.
    found = _VERSION.search(said or "")
    return ".".join(group for group in found.groups() if group is not None) if found else None


def missing_components(path: Path, wanted: frozenset[str]) -> frozenset[str]:
    """Tell which components a Collector lacks.

    Args:
        path: The executable of the Collector.
        wanted: Component types, as a configuration names them.

    Returns:
        Those that ``components`` does not list.
    """
    if not wanted:
        return wanted
    listed = re.findall(r"name: (\S+)", _answer(path, "components") or "")
    return wanted.difference(listed)


def current_platform() -> tuple[str, str]:
    """Name this platform as release archives do.

    Returns:
        System and machine, for instance ``("linux", "amd64")``.
    """
    machine = platform.machine().lower()
    return platform.system().lower(), _MACHINES.get(machine, machine)


def _answer(path: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            [str(path), *arguments], capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    # Prometheus before 2.46 answers on standard error.
    return done.stdout + done.stderr if done.returncode == 0 else None
