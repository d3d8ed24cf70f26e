"""What a stack is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otelbridge.errors import ConfigError
from otelbridge.stack.ports import Ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HIGHEST_PORT = 65_535


@dataclass(frozen=True)
class ScrapeTarget:
    """Something that Prometheus scrapes."""

    job: str
    """The label ``job`` of its series."""

    address: str
    """``HOST:PORT``."""

    path: str = "/metrics"
    """Path of the endpoint."""

    @classmethod
    def parse(cls, text: str) -> ScrapeTarget:
        """Read ``[JOB=]HOST:PORT[/path]``.

        Args:
            text: What the user wrote. The job is ``app`` unless it is said.

        Returns:
            The target.

        Raises:
            ConfigError: It is not of that form.
        """
        named, equals, rest = text.partition("=")
        job, location = (named, rest) if equals else ("app", text)
        address, slash, path = location.partition("/")
        host, _, port = address.rpartition(":")
        if not (job and host and port.isascii() and port.isdigit() and 0 < int(port) <= _HIGHEST_PORT):
            raise ConfigError(
                f"{text!r} is no scrape target", "Write it as [JOB=]HOST:PORT[/path], for instance shop=127.0.0.1:8000"
            )
        return cls(job, address, f"/{path}" if slash and path else "/metrics")


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """How a stack is to be."""

    run_dir: Path
    """Where configurations, data, logs and pid files go. Made if it is missing."""

    otelcol: bool = True
    """Whether there is a Collector."""

    prometheus: bool = True
    """Whether there is a Prometheus."""

    scrape: tuple[ScrapeTarget, ...] = ()
    """What Prometheus scrapes besides the Collector and itself."""

    scrape_interval: float = 5.0
    """Seconds between scrapes and between evaluations of rules."""

    rule_files: tuple[Path, ...] = ()
    """Rule files for Prometheus."""

    collector_config: Path | None = None
    """A configuration for the Collector. Default: the one of otelbridge (`collector-config.yaml`)."""

    collector_environ: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables for the Collector's configuration besides addresses and ports, which the stack sets."""

    ports: Ports = field(default_factory=Ports)
    """Where everything listens, on the loopback interface; 0 takes a free port."""

    start_seconds: float = 30.0
    """How long each component may take to become ready."""

    may_download: bool = True
    """Whether a missing tool may be downloaded."""

    may_build: bool = True
    """Whether a missing tool may be built with Go."""

    minimum_prometheus: str | None = None
    """Oldest Prometheus that will do. Default: what the stack itself needs."""
