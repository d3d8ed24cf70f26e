"""Measures figures one after another, and keeps each result as soon as there is one."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.progress import Progress
from benchmarks.results import seconds_of, write_results
from benchmarks.table import around_table, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from benchmarks.model import Effort, Figure


def record(
    figures: Sequence[Figure], measure: Callable[[Figure], dict[str, Any]], effort: Effort, results: Path, docs: Path
) -> None:
    """Measure figures and write each down before the next one.

    Args:
        figures: What is measured.
        measure: Measures one.
        effort: How much.
        results: The file they go to.
        docs: The document with the table.

    Raises:
        ValueError: The document cannot take the table. Told before anything is measured.
        KeyboardInterrupt: It was told to stop; what is measured is kept, and the rest named.
    """
    around_table(docs)
    names = [figure.name for figure in figures]
    progress = Progress(names, seconds_of(results))
    done = 0
    try:
        for figure in figures:
            print(f"[{progress.position()}] {figure.name}", flush=True)
            found = measure(figure)
            write_table(docs, write_results(results, {figure.name: found}, effort))
            done += 1
            progress.done(figure.name)
            print(f"    {_summary(found)}", flush=True)
    except KeyboardInterrupt:
        print(f"\nStopped. {done} of {len(names)} figures are measured and kept. Left: {', '.join(names[done:])}.")
        raise


@contextmanager
def terminable() -> Generator[None]:
    """Let SIGTERM stop a run as Ctrl-C does."""

    def stop(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _summary(found: dict[str, Any]) -> str:
    parts = [f"{name} {value['median']:.4g} {found['unit']}" for name, value in found["contenders"].items()]
    parts += [f"{name} not measured" for name in found["unmeasured"]]
    parts += [f"{name} FAILED" for name in found["failed"]]
    return "; ".join(parts)
