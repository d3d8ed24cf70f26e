"""Where a receiver listens and which proxy is on the way there, as settings write it. Errors show no credentials."""

from __future__ import annotations

import os
import re
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from otelbridge.errors import ConfigError

_HIDDEN = "(not shown, it holds credentials)"
# gRPC Name Resolution: unix:path, unix:///absolute_path.
_UNIX = re.compile(r"unix:(?://)?(?P<path>/(?!/)[^?#]*)")
# The host of such a URL is the path of the socket, percent-encoded; the path is that of the request.
_HTTP_UNIX = re.compile(r"http\+unix://(?:[^@/?#]*@)?(?P<path>%2[Ff][^@/?#]+)(?:[/?].*)?")
_BARE = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}")
_UNSHOWN = re.compile(r"[\s\x00-\x1f\x7f]")
# sockaddr_un of Linux, with the zero at its end; other systems have somewhat less.
_LONGEST_SOCKET_PATH = 107
_NO_PROXY = ("", "none")


def endpoint(where: str, value: object) -> str:
    """Check an endpoint in any of its forms. Errors show neither its user nor its query.

    The forms are ``http://host:port/path`` and ``https://...``, ``unix:/path/of/socket`` (also ``unix:///...``),
    ``http+unix://%2Fpath%2Fof%2Fsocket/path``, and ``host:port`` for gRPC. Whether a form fits the protocol is not
    asked here.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{where} is {type(value).__name__}, not a URL", "Give a text such as http://localhost:4318")
    path = socket_path(value)
    if path is not None and len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ConfigError(
            f"{where} is {shown(value)!r}, whose path is too long for a socket",
            f"Give a socket whose path has at most {_LONGEST_SOCKET_PATH} bytes",
        )
    if _UNSHOWN.search(value + (path or "")) or not (path or is_bare(value) or _is_web(value, ("http", "https"))):
        raise ConfigError(
            f"{where} is {shown(value)!r}, which is no http or https URL with a host",
            "Give scheme, host and port, for instance http://localhost:4318, or a socket, as in unix:/run/otlp.sock",
        )
    return value


def socket_path(url: str) -> str | None:
    """Give the path of the Unix domain socket that an endpoint names, if it names one."""
    if found := _UNIX.fullmatch(url):
        return found["path"]
    found = _HTTP_UNIX.fullmatch(url)
    return None if found is None else unquote(found["path"])


def is_bare(url: str) -> bool:
    """Whether an endpoint is ``host:port`` without a scheme, as gRPC knows it."""
    return _BARE.fullmatch(url) is not None and 0 < int(url.rpartition(":")[2]) < 1 << 16


def for_http(url: str, path: str) -> str:
    """Bring an endpoint into a form that has a path, as HTTP needs one.

    Args:
        url: An endpoint.
        path: The path of the signal, for ``unix:...``, which has no place for one.

    Returns:
        A URL of HTTP.

    Raises:
        ConfigError: It is ``host:port`` without a scheme.
    """
    if is_bare(url):
        raise ConfigError(
            f"The OTLP endpoint {url!r} has no scheme, which gRPC alone can do without",
            f"Give http://{url} or https://{url}, or choose gRPC as the protocol",
        )
    found = _UNIX.fullmatch(url)
    return url if found is None else f"http+unix://{quote(found['path'], safe='')}{path}"


def proxy(where: str, value: object) -> str | Literal[False]:
    """Check the URL of an HTTP proxy. Errors never show its user.

    Returns:
        The URL, with ``http://`` where there was no scheme; False for none, which can also be said as an empty text
        or ``none``.
    """
    if value is False or value in _NO_PROXY:
        return False
    if not isinstance(value, str):
        raise ConfigError(f"{where} is {type(value).__name__}, not a URL", "Give a URL, or False for no proxy")
    url = value if "://" in value else f"http://{value}"
    if _UNSHOWN.search(url) or not _is_web(url, ("http",)):
        raise ConfigError(
            f"{where} is {shown(url)!r}, which is no URL of an HTTP proxy",
            "Give http://host:port, with user:password@ before the host where the proxy asks for them; proxies that "
            "are spoken to over TLS or SOCKS are not supported",
        )
    return url


def authority(host: str, port: int | None) -> str:
    """Write host and port as a URL has them, IPv6 in brackets; without a port where there is none."""
    named = f"[{host}]" if ":" in host else host
    return named if port is None else f"{named}:{port}"


def shown(url: str) -> str:
    """Give what may be shown of a URL: no user, no password, no query."""
    if "@" not in url:
        return re.split(r"[?#]", url)[0]
    try:
        parts = urlsplit(url)
        _ = parts.port  # reading it is what checks it
    except ValueError:
        return _HIDDEN
    if parts.netloc.count("@") != 1 or "@" in parts.path or not parts.hostname:
        return _HIDDEN
    return f"{parts.scheme}://{parts.netloc.partition('@')[2]}{parts.path}"


def _is_web(url: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
