"""How well the service is: ``otelbridge.health.exception(error, origin="task")``, ``health.component(...)``."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from otelbridge.catalogue.health import COMPONENT_STATE, COMPONENT_STATUS, DOMAIN, EXCEPTIONS
from otelbridge.diagnostics import warn_once
from otelbridge.domains.operation import error_type
from otelbridge.domains.recording import DomainMeter, Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

State = Literal["healthy", "degraded", "unhealthy"]

_meter = DomainMeter(DOMAIN)
_exceptions = _meter.recorder(EXCEPTIONS)
_status = _meter.observed(COMPONENT_STATUS)

_COUNTED = "_otelbridge_counted"


@dataclass(frozen=True, slots=True)
class Component:
    """A part of the service, or something it depends on, and how to find out how it is."""

    name: str
    """Its name, ``health.component.name``."""

    type: str
    """What it is, ``health.component.type``."""

    check: Callable[[], State | bool]
    """See `component`."""

    @property
    def state(self) -> State:
        """The state now. A check that fails, or says what nobody understands, is no good news."""
        try:
            told = self.check()
        except Exception as error:
            warn_once(
                ("health.component", self.name, type(error).__name__),
                "The check of component %.100r raised %r; it counts as unhealthy.",
                self.name,
                error,
            )
            return "unhealthy"
        if isinstance(told, bool):
            return "healthy" if told else "unhealthy"
        # Callers are not all typed, and a text of the application's own kind may compare as it likes.
        state = str.__str__(told) if isinstance(told, str) else ""  # pyright: ignore[reportUnnecessaryIsInstance]
        if state in COMPONENT_STATE.values:
            return cast("State", state)
        warn_once(
            ("health.component", self.name, "state"),
            "The check of component %.100r gave %.100r; it counts as unhealthy. Give True, False or one of: %s.",
            self.name,
            told,
            ", ".join(COMPONENT_STATE.values),
        )
        if isinstance(told, Coroutine):
            told.close()  # nobody awaits it, nor shall Python complain that nobody did
        return "unhealthy"


_components: dict[str, Component] = {}


def component(name: str, check: Callable[[], State | bool], *, type: str = "service") -> Registration:  # noqa: A002
    """Report the state of a component, as ``health.component.status`` and at ``/-/ready``. Never raises.

    The service is ready while no component is unhealthy; one that is degraded still does its work.

    Args:
        name: Name of the component. Reporting a name again replaces the earlier check.
        check: Called at each collection and each probe. Gives ``healthy``, ``degraded`` or ``unhealthy``, or
            whether the component is healthy at all. What it raises counts as unhealthy.
        type: What it is: ``service``, ``integration``, ``database``, ``cache``, ``ml_engine``, ``agent`` or a
            word of the application.

    Returns:
        A handle whose ``close()`` stops the report.
    """
    if not isinstance(name, str) or not isinstance(type, str) or not callable(check):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers are not all typed
        warn_once(
            ("health.component", "arguments"),
            "health.component() takes a name, a function and a type=, not %.100r, %.100r and %.100r.",
            name,
            check,
            type,
        )
        return Registration(lambda: None)
    # Exact texts: one of the application's own kind may compare, or hash, as it likes.
    name, type = str.__str__(name), str.__str__(type)  # noqa: A001
    one = Component(name, type, check)

    def read() -> Iterator[tuple[float, Mapping[str, str]]]:
        now = one.state
        for state in COMPONENT_STATE.values:
            yield int(state == now), {COMPONENT_STATE.key: state}

    observed = _status.observe(name, read, {"health.component.name": name, "health.component.type": type})
    _components[name] = one

    def close() -> None:
        observed.close()
        if _components.get(name) is one:
            del _components[name]

    return Registration(close)


def components() -> list[Component]:
    """Give the components that are reported now."""
    return list(_components.values())


def exception(error: BaseException, origin: str) -> None:
    """Count an exception that nobody handled. Never raises.

    An exception passes several boundaries on its way out (a task, then the request that ran it). The first
    one that counts it marks it, so that it is counted once.

    Args:
        error: The exception.
        origin: Where nobody caught it: ``http``, ``task``, ``agent`` or a word of the application.
    """
    if not _meter.active:
        return
    if not isinstance(error, BaseException):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers are not all typed
        warn_once(("health.exceptions", "type"), "health.exception() takes an exception, not %.100r.", error)
        return
    if _first(error):
        _exceptions.record(1, {"error.type": error_type(error), "health.exception.origin": origin})


def _first(error: BaseException) -> bool:
    # Every exception has a dictionary of its own. Its attributes would not do: a class may refuse new ones
    # (a frozen dataclass) or answer for any name.
    try:
        own = vars(error)
    except Exception:  # counting it twice is better than losing it
        return True
    if _COUNTED in own:
        return False
    own[_COUNTED] = True
    return True
