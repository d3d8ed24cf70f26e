"""What a destination has acknowledged as the last totals of a group, so that they are not delivered again.

A receipt is a digest of what was counted. It is valid as long as the same is counted: there is no need to take it back
when somebody counts on, and one that was not written, because the process was killed before, costs another delivery of
the same totals.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from otelbridge.cells.names import RECEIPT
from otelbridge.cells.private import opened, replace
from otelbridge.diagnostics import warn_once
from otelbridge.metrics.foreign import is_foreign
from otelbridge.metrics.identity import encode_attributes, key_of
from otelbridge.metrics.readers import SharedMatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from otelbridge.cells.private import Directory
    from otelbridge.metrics.readers import Storage

_DIGEST_BYTES: Final = 16


class Receipts:
    """The receipt of one destination.

    Args:
        directory: The group's directory.
        destination: What tells the destination from the others; see `otelbridge.otlp.reader.destination_keys`.
    """

    def __init__(self, directory: Directory | Path, destination: str) -> None:
        self._file = opened(directory) / f"{RECEIPT}{destination}"

    def has(self, digest: str) -> bool:
        """Tell whether totals were acknowledged.

        Args:
            digest: What `digest_of` gave for them.
        """
        try:
            return self._file.open().read() == digest.encode()
        except OSError:
            return False

    def write(self, digest: str) -> None:
        """Note that totals were acknowledged; where that fails they are delivered again.

        Args:
            digest: What `digest_of` gave for them.
        """
        try:
            replace(self._file, digest.encode())
        except OSError as error:
            warn_once(
                ("otlp", "receipt", str(error.errno)),
                "The next start will push the last totals of this service once more, since it cannot be noted that "
                "they have arrived: %s",
                error,
            )


def forget_receipts(directory: Directory | Path) -> None:
    """Remove all receipts: a further process counts from now on.

    Args:
        directory: The group's directory.
    """
    directory = opened(directory)
    with suppress(OSError):
        for name in directory.names():
            if name.startswith(RECEIPT):
                with suppress(OSError):
                    (directory / name).unlink()


def digest_of(storage: Storage) -> str:
    """Give the digest of what the processes of a group have counted and will have counted when all of them are gone.

    What callbacks and other clients observe is left out, as looking at it changes it: the time a process has used, for
    instance.

    Args:
        storage: What a provider gives a reader of totals.

    Returns:
        The digest, the same in whichever process and order the series are read.
    """
    return hashlib.blake2b(b"\n\n".join(sorted(_texts(storage))), digest_size=_DIGEST_BYTES).hexdigest()


def _texts(storage: Storage) -> Iterable[bytes]:
    """Give what was counted by each stream."""
    for _, matches in storage.all_matches():
        for match in matches:
            sharing = match.stream.sharing if isinstance(match, SharedMatch) else None
            if sharing is None or not sharing.shape.outlives or is_foreign(sharing.identity):
                continue
            value = _VALUES[match.stream.kind.name]
            lines = [
                (series.code or encode_attributes(series.attributes)) + value(series)
                for series in match.series()
                if not series.silent  # nobody else knows of those yet
            ]
            if lines:
                yield b"\n".join((key_of(sharing.identity), *sorted(lines)))


# Of histograms not the buckets: those of another version of the program may be others.
_VALUES: dict[str, Callable[[Any], bytes]] = {
    "sum": lambda series: repr(series.value).encode(),
    "last": lambda series: repr(series.last and series.last[0]).encode(),
    "histogram": lambda series: repr([sum(series.counts), series.sum]).encode(),
    "exponential": lambda series: repr(series.count).encode(),
}
