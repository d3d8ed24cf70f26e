"""The results file: what was measured, on what, with which versions."""

from __future__ import annotations

import json
import os
import platform
import sysconfig
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from benchmarks.model import Effort

LATEST = Path(__file__).parent / "results" / "latest.json"
SCHEMA = 1

_PACKAGES = (
    "otelbridge",
    "opentelemetry-sdk",
    "opentelemetry-exporter-prometheus",
    "opentelemetry-instrumentation-fastapi",
    "prometheus-client",
    "prometheus-fastapi-instrumentator",
    "fastapi",
    "sqlalchemy",
    "protobuf",
)


def read_results(path: Path) -> dict[str, Any]:
    """Read a results file.

    Raises:
        ValueError: There is none, or it is none of this version.
    """
    try:
        results: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}). Measure first: python -m benchmarks run") from error
    if not isinstance(results, dict) or cast("dict[str, Any]", results).get("schema") != SCHEMA:
        raise ValueError(f"{path} is of another version. Measure again: python -m benchmarks run")
    return cast("dict[str, Any]", results)


def write_results(path: Path, figures: dict[str, Any], effort: Effort) -> dict[str, Any]:
    """Write what was measured.

    Figures that are in the file already stay, if they come from the same machine, versions and effort.

    Args:
        path: The file.
        figures: By name.
        effort: With which they were measured.

    Returns:
        All that the file holds now.
    """
    environment = _environment(effort)
    results = {
        "schema": SCHEMA,
        "measured": datetime.now(timezone.utc).date().isoformat(),
        "environment": environment,
        "figures": {**_kept(path, environment), **figures},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def _kept(path: Path, environment: dict[str, Any]) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        earlier = read_results(path)
    except ValueError:
        return {}
    return earlier["figures"] if earlier.get("environment") == environment else {}


def _environment(effort: Effort) -> dict[str, Any]:
    return {
        "effort": effort.name,
        "series": effort.series,
        "workers": effort.workers,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "optimized": "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "processors": os.cpu_count(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
