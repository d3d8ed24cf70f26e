"""Official release archives: fetched from the project, checked twice, unpacked with suspicion."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import threading
import urllib.request
from typing import TYPE_CHECKING, TypeVar
from urllib.error import HTTPError

from otelbridge.stack.cache import data_file, locked, prepared, release_entry
from otelbridge.stack.errors import DownloadRefusedError
from otelbridge.stack.tools import current_platform

if TYPE_CHECKING:
    from collections.abc import Callable
    from http.client import HTTPResponse
    from pathlib import Path

    from otelbridge.stack.tools import Package, Release

_T = TypeVar("_T")

# Finding out that there is no way to the release host must not delay what comes next, a build.
_SECONDS_TO_FIND_OUT = 4.0
_SECONDS_OF_SILENCE = 30.0
_CHUNK = 1 << 20
# Real archives are around 100 MiB and tools up to 400; beyond this something else is being sent.
_MOST_BYTES = 1 << 30
_BY_HAND = "Install the tool by hand and put it on PATH"


class DownloadUnavailableError(Exception):
    """The release cannot be had from here; another way may lead to the tool."""


def download(package: Package, cache: Path, say: Callable[[str], None], *, base_url: str | None = None) -> Path:
    """Put the official release of a package into the cache.

    Args:
        package: What to fetch.
        cache: The cache directory.
        say: Is told what happens.
        base_url: Fetches from here instead of the project's own host, for mirrors.

    Returns:
        The cache entry, a directory with one executable a tool.

    Raises:
        DownloadUnavailableError: No network, no such release, or none for this platform.
        DownloadRefusedError: The archive is not the one that the checksums speak of, or it is malformed.
    """
    entry = release_entry(cache, package)
    release = package.release
    archive = _for_platform(release.archive)
    url = (base_url or release.base_url).rstrip("/")
    published = _published_checksum(f"{url}/{_for_platform(release.checksums)}", archive)
    with locked(entry):
        if entry.is_dir():
            return entry
        say(f"downloading {archive}")
        with prepared(entry) as work:
            fetched = work / archive
            actual = _fetch(f"{url}/{archive}", fetched)
            _check(archive, actual, published)
            _unpack(fetched, release, work)
            fetched.unlink()
    return entry


def _published_checksum(url: str, archive: str) -> str:
    listing = _within(_SECONDS_TO_FIND_OUT, lambda: _read_small(url)).decode("utf-8", "replace")
    for line in listing.splitlines():
        checksum, _, name = line.strip().partition(" ")
        if name.strip().lstrip("*") == archive:
            return checksum.lower()
    raise DownloadUnavailableError(f"{url} has no checksum for {archive}")


def _within(seconds: float, work: Callable[[], _T]) -> _T:
    # Name resolution has no timeout of its own, so it happens on a thread that can be left behind.
    results: list[_T] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True, name="otelbridge-download")
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    reason = failures[0] if failures else f"no answer within {seconds:g} s"
    raise DownloadUnavailableError(str(reason))


def _read_small(url: str) -> bytes:
    with _opened(url, _SECONDS_TO_FIND_OUT) as answer:
        return answer.read(_CHUNK)


def _opened(url: str, seconds: float) -> HTTPResponse:
    try:
        return urllib.request.urlopen(url, timeout=seconds)  # noqa: S310 - from our own table, or the mirror's owner
    except HTTPError as error:
        # The error is also the answer, and holds its connection open.
        error.close()
        raise


def _fetch(url: str, target: Path) -> str:
    digest = hashlib.sha256()
    size = 0
    try:
        with _opened(url, _SECONDS_OF_SILENCE) as answer, target.open("wb") as file:
            while chunk := answer.read(_CHUNK):
                size += len(chunk)
                if size > _MOST_BYTES:
                    raise DownloadRefusedError(
                        f"{url} is larger than {_MOST_BYTES} bytes", "Fetch and check the release by hand"
                    )
                digest.update(chunk)
                file.write(chunk)
    except OSError as error:
        raise DownloadUnavailableError(f"{url}: {error}") from error
    return digest.hexdigest()


def _check(archive: str, actual: str, published: str) -> None:
    locks: dict[str, str] = json.loads(data_file("checksums.json"))
    expected = {"published beside it": published, "recorded in otelbridge": locks.get(archive, actual)}
    for source, checksum in expected.items():
        if checksum != actual:
            raise DownloadRefusedError(
                f"{archive} has the SHA-256 {actual}, but the one {source} is {checksum}",
                "Nothing of it was used. Try again later, and if it stays so, tell the project that publishes it",
            )


def _unpack(fetched: Path, release: Release, into: Path) -> None:
    # Members are looked up by name and written under names of our own, so that no path, link or device in
    # the archive reaches the file system.
    try:
        with tarfile.open(fetched) as archive:
            for tool, member in release.members.items():
                _write(archive, _for_platform(member), into / tool)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DownloadRefusedError(f"{fetched.name} cannot be read as an archive: {error}", _BY_HAND) from error


def _write(archive: tarfile.TarFile, member: str, target: Path) -> None:
    try:
        info = archive.getmember(member)
    except KeyError:
        raise DownloadRefusedError(f"The archive has no file {member}", _BY_HAND) from None
    source = archive.extractfile(info) if info.isreg() and info.size <= _MOST_BYTES else None
    if source is None:
        raise DownloadRefusedError(f"{member} in the archive is not an ordinary file", _BY_HAND)
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
    target.chmod(0o755)


def _for_platform(pattern: str) -> str:
    system, machine = current_platform()
    return pattern.format(system=system, machine=machine)
