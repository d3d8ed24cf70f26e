"""The Python interpreter: garbage collection (Y13)."""

from __future__ import annotations

import gc
import platform
from typing import TYPE_CHECKING

from otelbridge.catalogue import system
from otelbridge.domains.recording import DomainMeter
from otelbridge.instrumentation.system.observing import observe_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otelbridge.domains.recording import Attributes, Registration

_COLLECTIONS = DomainMeter(system.DOMAIN).observed(system.GC_COLLECTIONS)


def instrument_runtime() -> Registration:
    """Observe the interpreter, after the conventions for ``cpython.*``.

    Interpreters other than CPython collect in other ways; there nothing is observed.

    Returns:
        A handle whose `close()` stops it. Calling this twice observes once.
    """
    source = _collections if platform.python_implementation() == "CPython" else None
    return observe_all("runtime", [(_COLLECTIONS, source)])


def _collections() -> Iterator[tuple[float, Attributes]]:
    for generation, stats in enumerate(gc.get_stats()):
        yield stats["collections"], {system.GC_GENERATION.key: generation}
