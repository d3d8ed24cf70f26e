"""Who is trusted, and who we say we are, on the way to a receiver."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from otelbridge.errors import ConfigError
from otelbridge.otlp.credentials import read_credentials

if TYPE_CHECKING:
    from otelbridge.config.options import Otlp


class Tls:
    """The TLS settings of a destination, with files that may be renewed while the process runs.

    Args:
        otlp: The destination.

    Raises:
        ConfigError: A certificate or key file cannot be read or used.
    """

    def __init__(self, otlp: Otlp) -> None:
        self._otlp = otlp
        self._last = create_context(otlp)

    def context(self) -> ssl.SSLContext:
        """Make the context for a new connection from the files as they are now.

        Returns:
            It; or the last one that worked, while the files are being exchanged.
        """
        try:
            self._last = create_context(self._otlp)
        except ConfigError:
            return self._last
        return self._last


def create_context(otlp: Otlp) -> ssl.SSLContext:
    """Make a context that checks the receiver's certificate and host name.

    Args:
        otlp: The destination. Its ``certificate`` takes the place of the system's authorities.

    Returns:
        The context, with the client certificate if there is one.

    Raises:
        ConfigError: A certificate or key file cannot be read or used. The message names the file, never
            its content.
    """
    read_credentials(otlp)
    try:
        context = ssl.create_default_context(cafile=otlp.certificate)
    except ssl.SSLError as error:
        raise ConfigError(
            f"The OTLP certificate file {otlp.certificate!r} holds no certificate ({error.reason})",
            "Give the path of a PEM file with the certificates of the authorities to trust",
        ) from None
    if otlp.client_certificate is not None:
        _load_identity(context, otlp.client_certificate, otlp.client_key)
    elif otlp.client_key is not None:
        raise ConfigError(
            f"The OTLP client_key file {otlp.client_key!r} stands without a client_certificate",
            "Give the path of its certificate as client_certificate, or leave the key out",
        )
    return context


def _load_identity(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    try:
        # With a password, even an empty one, an encrypted key is an error and no question on the terminal.
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = getattr(error, "reason", None) or "the key is encrypted"
        raise ConfigError(
            f"The OTLP client_certificate file {certificate!r} and client_key file {key!r} cannot be used ({reason})",
            "Give PEM files with a certificate and its own unencrypted key; without client_key the key is looked "
            "for in the certificate file",
        ) from None
