"""What a series keeps in its cells, and how the cells of several processes become one value."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, NamedTuple


class Rule(str, Enum):
    """How the values of several processes are merged."""

    SUM = "sum"
    """Added; what dead processes had counted stays."""

    LIVE_SUM = "livesum"
    """Added over live processes."""

    LAST = "last"
    """That of the live process which wrote most recently."""

    MAX = "max"
    """The highest of the live processes."""

    MIN = "min"
    """The lowest of the live processes."""


class Kind(NamedTuple):
    """One kind of slot."""

    name: str
    """The attribute of `Shape` that says how many a series has."""

    code: Literal["q", "d"]
    """The slot's format in the language of `struct`: ``q`` (int64) or ``d`` (float64)."""

    initial: float
    """What a slot holds before anything was stored."""


KINDS: Final = (
    Kind("counts", "q", 0),
    Kind("totals", "d", -0.0),
    Kind("lows", "d", float("inf")),
    Kind("marks", "d", 0.0),
    Kind("raw", "q", 0),
)
"""Every kind of slot, in the order in which records name their positions."""

COUNTS, TOTALS, LOWS, MARKS, RAW = range(len(KINDS))

SLOT: Final = 8
"""Bytes a slot takes."""

MARK_SLOTS: Final = 2
"""A mark is a value and the time it was written."""

_MAX_SLOTS: Final = 1 << 24
_ADDING: Final = frozenset({Rule.SUM, Rule.LIVE_SUM})


@dataclass(frozen=True)
class Shape:
    """The slots of a series. Each slot is 8 bytes and is only ever stored to as a whole.

    Raises:
        ValueError: If a number of slots cannot be, or the rule does not fit the slots.
    """

    rule: Rule
    """How several processes become one."""

    counts: int = 0
    """int64 slots, merged by adding; initially 0."""

    totals: int = 0
    """float64 slots, merged by adding; initially minus zero, which tells "nothing stored" from a sum of zero."""

    lows: int = 0
    """float64 slots, merged by taking the lower (an upper extreme is stored negated); initially infinity."""

    marks: int = 0
    """0 or 2: a float64 value and its stamp, ``time.monotonic()`` of the write; 0.0 = never written, a negative stamp =
    the value was an int. Merged by the rule."""

    raw: int = 0
    """int64 slots whose rows are made one by the function that `raw_merge` names. The first is the row's version: a row
    is read again when it changed meanwhile."""

    raw_merge: str = ""
    """A name in `otelbridge.cells.arithmetic.RAW_MERGERS`; needed when there are raw slots."""

    widths: tuple[int, int, int, int, int] = field(init=False, compare=False, repr=False)
    """The number of slots of each kind, in the order of `KINDS`."""

    def __post_init__(self) -> None:
        # Not by `functools.cached_property`: up to Python 3.11 all instances share a lock, and a child that is forked
        # while another thread has it waits for ever.
        object.__setattr__(self, "widths", (self.counts, self.totals, self.lows, self.marks, self.raw))
        for number in self.widths:
            if not 0 <= number <= _MAX_SLOTS:
                raise ValueError(f"a series has between 0 and {_MAX_SLOTS} slots of a kind, not {number}: {self}")
        if not any(self.widths):
            raise ValueError(f"a shape without slots keeps nothing: {self}")
        if self.marks not in {0, MARK_SLOTS}:
            raise ValueError(f"a series has {MARK_SLOTS} slots for its mark, or none: {self}")
        if bool(self.raw) != bool(self.raw_merge):
            raise ValueError(f"raw slots and the name of what merges them go together: {self}")

    @property
    def adds(self) -> bool:
        """Whether one that has retired the series still has a part in the value. A last value goes with its series."""
        return self.rule in _ADDING and not self.marks

    @property
    def outlives(self) -> bool:
        """Whether the values of a dead process still count."""
        return self.rule is Rule.SUM
