"""Reads ``web.config.yml``, the file that Prometheus and its exporters are secured with.

The format is that of the Prometheus exporter toolkit (``docs/web-configuration.md`` there). What is no safe
setting or has no meaning here is an error, as anything unknown is: rate limits, curves, TLS before 1.2, and
client certificates that are asked for but not verified.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otelbridge.concurrency import forks
from otelbridge.diagnostics import log_waiting, warn_once
from otelbridge.errors import ConfigError, unknown_name
from otelbridge.prometheus import yaml_nodes
from otelbridge.prometheus.access import Access, AccessOptions
from otelbridge.prometheus.tls import ServerTls, TlsOptions, create_context
from otelbridge.prometheus.watch import FileWatch

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from otelbridge.prometheus.tls import ClientAuth
    from otelbridge.prometheus.yaml_nodes import Node

    Reader = Callable[[Node, Path], object]

_SECTIONS = ("tls_server_config", "http_server_config", "basic_auth_users", "rate_limit")
# The values a header may have; none are listed for those that may have any.
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
_CLIENT_AUTH: Mapping[str, ClientAuth] = {
    "NoClientCert": "none",
    "VerifyClientCertIfGiven": "optional",
    "RequireAndVerifyClientCert": "required",
}
# The names of Go's crypto/tls; OpenSSL's are those without "TLS_" and "WITH_", but for the spelling.
_CIPHERS: Mapping[str, str] = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
_CIPHERS_OF_TLS13 = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
_NOT_IN_A_HEADER = re.compile(r"[^\t\x20-\x7e]")


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """What one ``web.config.yml`` says."""

    access: AccessOptions
    """Who may read."""

    tls: TlsOptions | None = None
    """TLS of the own server; None for plain HTTP."""

    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Fields for every answer."""


class WebConfigFile:
    """A ``web.config.yml`` that is read again when it changes.

    A new state that cannot be used, or that would take protection away while the server runs, is warned of
    once and left; the last good one stays in force.

    Args:
        path: The file. File names in it are relative to its directory.
        also: Rules that hold besides it, a bearer token for instance, which the format does not know.

    Raises:
        ConfigError: The file, or one it names, cannot be used.
        MissingDependencyError: ``pyyaml`` or, for its users, ``bcrypt`` is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], also: AccessOptions | None = None) -> None:
        self._path = Path(path)
        self._also = also or AccessOptions()
        self._lock = forks.lock()
        self._watch = FileWatch([self._path])
        self._current = read_web_config(self._path, self._also)

    @property
    def current(self) -> WebConfig:
        """What the file says now; the same object until it changes."""
        if self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._lock.release()
                log_waiting()
        return self._current

    def access(self) -> Access:
        """Make the access rules, which follow the file."""
        return Access(lambda: self.current.access)

    def server_tls(self) -> ServerTls | None:
        """Make the TLS of the own server, which follows the file; None for plain HTTP."""
        options = self.current.tls
        return None if options is None else ServerTls(lambda: self.current.tls or options)

    def headers(self) -> Mapping[str, str]:
        """Give the fields for an answer, as the file has them now."""
        return self.current.headers

    def _refresh(self) -> None:
        if not self._watch.changed():
            return
        try:
            new = read_web_config(self._path, self._also)
            _check_not_weaker(self._current, new)
        except ConfigError as error:
            warn_once(("web_config", error.problem), "The metrics endpoint keeps its last settings: %s", error)
        else:
            self._current = new


def read_web_config(path: str | os.PathLike[str], also: AccessOptions | None = None) -> WebConfig:
    """Read a ``web.config.yml``, and make sure that all of it can be used.

    Args:
        path: The file. File names in it are relative to its directory.
        also: Rules that hold besides it.

    Returns:
        What it says.

    Raises:
        ConfigError: The file, or one it names, cannot be used. No secret is in the message.
        MissingDependencyError: ``pyyaml`` or, for its users, ``bcrypt`` is not installed.
    """
    sections = yaml_nodes.load(path).fields(_SECTIONS)
    if "rate_limit" in sections:
        raise _unsupported(sections["rate_limit"], "answers are shared and clients limited without it")
    said = _read_tls(sections.get("tls_server_config"), Path(path).parent)
    names: tuple[str, ...] = said.pop("client_names", ())
    tls = TlsOptions(**said) if said else None
    users = {user: node.text() for user, node in _fields(sections.get("basic_auth_users")).items()}
    rules = also or AccessOptions()
    access = replace(
        rules, basic_users={**rules.basic_users, **users}, client_names=tuple({*rules.client_names, *names})
    )
    if names and (tls is None or tls.verification == "none"):
        raise ConfigError(
            f"{path}: client_allowed_sans is set, but clients are not asked for certificates",
            "Set client_auth_type to RequireAndVerifyClientCert, with a client_ca_file",
        )
    if tls is not None:
        create_context(tls)
    Access(access)
    return WebConfig(access=access, tls=tls, headers=_read_http(sections.get("http_server_config")))


def _read_tls(section: Node | None, directory: Path) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for key, node in _fields(section, _TLS).items():
        name, read = _TLS[key]
        said[name] = read(node, directory)
    return said


def _read_http(section: Node | None) -> dict[str, str]:
    fields = _fields(section, ("http2", "headers"))
    if "http2" in fields:
        fields["http2"].flag()  # either is kept: HTTP/2 is offered to a client, never demanded of it
    headers: dict[str, str] = {}
    for name, node in _fields(fields.get("headers"), _HEADERS).items():
        value = node.text()
        if _HEADERS[name] and value not in _HEADERS[name]:
            raise unknown_name(f"value of {node.where}:", value, _HEADERS[name])
        if _NOT_IN_A_HEADER.search(value):
            raise ConfigError(f"{node.where} holds characters no header can", "Write it in one line of ASCII")
        headers[name] = value
    return headers


def _fields(node: Node | None, known: Mapping[str, object] | tuple[str, ...] | None = None) -> dict[str, Node]:
    return {} if node is None else node.fields(known)


def _text(node: Node, directory: Path) -> str:
    del directory
    return node.text()


def _file(node: Node, directory: Path) -> str:
    return str(directory / node.text())


def _flag(node: Node, directory: Path) -> bool:
    del directory
    return node.flag()


def _names(node: Node, directory: Path) -> tuple[str, ...]:
    del directory
    names = node.texts()
    if not names:
        raise ConfigError(f"{node.where} lets nobody in", "Name the clients that are let in, or leave it out")
    return names


def _version(node: Node, directory: Path) -> str:
    del directory
    if node.text() not in ("TLS12", "TLS13"):
        raise unknown_name(f"value of {node.where}:", node.text(), ("TLS12", "TLS13"))
    return node.text()


def _client_auth(node: Node, directory: Path) -> ClientAuth:
    del directory
    kind = node.text()
    if kind in ("RequestClientCert", "RequireClientCert", "RequireAnyClientCert"):
        raise ConfigError(
            f"{node.where} is {kind}, which lets any certificate in, whoever made it",
            "Set it to RequireAndVerifyClientCert, with a client_ca_file",
        )
    if kind not in _CLIENT_AUTH:
        raise unknown_name(f"value of {node.where}:", kind, _CLIENT_AUTH)
    return _CLIENT_AUTH[kind]


def _ciphers(node: Node, directory: Path) -> tuple[str, ...]:
    del directory
    suites = node.texts()
    for suite in suites:
        if suite not in _CIPHERS and suite not in _CIPHERS_OF_TLS13:
            raise unknown_name(f"cipher in {node.where}:", suite, _CIPHERS)
    return tuple(_CIPHERS[suite] for suite in suites if suite in _CIPHERS)


def _no_curves(node: Node, directory: Path) -> None:
    del directory
    raise _unsupported(node, "OpenSSL chooses among the secure ones")


def _unsupported(node: Node, why: str) -> ConfigError:
    return ConfigError(f"{node.where} is not supported", f"Leave it out; {why}")


def _check_not_weaker(old: WebConfig, new: WebConfig) -> None:
    lost = [
        name
        for name, before, now in (
            ("the last user", old.access.basic_users, new.access.basic_users),
            ("the names of clients", old.access.client_names, new.access.client_names),
            ("the check of clients' certificates", _verifies(old), _verifies(new)),
        )
        if before and not now
    ]
    if (old.tls is None) is not (new.tls is None):
        lost.append("TLS, or its absence")
    if lost:
        raise ConfigError(
            f"The changed web configuration takes away {' and '.join(lost)} from a running server",
            "Restart the process if this is meant",
        )


def _verifies(config: WebConfig) -> bool:
    return config.tls is not None and config.tls.verification == "required"


_TLS: Mapping[str, tuple[str, Reader]] = {
    "cert": ("cert", _text),
    "key": ("key", _text),
    "client_ca": ("client_ca", _text),
    "cert_file": ("cert_file", _file),
    "key_file": ("key_file", _file),
    "client_ca_file": ("client_ca_file", _file),
    "client_auth_type": ("client_auth", _client_auth),
    "client_allowed_sans": ("client_names", _names),
    "min_version": ("min_version", _version),
    "max_version": ("max_version", _version),
    "cipher_suites": ("ciphers", _ciphers),
    "prefer_server_cipher_suites": ("prefer_server_ciphers", _flag),
    "curve_preferences": ("", _no_curves),
}
