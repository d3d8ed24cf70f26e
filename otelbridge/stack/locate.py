"""Finding a tool: a path the user gave, PATH, our cache, a release archive, a build. First come, first taken."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.errors import ConfigError
from otelbridge.stack.build import GO_MINIMUM, build, find_go
from otelbridge.stack.cache import build_entry, cache_directory, release_entry
from otelbridge.stack.download import DownloadUnavailableError, download
from otelbridge.stack.errors import ToolMissingError
from otelbridge.stack.tools import Tool, missing_components, parse_version, read_version, tool_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otelbridge.stack.tools import ToolSpec


def silent(_: str) -> None:
    """Say nothing: the default for what is told of progress."""
    return


@dataclass(frozen=True)
class _Search:
    """One search and what it has learned so far."""

    spec: ToolSpec
    minimum: str
    environ: Mapping[str, str]
    may_download: bool
    may_build: bool
    base_url: str | None
    say: Callable[[str], None]
    tried: list[str] = field(default_factory=list[str])

    @property
    def cache(self) -> Path:
        return cache_directory(self.environ)

    def accept(self, path: Path, origin: str) -> Tool | None:
        """Take an executable if it is what was asked for, else remember why not."""
        version = read_version(path)
        if version is None:
            return self.reject(f"{path} does not tell its version")
        if parse_version(version) < parse_version(self.minimum):
            return self.reject(f"{path} is version {version}, older than {self.minimum}")
        if lacking := missing_components(path, self.spec.components):
            return self.reject(f"{path} has no {', '.join(sorted(lacking))}")
        return Tool(name=self.spec.name, path=path, version=version, origin=origin)

    def reject(self, reason: str) -> None:
        self.tried.append(reason)

    def pin_is_too_old(self) -> bool:
        """Whether what we could fetch or build would not do anyway."""
        return parse_version(self.spec.package.version) < parse_version(self.minimum)


def locate(
    name: str,
    *,
    minimum: str | None = None,
    may_download: bool = True,
    may_build: bool = True,
    environ: Mapping[str, str] | None = None,
    base_url: str | None = None,
    say: Callable[[str], None] = silent,
) -> Tool:
    """Find a tool, fetching or building it where that is allowed.

    Args:
        name: ``otelcol``, ``prometheus`` or ``promtool``.
        minimum: Oldest version that will do, for instance ``3.0``. Default: what the stack needs.
        may_download: Whether an official release archive may be fetched. ``OTELBRIDGE_NO_DOWNLOAD=1`` forbids it too.
        may_build: Whether Go, where it is installed, may build the tool.
        environ: The environment to look in. Default: this process's.
        base_url: Where release archives are fetched from instead of the project's own host.
        say: Is told which way was taken, and of progress.

    Returns:
        The tool, with its version and origin.

    Raises:
        ToolMissingError: No way led to one; the message says why for each, and lists the ways out.
        ConfigError: No tool of that name, or the variable that names a path names a wrong one.
        DownloadRefusedError: A release archive did not match its checksum.
        BuildFailedError: Go is there, but the build failed.
    """
    spec = tool_spec(name)
    environ = os.environ if environ is None else environ
    search = _Search(
        spec=spec,
        minimum=minimum or spec.minimum,
        environ=environ,
        may_download=may_download and environ.get("OTELBRIDGE_NO_DOWNLOAD", "").lower() not in {"1", "true"},
        may_build=may_build,
        base_url=base_url,
        say=say,
    )
    for way in _WAYS:
        tool = way(search)
        if tool is not None:
            say(f"{tool.name} {tool.version}: {tool.path} ({tool.origin})")
            return tool
    reasons = "".join(f"\n  - {reason}" for reason in search.tried)
    raise ToolMissingError(
        f"{name} {search.minimum} or later was not found{reasons}",
        f"Three ways out: {spec.ways_out}; name a path in {spec.variable}; "
        f"or install Go {'.'.join(map(str, GO_MINIMUM))} or later, and `otelbridge stack build` will build it",
    )


def _from_variable(search: _Search) -> Tool | None:
    said = search.environ.get(search.spec.variable)
    if not said:
        return search.reject(f"{search.spec.variable} is not set")
    path = Path(said).expanduser()
    found = search.accept(path.resolve(), f"from {search.spec.variable}") if os.access(path, os.X_OK) else None
    if found is None:
        # Going on silently would run another program than the one that was named.
        reason = search.tried[-1] if search.tried else "it is no executable file"
        raise ConfigError(
            f"{search.spec.variable}={said!r} cannot be used as {search.spec.name}: {reason}",
            "Correct the path, or unset the variable to let otelbridge search",
        )
    return found


def _on_path(search: _Search) -> Tool | None:
    for command in search.spec.commands:
        found = shutil.which(command, path=search.environ.get("PATH", os.defpath))
        tool = search.accept(Path(found), f"{command} on PATH") if found else None
        if tool is not None:
            return tool
        if not found:
            search.reject(f"{command} is not on PATH")
    return None


def _from_cache(search: _Search) -> Tool | None:
    for entry in (release_entry(search.cache, search.spec.package), build_entry(search.cache, search.spec.package)):
        path = entry / search.spec.name
        tool = search.accept(path, "from the cache") if path.is_file() else None
        if tool is not None:
            return tool
    return search.reject(f"nothing that fits in the cache {search.cache}")


def _by_download(search: _Search) -> Tool | None:
    if not search.may_download:
        return search.reject("downloading is not allowed")
    if search.pin_is_too_old():
        return search.reject(f"the pinned release {search.spec.package.version} is older than {search.minimum}")
    try:
        entry = download(search.spec.package, search.cache, search.say, base_url=search.base_url)
    except DownloadUnavailableError as error:
        search.say(f"no download of {search.spec.package.name}: {error}")
        return search.reject(f"no download: {error}")
    return search.accept(entry / search.spec.name, "official release, downloaded now")


def _by_build(search: _Search) -> Tool | None:
    if not search.may_build:
        return search.reject("building is not allowed")
    if search.pin_is_too_old():
        return search.reject(f"the pinned source {search.spec.package.version} is older than {search.minimum}")
    go = find_go(search.environ)
    if go is None:
        return search.reject(f"no Go {'.'.join(map(str, GO_MINIMUM))} or later on PATH to build it with")
    entry = build(search.spec.package, search.cache, go, search.say, search.environ)
    return search.accept(entry / search.spec.name, "built from source now")


_WAYS: tuple[Callable[[_Search], Tool | None], ...] = (_from_variable, _on_path, _from_cache, _by_download, _by_build)
