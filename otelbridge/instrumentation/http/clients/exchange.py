"""What is recorded of a request the process makes: one point of H5 for each time it is sent."""

from __future__ import annotations

import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from otelbridge.catalogue import http as catalogue
from otelbridge.diagnostics import warn_once
from otelbridge.domains.operation import error_type
from otelbridge.domains.recording import DomainMeter

if TYPE_CHECKING:
    from collections.abc import Callable

    Target = tuple[str, str, int | None]
    Outcome = tuple[str, str, int | None, int | None, str | None]
    Writes = dict[Outcome, Callable[[float], object]]

_SWITCHING_PROTOCOLS = 101
_CLIENT_ERROR = 400
_MAX_SETS = 1000
_KEPT = "_otelbridge_exchange"
_NOTHING: dict[str, Any] = {}

_meter = DomainMeter(catalogue.DOMAIN)
_duration = _meter.recorder(catalogue.CLIENT_REQUEST_DURATION)


class Exchange:
    """One request that is sent, and its answer.

    It lasts until the last part of the answer has arrived, or until it fails; what the application does with the answer
    meanwhile or afterwards counts no more. An answer that is let go before its end, closed or not, is none that failed.

    Args:
        target: Method, host and port.
    """

    __slots__ = ("_began", "_latest", "_status", "_target", "_under_way")

    def __init__(self, target: Target) -> None:
        self._target = target
        self._status: int | None = None
        self._under_way = True
        self._began = self._latest = perf_counter()

    def answered(self, status: int) -> None:
        """Note the head of the answer.

        Args:
            status: Its status code.
        """
        self._status = status
        self._latest = perf_counter()
        if status == _SWITCHING_PROTOCOLS:  # what follows is no HTTP
            self.end()

    def received(self) -> None:
        """Note that a part of the answer has arrived."""
        self._latest = perf_counter()

    def end(self, error: BaseException | None = None) -> None:
        """Record it, the first time this is called. Never raises.

        Args:
            error: What it failed with.
        """
        if not self._under_way:
            return
        self._under_way = False
        try:
            if error is None or isinstance(error, GeneratorExit):  # who reads a stream may stop
                failure = None
                if self._status is None:  # it was given up before anybody knew how it went
                    return
            else:
                failure = error_type(error)
                self._latest = perf_counter()
            _durations.record((*self._target, self._status, failure), self._latest - self._began)
        except Exception as raised:
            report(raised)

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.end()


def keep(holder: Any, exchange: Exchange) -> None:
    """Leave an exchange with a request or an answer, for what is called next. Never raises.

    Args:
        holder: The library's object.
        exchange: What is to be told how it goes on.
    """
    try:
        setattr(holder, _KEPT, exchange)
    except AttributeError:  # nothing more will be known
        exchange.end()


def kept(holder: Any) -> Exchange | None:
    """Look at what `keep` left, if anything."""
    return getattr(holder, _KEPT, None)


def take(holder: Any) -> Exchange | None:
    """Take away what `keep` left, if anything. Of several threads one gets it."""
    return getattr(holder, "__dict__", _NOTHING).pop(_KEPT, None)


def active() -> bool:
    """Tell whether measurements go anywhere."""
    return _meter.active


class _Durations:
    """Remembers what records each outcome, for the provider that is connected."""

    def __init__(self) -> None:
        self._bound: tuple[object, Writes] = (None, {})

    def record(self, outcome: Outcome, seconds: float) -> None:
        generation, writes = self._bound
        if generation is not _meter.generation:
            generation, writes = self._bound = _meter.generation, {}
        write = writes.get(outcome)
        if write is None:
            write = _bind(outcome)
            if len(writes) < _MAX_SETS:
                writes[outcome] = write
        write(seconds)


def _bind(outcome: Outcome) -> Callable[[float], object]:
    method, address, port, status, failure = outcome
    if failure is None and status is not None and status >= _CLIENT_ERROR:
        failure = str(status)
    return _duration.bound(
        {
            "http.request.method": method,
            "server.address": address,
            "server.port": port,
            "http.response.status_code": status,
            "error.type": failure,
        }
    )


_durations = _Durations()


def report(error: Exception) -> None:
    """Say once that recording a request failed.

    Args:
        error: How.
    """
    warn_once(
        ("http.client", "raised", type(error).__name__),
        "Recording a request to another service raised %r; the request is made, its measurement may be missing.",
        error,
    )
