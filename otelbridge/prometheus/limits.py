"""What clients of the own server may take."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST_CONNECTIONS = 1024
_FEWEST_CONNECTIONS = 16
# Windows has no such limit, but a selector built on select() takes 512 there.
_CONNECTIONS_WITHOUT_LIMIT = 400


def _affordable_connections() -> int:
    try:
        import resource
    except ImportError:
        return _CONNECTIONS_WITHOUT_LIMIT
    # The application is to have the most of the files.
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_CONNECTIONS if allowed == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, allowed // 4)
    return max(_FEWEST_CONNECTIONS, most)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What clients of the own server may take."""

    workers: int = 8
    """Threads that work on connections which are ready; those that are not hold none."""

    connections: int = field(default_factory=_affordable_connections)
    """Connections at a time. Beyond it the one that has waited longest is closed. By default a quarter of
    the files the process may open, and at most 1024."""

    head_seconds: float = 5.0
    """Seconds for TLS handshake and head of the first request together; for the head of a later one."""

    head_bytes: int = 16384
    """Longest head of a request."""

    answer_seconds: float = 60.0
    """Seconds until an answer is there; then it is 503."""

    write_seconds: float = 10.0
    """Seconds in which the client must take the answer."""

    idle_seconds: float = 120.0
    """Seconds for which a connection waits for its next request."""

    linger_seconds: float = 2.0
    """Seconds for which the client may go on sending after the last answer, before the connection closes."""
