"""Certificate and key files, read early so that a wrong path is an error at the start."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    from otelbridge.config.options import Otlp

_FILES = ("certificate", "client_key", "client_certificate")


def read_credentials(otlp: Otlp) -> dict[str, bytes | None]:
    """Read the certificate and key files of a destination.

    Args:
        otlp: The destination.

    Returns:
        The contents of ``certificate``, ``client_key`` and ``client_certificate``, None where no file
        is set.

    Raises:
        ConfigError: A file cannot be read. The message names the file, never its content.
    """
    return {setting: _read(setting, getattr(otlp, setting)) for setting in _FILES}


def _read(setting: str, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The OTLP {setting} file {path!r} cannot be read ({error.strerror or error})",
            "Give the path of a readable PEM file, or leave the setting out",
        ) from error
