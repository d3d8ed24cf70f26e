"""The values file of a book: room for slots, reserved before it is used and never moved.

Placing a series may be interrupted by a signal handler or a finalizer that places another one in the same thread, so
no lock helps. Therefore a stretch of the file is claimed by an atomic ``dict.setdefault``, and each placing under way
has a lane of segments to itself.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from otelbridge.cells.shape import KINDS, SLOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otelbridge.cells.private import Descriptor

GRAIN: Final = max(16 * 1024, mmap.ALLOCATIONGRANULARITY)
"""Bytes the file grows by at least."""

_MAX_GRAINS = 64
"""The largest segment, in grains, when the series themselves do not need a larger one. Each segment keeps a file
descriptor, so they double in size."""


@dataclass(eq=False)
class Segment:
    """A mapped stretch of the file that holds slots of one kind."""

    slots: memoryview[Any]
    """The slots, in the format of their kind."""

    first: int
    """Where it begins, in slots from the start of the file."""

    used: int = 0
    """How many slots are taken."""

    def has_room(self, width: int) -> bool:
        """Whether that many more slots fit."""
        return self.used + width <= len(self.slots)


@dataclass(eq=False)
class Lane:
    """The segments that one placing at a time takes slots from."""

    segments: list[Segment | None] = field(default_factory=lambda: [None] * len(KINDS))
    grains: list[int] = field(default_factory=lambda: [1] * len(KINDS))


class ValuesFile:
    """A file of slots, grown by segments."""

    def __init__(self, file: Descriptor) -> None:
        self._file = file
        self._claims: dict[int, object] = {}
        self._next = 0

    def ensure(self, lane: Lane, widths: Sequence[int]) -> None:
        """Make sure that a lane has room for the slots of one series, so many of each kind.

        Raises:
            OSError: If the system has no room, memory or descriptor left. The lane is as useful as before.
        """
        for kind, width in enumerate(widths):
            segment = lane.segments[kind]
            if width and (segment is None or not segment.has_room(width)):
                lane.segments[kind] = self._grow(kind, max(lane.grains[kind], -(-width * SLOT // GRAIN)))
                lane.grains[kind] = min(2 * lane.grains[kind], _MAX_GRAINS)

    def close(self) -> None:
        """Close the file; segments that are mapped stay so."""
        self._file.close()

    def _grow(self, kind: int, grains: int) -> Segment:
        first = self._claim(grains)
        offset, length = first * GRAIN, grains * GRAIN
        try:
            descriptor = self._file.number
            _reserve(descriptor, offset, length)
            mapping = mmap.mmap(descriptor, length, offset=offset)
        except BaseException:
            for grain in range(first, first + grains):
                self._claims.pop(grain, None)
            self._next = min(first, self._next)
            raise
        _, code, initial = KINDS[kind]
        if initial or code == "d":
            mapping[:] = struct.pack(f"<{code}", initial) * (length // SLOT)
        return Segment(cast_slots(memoryview(mapping), code), offset // SLOT)

    def _claim(self, grains: int) -> int:
        """The first of so many grains in a row that nobody else has."""
        claim = object()
        first = self._next
        while True:
            wanted = range(first, first + grains)
            taken = [grain for grain in wanted if self._claims.setdefault(grain, claim) is not claim]
            if not taken:
                self._next = first + grains
                return first
            first = taken[-1] + 1


def cast_slots(memory: memoryview, code: Literal["q", "d"]) -> memoryview[Any]:
    """See bytes, without a copy, as slots of a format."""
    return memory.cast("q") if code == "q" else memory.cast("d")


def _reserve(descriptor: int, offset: int, length: int) -> None:
    """Have the system set the room aside now: a full disk is an error here, and would be a fatal signal at a store."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, offset, length)
        return
    zeros = bytes(length)
    written = 0
    while written < length:
        written += os.pwrite(descriptor, zeros[written:], offset + written)
