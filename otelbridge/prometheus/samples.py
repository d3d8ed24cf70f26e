"""Lines of the text formats, from plain rows: label texts, values, counts. No data points, no families.

This is where the time of a scrape goes. Whoever has the values at hand (as the store of series does) can write
its page from here: label texts are made once for each series (`otelbridge.prometheus.labels.Labels.text`),
everything else of a line once for each family.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, pairwise
from math import inf, isnan
from typing import TYPE_CHECKING

from otelbridge.prometheus.digits import all_plain, canonical, number
from otelbridge.prometheus.labels import escaped
from otelbridge.prometheus.translation import is_legacy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MARKS = ("\0", *map(chr, range(0xE000, 0xE200)))  # a name has 255 characters at most, or is a strange one


class SampleText:
    """Writes the samples of one name.

    Args:
        name: Name of the samples. One beyond the classic characters goes into the braces, in quotes.
    """

    __slots__ = ("_bare", "_head")

    def __init__(self, name: str) -> None:
        if is_legacy(name):
            self._head, self._bare = f"{name}{{", name
        else:
            self._head, self._bare = f'{{"{escaped(name)}",', f'{{"{escaped(name)}"}}'

    def lead(self, labels: str) -> str:
        """Write what stands before a value.

        Args:
            labels: The text of its labels; empty where it has none.

        Returns:
            The begin of the line.
        """
        return f"{self._head}{labels}}} " if labels else f"{self._bare} "

    def line(self, labels: str, value: str) -> str:
        """Write one sample.

        Args:
            labels: The text of its labels; empty where it has none.
            value: Its value, and whatever follows that.

        Returns:
            The line, with its end.
        """
        return f"{self._head}{labels}}} {value}\n" if labels else f"{self._bare} {value}\n"

    def lines(self, labels: Iterable[str], values: list[int | float]) -> str:
        """Write many samples at once.

        Args:
            labels: The text of the labels of each.
            values: The value of each: exact ints and floats.

        Returns:
            The lines, each with its end.
        """
        if not all_plain(values):
            return "".join([self.line(text, number(value)) for text, value in zip(labels, values, strict=True)])
        head, bare = self._head, self._bare
        return "".join(
            [
                f"{head}{text}}} {value}\n" if text else f"{bare} {value}\n"
                for text, value in zip(labels, values, strict=True)
            ]
        )


class Frame:
    """The lines of series that stay the same from page to page, all but the values.

    What stands before each value is kept, which takes the memory of the page itself.
    """

    __slots__ = ("_name", "_parts")

    def __init__(self) -> None:
        self._name: str | None = None
        self._parts: list[str] = []

    def lines(self, name: str, labels: Iterable[str], values: list[int | float]) -> str:
        """Write the samples.

        Args:
            name: Their name.
            labels: The text of the labels of each: those of the first call, as they are not looked at again.
            values: The value of each: exact ints and floats, all finite.

        Returns:
            The lines, each with its end.

        Raises:
            ValueError: There are not as many values as series.
        """
        if name != self._name:
            lead = SampleText(name).lead
            self._parts = [part for text in labels for part in (f"\n{lead(text)}", "")] + ["\n"]
            self._parts[0] = self._parts[0][1:]  # the end of no line
            self._name = name
        parts = self._parts.copy()
        parts[1::2] = map(repr, values)
        return "".join(parts)


class HistogramText:
    """Writes classic histograms of one name and one set of bounds.

    Args:
        name: Name of the family; ``_bucket``, ``_sum`` and ``_count`` are added to it.
        bounds: Upper bounds of the buckets, ascending, inclusive. One of infinity may be last.

    Raises:
        ValueError: The bounds do not ascend.
    """

    __slots__ = ("_closed", "_mark", "_name", "_templates", "_width", "bounds")

    def __init__(self, name: str, bounds: Sequence[float]) -> None:
        if any(not low < high for low, high in pairwise(bounds)) or any(isnan(bound) for bound in bounds):
            raise ValueError(f"the bounds {tuple(bounds)!r:.200} do not ascend")
        self._closed = bool(bounds) and bounds[-1] == inf
        self.bounds = tuple(bounds[:-1] if self._closed else bounds)
        """The bounds that are written, besides infinity."""
        self._width = len(bounds) + 1
        self._name = name
        # Stands for the labels until they are known. Names beyond the classic ones can hold any character.
        self._mark = next(mark for mark in _MARKS if mark not in name)
        self._templates: dict[tuple[bool, bool], str] = {}

    def lines(self, labels: str, counts: Sequence[int], total: float | None) -> str:
        """Write one series.

        Args:
            labels: The text of its labels; empty where it has none.
            counts: How many values each bucket holds, and last how many are above all bounds.
            total: The sum of all values; None leaves out sum and count (without ``le``) together.

        Returns:
            The lines, each with its end, one a bucket.

        Raises:
            ValueError: There are not as many counts as buckets.
            TypeError: A count or the sum is no number.
        """
        cumulative = (*accumulate(counts),)
        if len(cumulative) != self._width:
            raise ValueError(f"{len(cumulative)} counts do not fit {self._width} buckets")
        if self._closed:  # two buckets up to infinity are one
            cumulative = (*cumulative[:-2], cumulative[-1])
        key = (labels != "", total is not None)
        template = self._templates.get(key) or self._template(key)
        if total is None:
            return (template % cumulative).replace(self._mark, labels)
        return (template % (*cumulative, number(total), cumulative[-1])).replace(self._mark, labels)

    def block(self, labels: list[str], counts: Iterable[Sequence[int]], totals: list[int | float]) -> list[str]:
        """Write many series at once.

        Args:
            labels: See `lines`, of each.
            counts: See `lines`, of each.
            totals: The sum of each: exact ints and floats, all finite.

        Returns:
            The lines of each.

        Raises:
            ValueError: See `lines`.
            TypeError: There are not as many counts as buckets, or see `lines`.
        """
        rows = zip(labels, counts, totals, strict=True)
        if self._closed or not all(labels):
            return [self.lines(*row) for row in rows]
        key = (True, True)
        template, mark = self._templates.get(key) or self._template(key), self._mark
        written: list[str] = []
        for text, row, total in rows:
            cumulative = (*accumulate(row),)
            written.append((template % (*cumulative, total, cumulative[-1])).replace(mark, text))
        return written

    def _template(self, key: tuple[bool, bool]) -> str:
        labelled, with_sum = key
        labels = self._mark if labelled else ""
        lead = f"{labels}," if labelled else ""
        name = self._name.replace("%", "%%")
        bucket = SampleText(f"{name}_bucket")
        lines = [bucket.line(f'{lead}le="{canonical(bound)}"', "%d") for bound in (*self.bounds, inf)]
        if with_sum:
            lines += [SampleText(f"{name}_sum").line(labels, "%s"), SampleText(f"{name}_count").line(labels, "%d")]
        template = self._templates[key] = "".join(lines)
        return template


@lru_cache(maxsize=1024)
def histogram_text(name: str, bounds: tuple[float, ...]) -> HistogramText:
    """Give the writer of a name and bounds, making it the first time.

    Args:
        name: See `HistogramText`.
        bounds: See `HistogramText`.

    Returns:
        The writer.

    Raises:
        ValueError: See `HistogramText`.
    """
    return HistogramText(name, bounds)
