"""Observables of several scopes that measure the same one thing: the machine, the process, the interpreter.

A name such as ``process.memory.usage`` stands for one thing in a process: what several scopes observe of it must not be
added up. Any other name may stand for several things, such as the pools of two libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelbridge.catalogue import system
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otelbridge.metrics._sdk import Measurement

_SINGLE = frozenset(metric.name for metric in system.DOMAIN.metrics)

_NOTHING: Sequence[Measurement] = ()


def without_rivals(
    instruments: Sequence[Any], found: Mapping[int, Sequence[Measurement]]
) -> Mapping[int, Sequence[Measurement]]:
    """Leave out what a scope observes that another one observes already.

    Args:
        instruments: Observable instruments of the SDK, in the order they were made.
        found: What they observed, by the identity of the instrument.

    Returns:
        The same, with the measurements of one scope for each name: ours where it has any, else the first that has.
    """
    kept: dict[str, Any] = {}
    rivals: list[Any] = []
    for instrument in instruments:
        if instrument.name not in _SINGLE or not found.get(id(instrument)):
            continue
        first = kept.setdefault(instrument.name, instrument)
        if _scope_of(first) == _scope_of(instrument):
            continue
        if _scope_of(instrument) == system.DOMAIN.meter:
            kept[instrument.name], instrument = instrument, first  # noqa: PLW2901  # the first one is the rival
        rivals.append(instrument)
    for rival in rivals:
        _report(rival, kept[rival.name])
    return {**found, **{id(rival): _NOTHING for rival in rivals}} if rivals else found


def _scope_of(instrument: Any) -> str:
    return instrument.instrumentation_scope.name


def _report(rival: Any, kept: Any) -> None:
    warn_once(
        ("rivals", _scope_of(rival), _scope_of(kept)),
        "The scopes %s and %s both observe %s: of this name, and of any other that they have in common, the values of "
        "%s are left out. Switch one of the two off.",
        _scope_of(rival),
        _scope_of(kept),
        rival.name,
        _scope_of(rival),
    )
