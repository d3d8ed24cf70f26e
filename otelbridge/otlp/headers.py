"""The request headers of a destination: from its settings, from its URL, and from a file that may change."""

from __future__ import annotations

import base64
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from otelbridge.config import checks, pairs
from otelbridge.diagnostics import warn
from otelbridge.errors import ConfigError

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

_MAX_FILE = 64 * 1024


class RequestHeaders:
    """What a destination wants sent along with every request.

    A user in the URL becomes basic authentication, as HTTP clients do. Headers of the file win over those
    of the settings, and these over the user of the URL. The file is read before every request, so that
    credentials can be exchanged while the process runs. What is wrong with it then costs a warning, and the
    headers that were read last stay in use.

    Args:
        url: The endpoint.
        headers: Headers of the settings, values by name.
        file: Path of a file in the form of ``OTEL_EXPORTER_OTLP_HEADERS``; line breaks count as commas.
        forbidden: Fits names, in lower case, that the transport sets itself or cannot send.

    Raises:
        ConfigError: A header cannot be sent, or the file cannot be read. No error shows a value.
    """

    def __init__(self, url: str, headers: Mapping[str, str], file: str | None, *, forbidden: re.Pattern[str]) -> None:
        self._forbidden = forbidden
        said = [checks.header("OTLP headers", name, value) for name, value in headers.items()]
        user = basic_credentials(url)
        self._fixed = {**({"authorization": user} if user else {}), **self._allowed("OTLP headers", dict(said))}
        self._file = file
        self._from_file = {} if file is None else self._read(file)
        self._file_is_sound = True

    def __repr__(self) -> str:
        return f"RequestHeaders({sorted({**self._fixed, **self._from_file})}, file={self._file!r})"

    def current(self) -> dict[str, str]:
        """Give the headers to send now.

        Returns:
            Values by name in lower case.
        """
        if self._file is not None:
            self._read_again(self._file)
        return {**self._fixed, **self._from_file}

    def _read_again(self, file: str) -> None:
        try:
            self._from_file = self._read(file)
        except ConfigError as error:
            if self._file_is_sound:
                warn("%s. Until then the headers that were read last are sent.", str(error).rstrip("."))
            self._file_is_sound = False
        else:
            self._file_is_sound = True

    def _read(self, file: str) -> dict[str, str]:
        where = f"The OTLP headers file {file!r}"
        cure = "Give the path of a readable text file with name1=value1,name2=value2"
        try:
            content = _content(Path(file))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigError(f"{where} cannot be read ({reason})", cure) from None
        if content is None:
            raise ConfigError(f"{where} is no regular file", cure)
        if len(content) > _MAX_FILE:
            raise ConfigError(f"{where} is larger than {_MAX_FILE} bytes", cure)
        try:
            text = content.decode()
        except UnicodeDecodeError:
            # Without its cause, which holds the content.
            raise ConfigError(f"{where} is no UTF-8 text", cure) from None
        return self._allowed(where, pairs.headers(where, ",".join(text.splitlines())))

    def _allowed(self, where: str, headers: Mapping[str, str]) -> dict[str, str]:
        for name in headers:
            if self._forbidden.fullmatch(name):
                raise ConfigError(
                    f"{where} has the header {name!r}, which is not for users to set here", "Leave it out"
                )
        return dict(headers)


def _content(file: Path) -> bytes | None:
    # A pipe would be empty at the second read, and a device might never end.
    if not stat.S_ISREG(file.stat().st_mode):
        return None
    with file.open("rb") as stream:
        return stream.read(_MAX_FILE + 1)


def basic_credentials(url: str) -> str | None:
    """Make the value of an authorization header of the user in a URL, if there is one. It is secret."""
    parts = urlsplit(url)
    if parts.username is None:
        return None
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
