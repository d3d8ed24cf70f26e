"""The directory in which downloaded and built tools wait for the next time.

An entry is a directory that appears complete or not at all: it is prepared beside its place and renamed
into it. Its name says everything that decides its content, so nothing is ever overwritten.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.stack.tools import current_platform

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from otelbridge.stack.tools import Package


def cache_directory(environ: Mapping[str, str]) -> Path:
    """Tell where tools are kept.

    Args:
        environ: The environment: ``OTELBRIDGE_CACHE``, else ``XDG_CACHE_HOME``, else ``HOME``.

    Returns:
        The directory; it need not exist yet.
    """
    if chosen := environ.get("OTELBRIDGE_CACHE"):
        return Path(chosen).expanduser().resolve()
    if base := environ.get("XDG_CACHE_HOME"):
        return Path(base) / "otelbridge"
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".cache" / "otelbridge"


def data_file(name: str) -> bytes:
    """Read a data file of the stack.

    Args:
        name: File name in ``otelbridge/stack/data``.

    Returns:
        Its content.
    """
    return (files("otelbridge.stack") / "data" / name).read_bytes()


def release_entry(cache: Path, package: Package) -> Path:
    """Name the cache entry of a downloaded release."""
    return cache / "tools" / f"{_stem(package)}-release"


def build_entry(cache: Path, package: Package) -> Path:
    """Name the cache entry of a build, which another recipe would not share."""
    recipe = hashlib.sha256(data_file(package.recipe)).hexdigest()[:12]
    return cache / "tools" / f"{_stem(package)}-{recipe}"


@contextmanager
def locked(entry: Path) -> Generator[None, None, None]:
    """Let one process at a time prepare an entry; the others wait.

    Args:
        entry: The cache entry that is to be prepared.
    """
    # POSIX only, as the whole stack is; imported here so that the command line loads everywhere.
    import fcntl

    entry.parent.mkdir(parents=True, exist_ok=True)
    with entry.with_name(f".{entry.name}.lock").open("w") as file:
        # The kernel drops the lock when its holder dies, so a killed build blocks nobody.
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def prepared(entry: Path) -> Generator[Path, None, None]:
    """Prepare an entry so that it appears complete or not at all.

    Args:
        entry: Where the entry shall appear. Call this with the entry `locked`.

    Yields:
        An empty directory; what it holds when the block ends without an error becomes the entry.
    """
    work = Path(tempfile.mkdtemp(prefix=f".{entry.name}-", dir=entry.parent))
    try:
        yield work
        work.chmod(0o755)
        work.replace(entry)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _stem(package: Package) -> str:
    return "-".join((package.name, package.version, *current_platform()))
