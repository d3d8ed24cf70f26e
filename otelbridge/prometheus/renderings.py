"""Renderings that concurrent scrapes share, so that ten scrapers cost what one does."""

from __future__ import annotations

import gzip
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from otelbridge.diagnostics import logger, warn_once
from otelbridge.prometheus.flight import SingleFlight
from otelbridge.prometheus.http1 import describe

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

# Level 9 takes nine times as long for a fifth less.
_GZIP_LEVEL = 1
# There are fewer formats; should somebody invent more, they are not all rendered.
_MOST_WAITING = 64

Format = TypeVar("Format")


class Rendered(Protocol):
    """What a renderer gives."""

    @property
    def content_type(self) -> str:
        """Media type with its parameters."""
        ...

    @property
    def body(self) -> bytes:
        """The text."""
        ...


@dataclass(frozen=True, slots=True)
class Rendering:
    """A text as it is sent."""

    content_type: str
    """Media type with its parameters."""

    body: bytes = field(repr=False)
    """The text, compressed if it is."""

    gzipped: bool = False
    """Whether it is compressed."""


class Renderings(Generic[Format]):
    """Renders in a thread of its own, one format at a time, for all who ask meanwhile.

    Args:
        render: Renders a format, which must be hashable. It may take its time, and may raise.
        keep_seconds: For how long a rendering is given to those who ask after it is done.
    """

    def __init__(self, render: Callable[[Format], Rendered], keep_seconds: float) -> None:
        self._render = render
        self._keep_seconds = keep_seconds
        self._flight: SingleFlight[Rendering | None] = SingleFlight("otelbridge-metrics-render", _MOST_WAITING)
        # Written by that thread alone.
        self._kept: dict[tuple[Format, bool], tuple[float, Rendering]] = {}

    def get(self, wanted: Format, *, gzipped: bool) -> Rendering | Future[Rendering | None] | None:
        """Give a rendering.

        Args:
            wanted: The format.
            gzipped: Whether it is to be compressed.

        Returns:
            A rendering, or a future of one; None where it failed, which the log says.

        Raises:
            BusyError: Too many others wait.
        """
        return self._fresh(wanted, gzipped) or self._flight.run(
            (wanted, gzipped), lambda: self._attempt(wanted, gzipped)
        )

    def close(self, timeout: float) -> None:
        """Wait until nothing is being rendered, for this many seconds at most."""
        self._flight.close(timeout)

    def _fresh(self, wanted: Format, gzipped: bool) -> Rendering | None:
        until, rendering = self._kept.get((wanted, gzipped), (0.0, None))
        return rendering if time.monotonic() < until else None

    def _attempt(self, wanted: Format, gzipped: bool) -> Rendering | None:
        try:
            return self._make(wanted, gzipped)
        except BaseException as error:  # SystemExit of a callback too: Prometheus shows the target as down
            cause = ("render", type(error).__qualname__)
            warn_once(cause, "Rendering the metrics failed, scrapes get a 500 (%s)", describe(error))
            logger.debug("Rendering the metrics failed", exc_info=True)
            return None

    def _make(self, wanted: Format, gzipped: bool) -> Rendering:
        # What was asked for twice while it was made is there by now.
        made = self._fresh(wanted, gzipped)
        if made is None and gzipped:
            plain = self._make(wanted, gzipped=False)
            made = Rendering(plain.content_type, gzip.compress(plain.body, _GZIP_LEVEL, mtime=0), gzipped=True)
            self._keep(wanted, made)
        elif made is None:
            rendered = self._render(wanted)
            made = Rendering(rendered.content_type, rendered.body)
            self._keep(wanted, made)
        return made

    def _keep(self, wanted: Format, rendering: Rendering) -> None:
        now = time.monotonic()
        self._kept = {key: entry for key, entry in self._kept.items() if entry[0] > now}
        if self._keep_seconds > 0:
            self._kept[wanted, rendering.gzipped] = now + self._keep_seconds, rendering


def accepts_gzip(header: str) -> bool:
    """Read whether an answer may be compressed with gzip (RFC 9110, section 12.5.3).

    Args:
        header: The header ``Accept-Encoding``, whatever is in it.

    Returns:
        Whether gzip, or anything, is acceptable.
    """
    weights: dict[str, bool] = {}
    for item in header.split(","):
        coding, *parameters = (part.strip().lower() for part in item.split(";"))
        weights[coding] = not any(_is_zero(parameter) for parameter in parameters)
    return weights.get("gzip", weights.get("*", False))


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and not value.strip().strip("0.")
