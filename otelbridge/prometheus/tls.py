"""TLS of the endpoint's own server, with certificates that may change while it runs."""

from __future__ import annotations

import ipaddress
import os
import ssl
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from otelbridge.concurrency import forks
from otelbridge.diagnostics import log_waiting, warn_once
from otelbridge.errors import ConfigError
from otelbridge.prometheus.watch import FileWatch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

TlsVersion = Literal["TLS12", "TLS13"]
ClientAuth = Literal["none", "optional", "required"]

_VERSIONS: dict[TlsVersion, ssl.TLSVersion] = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY: dict[ClientAuth, ssl.VerifyMode] = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_SAN_KINDS = frozenset({"DNS", "IP Address", "URI", "email"})


@dataclass(frozen=True, kw_only=True)
class TlsOptions:
    """How the own server speaks TLS. Every part is a file, or the PEM text itself."""

    cert_file: str | None = None
    """File with the server's certificate, followed by those that lead from it to its CA, as PEM."""

    key_file: str | None = None
    """File with the key of the certificate, as PEM, without a passphrase."""

    client_ca_file: str | None = None
    """File with the CA certificates that clients' certificates must be signed by. With one, only clients
    with such a certificate are let in (mTLS), unless `client_auth` says otherwise."""

    cert: str | None = None
    """PEM text instead of `cert_file`."""

    key: str | None = field(default=None, repr=False)
    """PEM text instead of `key_file`. Secret: it appears in no log, error or ``repr``."""

    client_ca: str | None = None
    """PEM text instead of `client_ca_file`."""

    client_auth: ClientAuth | None = None
    """Whether a client must show a certificate (``required``), may (``optional``: what it shows must be
    good), or is not asked (``none``). Default ``required`` with a client CA, else ``none``."""

    min_version: TlsVersion = "TLS12"
    """Oldest version of TLS that is spoken."""

    max_version: TlsVersion = "TLS13"
    """Newest version of TLS that is spoken."""

    ciphers: tuple[str, ...] = ()
    """Cipher suites for TLS 1.2 in OpenSSL's names, best first. Default: what OpenSSL deems secure. Those
    of TLS 1.3 are all secure and always on."""

    prefer_server_ciphers: bool = True
    """Whether the server's order of ciphers counts, not the client's."""

    @property
    def verification(self) -> ClientAuth:
        """`client_auth`, decided."""
        return self.client_auth or ("required" if self.client_ca_file or self.client_ca else "none")


class ServerTls:
    """The TLS of a server, built anew when its files change.

    A new state that cannot be used (half written, certificate and key that do not belong together) is
    warned of once and left; connections go on with the last good one.

    Args:
        options: The settings, or a function that gives the present ones; it must give the same object as
            long as they are the same.

    Raises:
        ConfigError: A file is missing or wrong; the message names it.
    """

    def __init__(self, options: TlsOptions | Callable[[], TlsOptions]) -> None:
        self._source = (lambda: options) if isinstance(options, TlsOptions) else options
        self._lock = forks.lock()
        self._options = self._source()
        # The watch looks before the files are used, so no change falls between the two.
        self._watch = _watch(self._options)
        self._context = create_context(self._options)

    @property
    def verifies_clients(self) -> bool:
        """Whether only clients with a good certificate get in."""
        return self._context.verify_mode == ssl.CERT_REQUIRED

    @property
    def knows_clients(self) -> bool:
        """Whether clients can show a certificate at all."""
        return self._context.verify_mode != ssl.CERT_NONE

    def context(self) -> ssl.SSLContext:
        """Give the context for a new connection, of the certificates as they are now.

        Returns:
            The same object until a file changes.
        """
        # One builds; others go on with the old one meanwhile.
        if self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._lock.release()
                log_waiting()
        return self._context

    def _refresh(self) -> None:
        options = self._source()
        if options is not self._options:
            self._options, self._watch = options, _watch(options)
        elif not self._watch.changed():
            return
        try:
            self._context = create_context(options)
        except ConfigError as error:
            warn_once(("tls", error.problem), "The metrics endpoint keeps its last good certificate: %s", error)


def create_context(options: TlsOptions) -> ssl.SSLContext:
    """Build the TLS context of a server.

    Args:
        options: The settings.

    Returns:
        A context for TLS 1.2 and later.

    Raises:
        ConfigError: A file is missing or wrong, or settings contradict each other.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_versions(context, options)
    # A client that renegotiates again and again would make the server do all the work.
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not options.prefer_server_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    if options.ciphers:
        _set_ciphers(context, options.ciphers)
    _load_certificate(context, options)
    _load_client_ca(context, options)
    return context


def peer_names(certificate: Mapping[str, Any] | None) -> frozenset[str]:
    """List who a client is by its certificate.

    Args:
        certificate: A verified certificate as `ssl.SSLSocket.getpeercert` gives it.

    Returns:
        Its subject alternative names: DNS names, IP addresses, URIs and e-mail addresses. The common name
        is none of them.
    """
    names: tuple[tuple[str, str], ...] = (certificate or {}).get("subjectAltName", ())
    return frozenset(canonical_name(name) for kind, name in names if kind in _SAN_KINDS)


def canonical_name(name: str) -> str:
    """Write a subject alternative name the one way it is compared in.

    Args:
        name: A DNS name, IP address, URI or e-mail address.

    Returns:
        An IP address in its shortest form, anything else as it is.
    """
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name


def _watch(options: TlsOptions) -> FileWatch:
    return FileWatch(path for path in (options.cert_file, options.key_file, options.client_ca_file) if path)


def _set_versions(context: ssl.SSLContext, options: TlsOptions) -> None:
    for name, value in (("min_version", options.min_version), ("max_version", options.max_version)):
        if value not in _VERSIONS:
            raise ConfigError(
                f"{name} of the metrics endpoint's TLS is {value!r}",
                f"Set it to one of: {', '.join(_VERSIONS)}; older versions are broken",
            )
    lowest, highest = _VERSIONS[options.min_version], _VERSIONS[options.max_version]
    if lowest > highest:
        raise ConfigError(
            f"min_version {options.min_version} is above max_version {options.max_version}", "Swap the two"
        )
    context.minimum_version, context.maximum_version = lowest, highest


def _set_ciphers(context: ssl.SSLContext, ciphers: tuple[str, ...]) -> None:
    try:
        context.set_ciphers(":".join(ciphers))
    except ssl.SSLError as error:
        raise ConfigError(
            f"OpenSSL knows none of the ciphers {', '.join(ciphers)}",
            "Name ciphers that `openssl ciphers -tls1_2` lists, or leave the setting out",
        ) from error


def _load_certificate(context: ssl.SSLContext, options: TlsOptions) -> None:
    cert = _pem("cert", options.cert_file, options.cert, "CERTIFICATE-----")
    key = _pem("key", options.key_file, options.key, "PRIVATE KEY-----")
    if "ENCRYPTED" in key:
        raise ConfigError(
            f"The key {_named(options.key_file)} has a passphrase",
            "Write it without one: openssl pkey -in KEY -out NEW, readable for this process only",
        )
    try:
        with _as_file(options.cert_file, cert) as cert_path, _as_file(options.key_file, key) as key_path:
            # With an empty answer OpenSSL fails; with none it would ask for a passphrase on the terminal.
            context.load_cert_chain(cert_path, key_path, password="")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigError(
            f"The certificate {_named(options.cert_file)} and the key {_named(options.key_file)} cannot be used "
            f"together ({_reason(error)})",
            "Give a PEM certificate and the PEM key that was made with it",
        ) from None  # the original may quote the files


def _load_client_ca(context: ssl.SSLContext, options: TlsOptions) -> None:
    verification = options.verification
    if verification not in _VERIFY:
        raise ConfigError(f"client_auth is {verification!r}", f"Set it to one of: {', '.join(_VERIFY)}")
    if not options.client_ca_file and not options.client_ca:
        if verification != "none":
            raise ConfigError(
                f"client_auth={verification!r} has no CA to check clients' certificates with",
                "Name the file with its certificate in tls_client_ca (client_ca_file in a web.config.yml)",
            )
        return
    if verification == "none":
        raise ConfigError(
            "There is a client CA, but clients are not asked for certificates",
            "Set client_auth to 'required', or leave the client CA out",
        )
    text = _pem("client_ca", options.client_ca_file, options.client_ca, "CERTIFICATE-----")
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            f"The client CA {_named(options.client_ca_file)} cannot be used ({_reason(error)})",
            "Give the CA's certificates as PEM, one below the other",
        ) from None
    context.verify_mode = _VERIFY[verification]


def _pem(name: str, file: str | None, text: str | None, kind: str) -> str:
    if file and text:
        raise ConfigError(f"{name} and {name}_file are both set", "Set one of them")
    if not file and not text:
        raise ConfigError(f"TLS lacks {name}_file", f"Name the file in {name}_file, as PEM")
    if file:
        try:
            text = Path(file).read_text("ascii", errors="replace")
        except OSError as error:
            raise ConfigError(
                f"The file {file!r} of {name}_file cannot be read ({error.strerror})",
                "Correct the path, or let this process read it",
            ) from error
    if kind not in (text or ""):
        raise ConfigError(f"{_named(file)} of {name}_file holds no PEM {kind.rstrip('-')}", "Give a PEM file of it")
    return text or ""


@contextmanager
def _as_file(file: str | None, text: str) -> Generator[str, None, None]:
    # The ssl module takes certificate and key from files only. This one is its owner's alone, and gone at once.
    if file:
        yield file
        return
    handle, path = tempfile.mkstemp(prefix="otelbridge-", suffix=".pem")
    try:
        with os.fdopen(handle, "w", encoding="ascii", errors="replace") as out:
            out.write(text)
        yield path
    finally:
        Path(path).unlink(missing_ok=True)


def _named(file: str | None) -> str:
    return repr(file) if file else "(given as text)"


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
