"""Which generation of the HTTP conventions the official instrumentations record.

They still start with the old one, in which the client's Host header becomes a label: any client can then
create series at will. They decide once a process, at the first instrumentation, by an environment variable.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from otelbridge.concurrency import forks
from otelbridge.diagnostics import warn_once

if TYPE_CHECKING:
    from collections.abc import Generator

_VARIABLE = "OTEL_SEMCONV_STABILITY_OPT_IN"
_OLD_METRICS = (
    "HTTP metrics are recorded in the old conventions, since %s. The metrics of the catalogue stay empty, and clients "
    "can create series through the Host header. Set %s=http in the environment, or add http to it."
)
_OLD_SPANS = (
    "Spans of HTTP requests have the names of the old conventions, since %s; metrics have the stable ones. Set %s=http "
    "in the environment, or add http to it."
)
_lock = forks.lock()


def stable_conventions_wanted() -> bool:
    """Tell whether HTTP is to be measured in the stable conventions alone: unless the user says otherwise."""
    said = {word.strip().lower() for word in os.environ.get(_VARIABLE, "").split(",")} - {""}
    return not said or ("http" in said and "http/dup" not in said)


def choose_stable_conventions(*, metrics: bool = True) -> None:
    """Have the stable HTTP conventions recorded, unless the user chose or it is too late.

    The environment is as before afterwards, so that child processes inherit nothing. Where the old
    conventions remain, one warning says why and what to do.

    Args:
        metrics: Whether the official instrumentations record metrics; if not, they make spans alone.
    """
    # The official packages offer no public way to choose or to ask.
    from opentelemetry.instrumentation._semconv import (
        _OpenTelemetrySemanticConventionStability as Stability,  # pyright: ignore[reportPrivateUsage]
    )
    from opentelemetry.instrumentation._semconv import (
        _OpenTelemetryStabilitySignalType as Signal,  # pyright: ignore[reportPrivateUsage]
    )
    from opentelemetry.instrumentation._semconv import (
        _StabilityMode as Mode,  # pyright: ignore[reportPrivateUsage]
    )

    said = os.environ.get(_VARIABLE)
    with _lock, _default("http"):
        Stability._initialize()  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]
    mode = Stability._get_opentelemetry_stability_opt_in_mode(Signal.HTTP)  # pyright: ignore[reportPrivateUsage]
    if mode is not Mode.DEFAULT:
        return
    why = (
        f"{_VARIABLE}={said} does not choose the stable ones"
        if said
        else "another instrumentation was switched on earlier and chose them"
    )
    what = _OLD_METRICS if metrics else _OLD_SPANS
    warn_once(("http", "old conventions", what), what, why, _VARIABLE)


@contextmanager
def _default(value: str) -> Generator[None]:
    if os.environ.get(_VARIABLE):
        yield
        return
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
