"""Tools from source: what the Go toolchain makes of our recipes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from otelbridge.stack.cache import build_entry, data_file, locked, prepared
from otelbridge.stack.errors import BuildFailedError
from otelbridge.stack.logs import tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from otelbridge.stack.tools import Package, Version

    # Prepares a directory and yields the commands to run in it, one after the other.
    Recipe = Callable[[Package, Path, Path], Iterator[list[str]]]

GO_MINIMUM: Version = (1, 26)

_SECONDS_BETWEEN_LINES = 5.0
_GO_VERSION = re.compile(r"go(\d+)\.(\d+)")
_MODULE = re.compile(r"^\s*- gomod: (\S+ v\S+)$", re.MULTILINE)


def find_go(environ: Mapping[str, str]) -> str | None:
    """Find a Go toolchain that is new enough.

    Args:
        environ: The environment whose ``PATH`` is searched.

    Returns:
        Path of ``go``; None if there is none or it is older than `GO_MINIMUM`.
    """
    go = shutil.which("go", path=environ.get("PATH", os.defpath))
    if go is None:
        return None
    try:
        said = subprocess.run(
            [go, "env", "GOVERSION"], capture_output=True, text=True, timeout=20, check=False, env=_environment(environ)
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _GO_VERSION.search(said.stdout)
    return go if found and (int(found[1]), int(found[2])) >= GO_MINIMUM else None


def build(package: Package, cache: Path, go: str, say: Callable[[str], None], environ: Mapping[str, str]) -> Path:
    """Build a package into the cache.

    Args:
        package: What to build.
        cache: The cache directory.
        go: Path of the Go toolchain.
        say: Is told what happens, every few seconds.
        environ: Environment of the build; the toolchain is pinned to the one at hand and cgo is off.

    Returns:
        The cache entry, a directory with one executable a tool.

    Raises:
        BuildFailedError: A step failed; its log is kept in the cache.
    """
    entry = build_entry(cache, package)
    log = cache / "logs" / f"build-{package.name}.log"
    with locked(entry):
        if entry.is_dir():
            return entry
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        say(f"building {package.name} {package.version} from source, a few minutes the first time; log: {log}")
        with prepared(entry) as work:
            source = work / "source"
            source.mkdir()
            for command in _RECIPES[package.name](package, source, work):
                _run([go, *command], source, log, say, _environment(environ))
            # Module sources are read-only in Go's own cache, not here; only the executables are worth keeping.
            shutil.rmtree(source)
    return entry


def _collector(package: Package, source: Path, out: Path) -> Iterator[list[str]]:
    manifest = data_file(package.recipe)
    (source / "builder.yaml").write_bytes(manifest)
    main = source / "source"
    yield [
        "run",
        f"go.opentelemetry.io/collector/cmd/builder@v{package.version}",
        "--config=builder.yaml",
        "--skip-get-modules",
        "--skip-compilation",
    ]
    # The builder would tidy the module next, which demands every module that the tests of our components
    # import; compiling does not need them.
    modules = [*_MODULE.findall(manifest.decode()), f"go.opentelemetry.io/collector/otelcol v{package.version}"]
    requirements = "".join(f"require {module}\n" for module in modules)
    (main / "go.mod").write_text(f"module otelbridge.dev/otelcol\n\ngo 1.26.0\n\n{requirements}")
    yield [
        "build",
        "-C",
        "source",
        "-mod=mod",
        "-trimpath",
        "-ldflags=-s -w",
        "-tags=grpcnotrace,remove_all_sd",
        f"-o={out / 'otelcol'}",
        ".",
    ]


def _prometheus(package: Package, source: Path, out: Path) -> Iterator[list[str]]:
    (source / "go.mod").write_bytes(data_file(package.recipe))
    for tool in ("prometheus", "promtool"):
        yield [
            "build",
            "-mod=mod",
            "-trimpath",
            # Prometheus learns its version from the linker; without it `--version` says nothing.
            f"-ldflags=-s -w -X github.com/prometheus/common/version.Version={package.version}",
            "-tags=remove_all_sd",
            f"-o={out / tool}",
            f"github.com/prometheus/prometheus/cmd/{tool}",
        ]


_RECIPES: dict[str, Recipe] = {"otelcol": _collector, "prometheus": _prometheus}


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {**environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOWORK": "off"}


def _run(command: list[str], cwd: Path, log: Path, say: Callable[[str], None], environ: dict[str, str]) -> None:
    started = time.monotonic()
    step = f"go {command[1]}"
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            while True:
                try:
                    code = process.wait(_SECONDS_BETWEEN_LINES)
                    break
                except subprocess.TimeoutExpired:
                    say(f"  {step}: {time.monotonic() - started:.0f} s")
        except BaseException:
            process.kill()
            raise
    if code != 0:
        raise BuildFailedError(f"{step} failed with exit code {code}:\n{tail(log)}", f"The whole log is {log}")
