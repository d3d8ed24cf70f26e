"""Who may read the metrics: bearer tokens, passwords, names in client certificates."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from otelbridge.errors import ConfigError
from otelbridge.prometheus.credentials import BasicUsers, BearerToken, BearerTokenFile
from otelbridge.prometheus.flight import BusyError, then
from otelbridge.prometheus.tls import canonical_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from concurrent.futures import Future

_LONGEST_HEADER = 8192


@dataclass(frozen=True, kw_only=True)
class AccessOptions:
    """Who may read the metrics. With nothing said everybody may, and then only this machine is served.

    A request must show one of the credentials (token or password) where any are set, and come with one of
    the `client_names` where those are set; where both are, both.
    """

    bearer_token: str | None = field(default=None, repr=False)
    """Token that is sent as ``Authorization: Bearer <token>``. Secret."""

    bearer_token_file: str | None = None
    """File with the token, read anew for each request, so that it can rotate. While it is missing or empty
    nobody gets in with a token."""

    basic_users: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Hashes of passwords by user name, for HTTP basic authentication. `hash_password` makes them; bcrypt
    hashes do too where the package ``bcrypt`` is installed."""

    client_names: tuple[str, ...] = ()
    """Subject alternative names (DNS name, IP address, URI, e-mail address), one of which a client's
    certificate must carry. Needs the own server with TLS and a client CA."""

    insecure: bool = False
    """Whether an address that others reach may be served without any of this, or without TLS in silence."""


class Verdict(Enum):
    """What the rules say of a request."""

    GRANTED = auto()
    """It may read."""

    UNKNOWN = auto()
    """It shows no good credential: 401."""

    FORBIDDEN = auto()
    """Its certificate is not one of those let in: 403."""

    BUSY = auto()
    """Too many passwords wait to be checked: 503."""


class Access:
    """Decides who may read. Never raises at a request, never logs anything of it.

    Args:
        options: The rules, or a function that gives the present ones; it must give the same object as long
            as they are the same, and only such as can be used. Without any, everybody may read.

    Raises:
        ConfigError: A rule cannot be used. No secret is in the message.
        MissingDependencyError: A password is hashed with bcrypt, which is not installed.
    """

    def __init__(self, options: AccessOptions | Callable[[], AccessOptions] | None = None) -> None:
        fixed = options if isinstance(options, AccessOptions) else AccessOptions()
        self._source = options if callable(options) else lambda: fixed
        self._rules = _Rules(self._source())

    @property
    def open(self) -> bool:
        """Whether everybody may read."""
        return not (self.challenges or self.needs_certificate)

    @property
    def needs_certificate(self) -> bool:
        """Whether a certificate with a certain name is asked for."""
        return bool(self._rules.names)

    @property
    def insecure(self) -> bool:
        """Whether the user said that nothing need be asked for."""
        return self._rules.options.insecure

    @property
    def challenges(self) -> tuple[str, ...]:
        """Values for ``WWW-Authenticate``, one a scheme (RFC 9110, section 11.6.1)."""
        return self._rules.challenges

    def check(self, authorization: str | None, names: Collection[str] = ()) -> Verdict | Future[Verdict]:
        """Judge a request.

        Args:
            authorization: Its header ``Authorization``, whatever is in it.
            names: The names in the client's certificate, as `peer_names` gives them.

        Returns:
            The verdict; a future of it while a password is checked that was not seen before.
        """
        options = self._source()
        if options is not self._rules.options:
            self._rules = _Rules(options)
        rules = self._rules
        if rules.names and rules.names.isdisjoint(names):
            return Verdict.FORBIDDEN
        if not rules.challenges:
            return Verdict.GRANTED
        if not authorization or len(authorization) > _LONGEST_HEADER:
            return Verdict.UNKNOWN
        scheme, _, credentials = authorization.partition(" ")
        check = rules.schemes.get(scheme.lower())
        if check is None:
            return Verdict.UNKNOWN
        try:
            return then(check(credentials.strip(" ")), _verdict)
        except BusyError:
            return Verdict.BUSY

    def close(self, timeout: float = 1.0) -> None:
        """Wait until no password is being checked, for this many seconds at most."""
        if self._rules.basic is not None:
            self._rules.basic.close(timeout)


def _verdict(right: bool) -> Verdict:
    return Verdict.GRANTED if right else Verdict.UNKNOWN


class _Rules:
    """What one `AccessOptions` asks for, and what was checked by it already."""

    def __init__(self, options: AccessOptions) -> None:
        self.options = options
        self.names = frozenset(map(canonical_name, options.client_names))
        self.basic = BasicUsers(options.basic_users) if options.basic_users else None
        self.schemes: dict[str, Callable[[str], bool | Future[bool]]] = {}
        challenges: list[str] = []
        bearer = _bearer(options)
        if bearer is not None:
            self.schemes["bearer"] = bearer.check
            challenges.append('Bearer realm="metrics"')
        if self.basic is not None:
            self.schemes["basic"] = self.basic.check
            challenges.append('Basic realm="metrics", charset="UTF-8"')
        self.challenges = tuple(challenges)


def _bearer(options: AccessOptions) -> BearerToken | BearerTokenFile | None:
    token, file = options.bearer_token, options.bearer_token_file
    if token is not None and file is not None:
        raise ConfigError("bearer_token and bearer_token_file are both set", "Set one of them")
    if file is not None:
        return BearerTokenFile(file)
    return None if token is None else BearerToken(token)
