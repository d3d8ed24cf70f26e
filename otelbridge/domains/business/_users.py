"""Users and their sessions."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING

from otelbridge.catalogue.business import SESSION_ACTIVE, SESSION_DURATION, USER_ACTIVE, USER_REGISTRATIONS
from otelbridge.domains.business._meter import meter
from otelbridge.domains.checks import checked_return
from otelbridge.domains.operation import Operation
from otelbridge.domains.presence import Presence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otelbridge.domains.recording import Attributes, Registration

_registrations = meter.recorder(USER_REGISTRATIONS)
_active_users = meter.observed(USER_ACTIVE)
_active_sessions = meter.recorder(SESSION_ACTIVE)
_session_duration = meter.recorder(SESSION_DURATION)


class Users:
    """The users of the service."""

    __slots__ = ()

    def registered(self, *, channel: str | None = None) -> None:
        """Count a user who registered, as ``business.user.registrations``. Never raises.

        Args:
            channel: How the user came, for instance ``web``.
        """
        _registrations.record(1, {"business.user.channel": channel})

    def observe_active(self, read: Callable[[], Mapping[str, float]], *, user_type: str = "user") -> Registration:
        """Report how many distinct users were active, as ``business.user.active``.

        The numbers come from a store that all processes share, so queries take their maximum, not their sum.

        Args:
            read: Called at each collection; gives the number of users by period: ``now``, ``1d``, ``7d``,
                ``30d``.
            user_type: Kind of user: ``user``, ``customer`` or a word of the application. Reporting a kind
                again replaces the earlier source.

        Returns:
            A handle whose ``close()`` stops the report.
        """

        def periods() -> Iterator[tuple[float, Attributes]]:
            for period, count in checked_return(read(), Mapping, "the number of users by period").items():
                yield count, {"business.user.period": period}

        return _active_users.observe(user_type, periods, {"business.user.type": user_type})


class Session(Operation):
    """One session of a user: counted in ``business.session.active``, then ``business.session.duration``.

    Use it as a context manager where the session is a block of code (a websocket, a command line), and
    `start` and `end` where it is not.

    Args:
        user_type: Kind of user: ``user``, ``customer`` or a word of the application.
    """

    __slots__ = ("_presence", "user_type")

    def __init__(self, *, user_type: str = "user") -> None:
        super().__init__()
        self.user_type = user_type
        self._presence = Presence(_active_sessions)

    def start(self) -> Session:
        """Open the session.

        Returns:
            The session itself, to be kept until `end`.
        """
        return self if self._begin is not None else self.__enter__()

    def end(self) -> None:
        """Close the session. Closing one that is not open does nothing."""
        self.__exit__(None, None, None)

    @property
    def seconds(self) -> float:
        """How long it has been open; 0 when it is not."""
        return 0.0 if self._begin is None else perf_counter() - self._begin

    def _again(self) -> Session:
        return Session(user_type=self.user_type)

    def _active(self) -> bool:
        return meter.active

    def _started(self) -> None:
        self._presence.begin({"business.user.type": self.user_type})

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        del error  # a session that ends badly has ended all the same
        self._presence.end()
        _session_duration.record(seconds, {"business.user.type": self.user_type})
