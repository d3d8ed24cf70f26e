"""The results file: what was measured, on what, with which versions."""

from __future__ import annotations

import json
import os
import platform
import sysconfig
from dataclasses import asdict
from datetime import datetime, timezone
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.model import Effort

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    earlier = _earlier(path)
    kept: dict[str, Any] = earlier["figures"] if earlier.get("environment") == environment else {}
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "measured": datetime.now(timezone.utc).date().isoformat(),
        "environment": environment,
        "effort": asdict(effort),
        "figures": {**kept, **{name: {**figure, "code": _code()} for name, figure in figures.items()}},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(results, indent=1) + "\n")
    return results


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever is stopped in the middle leaves the old one."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def up_to_date(path: Path, effort: Effort) -> dict[str, Any]:
    """Give the figures of a file, by name, that the present code gave in the present environment.

    Args:
        path: The file.
        effort: With which they must have been measured.

    Returns:
        None of a file that does not exist. Figures in which something broke down are left out.
    """
    earlier = _earlier(path)
    if earlier.get("environment") != _environment(effort):
        return {}
    return {
        name: figure
        for name, figure in earlier["figures"].items()
        if figure.get("code") == _code() and not figure["failed"]
    }


def effort_of(results: Mapping[str, Any]) -> Effort | None:
    """Give the effort with which results were measured; None for results that do not say it."""
    said = results.get("effort")
    return None if said is None else Effort(**said)


def seconds_of(path: Path) -> dict[str, float]:
    """Give how long figures of a file took, by name, as far as it says so."""
    figures = _earlier(path).get("figures", {})
    return {name: figure["seconds"] for name, figure in figures.items() if "seconds" in figure}


def _earlier(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return read_results(path)
    except ValueError:
        return {}


@cache
def _code() -> str:
    """Tell the code that is measured, and that measures, from any other."""
    found = find_spec("otelbridge")
    assert found is not None
    digest = sha256()
    for folder in (*(found.submodule_search_locations or ()), str(Path(__file__).parent)):
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


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
