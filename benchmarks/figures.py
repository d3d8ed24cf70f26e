"""Every figure there is, in the order they are measured and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import http, imports, memory, otlp, recording, scrape, sqlalchemy, threads, workers

if TYPE_CHECKING:
    from benchmarks.model import Figure

FIGURES: tuple[Figure, ...] = tuple(
    figure
    for group in (recording, threads, memory, scrape, workers, otlp, http, sqlalchemy, imports)
    for figure in group.FIGURES
)


def figure_named(name: str) -> Figure:
    """Give the figure of this name."""
    return next(figure for figure in FIGURES if figure.name == name)


def select(only: str | None) -> tuple[Figure, ...]:
    """Give the figures of a group, or the one, of this name; all for None.

    Args:
        only: ``group`` or ``group.what``.

    Raises:
        ValueError: There is none of this name.
    """
    if only is None:
        return FIGURES
    chosen = tuple(figure for figure in FIGURES if only in (figure.name, figure.name.partition(".")[0]))
    if not chosen:
        raise ValueError(f"There is no figure or group {only!r}. Known: {', '.join(figure.name for figure in FIGURES)}")
    return chosen
