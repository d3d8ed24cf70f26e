"""What a destination of deltas has acknowledged, kept in the group's directory for whichever process pushes next.

Before deltas are sent, the requests are written down together with the totals that will have been sent when they
arrive (``deltas-<destination>.unclear``); when they have, the file is renamed (``deltas-<destination>``), which is the
moment of truth. Whoever finds an unclear file sends its requests again, byte by byte, before anything newer. So a
process that is killed between the acknowledgement and the rename has them sent twice, with the same bytes and times;
nothing else is sent twice, and nothing is left out.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otelbridge.cells.lead import Lead
from otelbridge.cells.names import LEDGER
from otelbridge.cells.private import opened, replace
from otelbridge.diagnostics import warn_once
from otelbridge.otlp.deltas import Vector
from otelbridge.otlp.requests import Request

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from otelbridge.cells.private import Directory, Entry

_MAGIC: Final = b"otelbridge deltas 2\n"
_HEAD: Final = struct.Struct("<II")
_PAUSE: Final = 0.005
# Written at every push, and read at few: speed counts for more than size.
_LEVEL: Final = 1

_Signature = tuple[int, int, int]


class _Page(NamedTuple):
    """What one file says."""

    vector: Vector
    requests: tuple[Request, ...]


class Ledger:
    """What one destination has acknowledged. All but `turn` only while it is this process' turn.

    Args:
        directory: The group's directory, in which this process is.
        destination: What tells the destination from the others; see `otelbridge.otlp.reader.destination_keys`.
        started: When the group began, in nanoseconds since the epoch.
    """

    def __init__(self, directory: Directory | Path, destination: str, started: int) -> None:
        directory = opened(directory)
        name = f"{LEDGER}{destination}"
        self._acknowledged = directory / name
        self._unclear = directory / f"{name}.unclear"
        self._started = started
        self._lead = Lead(directory, name)
        self._known: tuple[_Signature, _Page] | None = None

    @contextmanager
    def turn(self, deadline: float) -> Generator[bool]:
        """Keep the other processes from pushing to the destination meanwhile.

        Args:
            deadline: Until when to wait for them, by `time.monotonic`.

        Yields:
            Whether it is this process' turn.
        """
        held = self._lead.held
        while not held and time.monotonic() < deadline:
            time.sleep(_PAUSE)
            held = self._lead.held
        try:
            yield held
        finally:
            if held:
                self._lead.release()

    def unclear(self) -> Sequence[Request] | None:
        """Give the requests of which nobody knows whether they arrived; None where there are none.

        A file that says nothing sensible is reported and removed.

        Raises:
            OSError: The file cannot be read or removed.
        """
        try:
            return self._read(self._unclear).requests
        except FileNotFoundError:
            return None
        except ValueError as error:
            warn_once(
                ("otlp", "ledger", str(self._unclear)),
                "Deltas of which nobody knows whether they arrived are sent once more, under other times: %s is "
                "damaged (%s).",
                self._unclear,
                error,
            )
            self._unclear.unlink(missing_ok=True)
            return None

    def acknowledged(self) -> Vector | None:
        """Give the totals the destination has.

        Returns:
            The totals: none at all, as of the beginning of the group, where nothing was ever acknowledged. None where
            it cannot be told any more, which is reported.

        Raises:
            OSError: The file cannot be read.
        """
        try:
            return self._read(self._acknowledged).vector
        except FileNotFoundError:
            return Vector(self._started)
        except ValueError as error:
            warn_once(
                ("otlp", "ledger", str(self._acknowledged)),
                "What was counted since the last push is lost: nobody knows any more what was acknowledged, as %s is "
                "damaged (%s). Deltas begin anew.",
                self._acknowledged,
                error,
            )
            return None

    def begin(self, vector: Vector, requests: Sequence[Request]) -> None:
        """Write down what is about to be sent.

        Args:
            vector: The totals that will have been sent.
            requests: The requests; after a part of them has arrived, the others.

        Raises:
            OSError: There is no room, or no directory any more.
        """
        page = _Page(vector, tuple(requests))
        replace(self._unclear, _written(page))
        self._known = (_signature(self._unclear.lstat()), page)

    def reduce(self, requests: Sequence[Request]) -> None:
        """Note that only these requests are still unclear.

        Args:
            requests: Some of those there were.

        Raises:
            OSError: There is no room, or no directory any more.
        """
        self.begin(self._read(self._unclear).vector, requests)

    def commit(self) -> None:
        """Note that what was unclear has become clear.

        Raises:
            OSError: There is no directory any more.
        """
        self._unclear.rename(self._acknowledged)

    def restart(self, vector: Vector) -> None:
        """Begin with totals that count as acknowledged.

        Args:
            vector: The totals.

        Raises:
            OSError: There is no room, or no directory any more.
        """
        self.begin(vector, ())
        self.commit()

    def _read(self, file: Entry) -> _Page:
        """Read a file; raise ValueError where it is damaged."""
        content = file.open()
        signature = _signature(content.status)
        # Renaming leaves it as it is, so that it need not be read again for that.
        if self._known is not None and self._known[0] == signature:
            return self._known[1]
        page = _parsed(content.read())
        self._known = (signature, page)
        return page


def _signature(status: os.stat_result) -> _Signature:
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _written(page: _Page) -> bytes:
    said = json.dumps([page.vector.time, page.vector.streams, page.vector.bounds], separators=(",", ":")).encode()
    parts = [_HEAD.pack(len(said), len(page.requests)), said]
    for request in page.requests:
        parts += (_HEAD.pack(len(request.body), request.points), request.body)
    # Its checksum is zlib's.
    return _MAGIC + zlib.compress(b"".join(parts), _LEVEL)


def _parsed(content: bytes) -> _Page:
    if not content.startswith(_MAGIC):
        raise ValueError("it is no such file, or one of another version")
    try:
        data = zlib.decompress(content[len(_MAGIC) :])
        size, count = _HEAD.unpack_from(data)
        at = _HEAD.size + size
        said: Any = json.loads(data[_HEAD.size : at])
        moment, streams, bounds = said
        requests: list[Request] = []
        for _ in range(count):
            length, points = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            requests.append(Request(data[at : at + length], points))
            at += length
        if at != len(data):
            raise ValueError(f"it has {len(data)} bytes instead of {at}")
        vector = Vector(int(moment), {key: dict(series) for key, series in streams.items()}, dict(bounds))
        return _Page(vector, tuple(requests))
    except (zlib.error, struct.error, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
