"""Which requests are measured, and the context that goes along with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,  # pyright: ignore[reportPrivateUsage]
    _SUPPRESS_INSTRUMENTATION_KEY,  # pyright: ignore[reportPrivateUsage]
    get_current,
)
from opentelemetry.propagate import inject
from opentelemetry.propagators.textmap import default_setter

from otelbridge.catalogue.http import METHOD
from otelbridge.diagnostics import warn_once
from otelbridge.domains.checks import OTHER
from otelbridge.instrumentation.http.clients.exchange import Exchange, active, report
from otelbridge.instrumentation.http.clients.official import stable_names

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import Setter

    from otelbridge.instrumentation.http.clients.official import Official

    Description = tuple[str, str, str, int | None, Any]

_METHODS = frozenset(METHOD.values)
_PORTS = {"http": 80, "https": 443}
_SUPPRESSED = (_SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation")


class Exchanges:
    """Begins to measure the requests of one library.

    Args:
        describe: Gives the method, scheme, host and port (None for that of the scheme) of a request, and what carries
            its headers.
        url: Gives the URL of a request, for `excluded`.
        excluded: Matches URLs that are not measured.
        setter: Puts headers on what carries them.
        suppressing: Official instrumentations that suppress that of what they call, which is this library.
    """

    def __init__(
        self,
        describe: Callable[..., Description],
        url: Callable[..., str],
        excluded: re.Pattern[str] | None,
        *,
        setter: Setter[Any] = default_setter,
        suppressing: Sequence[Official] = (),
    ) -> None:
        self.open = True
        """False lets everything pass unseen, for where this cannot be taken out again."""
        self.others: Sequence[Official] = ()
        """Official instrumentations whose measurements of these requests, if any, go where ours go."""
        self._describe = describe
        self._url = url
        self._excluded = excluded
        self._setter = setter
        self._suppressing = suppressing

    def begin(self, *request: Any) -> Exchange | None:
        """Begin to measure a request that is about to be sent, and send the current context along. Never raises.

        Args:
            *request: The request, as `describe` and `url` take it.

        Returns:
            What is to be told how it goes on; None where it is not measured.
        """
        if not self.open:
            return None
        try:
            context = get_current()
            if context and self._suppressed(context):
                return None
            if self._excluded is not None and self._excluded.search(self._url(*request)):
                return None
            method, scheme, host, port, carrier = self._describe(*request)
            if context:
                inject(carrier, context, self._setter)
            if not active() or (self.others and self._left_to_others(context)):
                return None
            return Exchange((method if method in _METHODS else OTHER, host, port or _PORTS.get(scheme)))
        except Exception as error:  # a request the library itself may refuse
            report(error)
            return None

    def _suppressed(self, context: Context) -> bool:
        if any(context.get(key) for key in _SUPPRESSED):
            return True
        if not context.get(_SUPPRESS_HTTP_INSTRUMENTATION_KEY):
            return False
        # That of another instrumentation, around the very request that is to be measured, is no reason.
        return not any(official.active() for official in self._suppressing)

    def _left_to_others(self, context: Context) -> bool:
        if self._suppressing and not context.get(_SUPPRESS_HTTP_INSTRUMENTATION_KEY):
            return False
        other = next((official for official in self.others if official.active()), None)
        if other is None or not stable_names():
            return False
        warn_once(
            ("http.client", "left", other.module),
            "%s records requests to the same meter provider under the same names: otelbridge does not, so that nothing "
            "counts twice. Failures are then recorded as far as it does. Switch it off, or let otelbridge be the meter "
            "provider, to have them all.",
            other.module,
        )
        return True
