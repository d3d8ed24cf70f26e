"""Ports on the loopback interface: the ones a person expects where they are free, else any."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import astuple, dataclass, fields

from otelbridge.errors import ConfigError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Ports:
    """A port for each thing that listens; 0 means any free one."""

    otlp_grpc: int = 0
    """OTLP over gRPC into the Collector."""

    otlp_http: int = 0
    """OTLP over HTTP into the Collector."""

    collector_metrics: int = 0
    """The Collector's Prometheus exporter."""

    collector_self: int = 0
    """What the Collector says of itself."""

    collector_health: int = 0
    """The Collector's health check."""

    prometheus: int = 0
    """Prometheus."""

    @classmethod
    def usual(cls) -> Ports:
        """The ports that documentation and defaults name, each only if it is free now."""
        wanted = cls(
            otlp_grpc=4317,
            otlp_http=4318,
            collector_metrics=8889,
            collector_self=8888,
            collector_health=13133,
            prometheus=9090,
        )
        return cls(**{f.name: port if is_free(port := getattr(wanted, f.name)) else 0 for f in fields(cls)})

    def settled(self) -> Ports:
        """Put a free port where there is a 0.

        Returns:
            Ports without a 0. Nothing holds them, so another program may still take one.

        Raises:
            ConfigError: A port that was asked for is taken.
        """
        if taken := [port for port in astuple(self) if port and not is_free(port)]:
            raise ConfigError(
                f"Port {', '.join(map(str, taken))} of {LOOPBACK} is taken",
                "End what listens there, or choose another port (0 takes a free one)",
            )
        with contextlib.ExitStack() as held:
            # All are held at once, or the same port could come up twice.
            numbers = [port or _bound(held) for port in astuple(self)]
        return Ports(**{f.name: number for f, number in zip(fields(self), numbers, strict=True)})


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a port of the loopback interface.

    Args:
        port: The port.

    Returns:
        Whether it can be bound.
    """
    with socket.socket() as probe:
        # As servers do: a connection in TIME_WAIT does not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _bound(held: contextlib.ExitStack) -> int:
    probe = held.enter_context(socket.socket())
    probe.bind((LOOPBACK, 0))
    return int(probe.getsockname()[1])
