"""A Collector and a Prometheus beside each other: checked, started, awaited, stopped in reverse."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from otelbridge.stack.cache import data_file
from otelbridge.stack.errors import ComponentFailedError, StackError, ToolMissingError
from otelbridge.stack.locate import locate, silent
from otelbridge.stack.options import ScrapeTarget, StackOptions
from otelbridge.stack.ports import LOOPBACK
from otelbridge.stack.processes import Component, read, start, stop, wait_ready
from otelbridge.stack.prometheus_config import command, render

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from typing_extensions import Self

    from otelbridge.stack.tools import Tool

_COLLECTOR_JOB = "otelcol"
_SELF_JOB = "otelcol-self"
_SECONDS_TO_VALIDATE = 60


class Stack:
    """A running stack. Use it as a context manager, or call `up` and `down`.

    Args:
        options: How it is to be.
        say: Is told what happens.
    """

    def __init__(self, options: StackOptions, say: Callable[[str], None] = silent) -> None:
        self.options = options
        self.run_dir = options.run_dir.resolve()
        self._say = say
        self._ports = options.ports

    @property
    def otlp_http_endpoint(self) -> str:
        """Base URL for OTLP over HTTP, for instance ``http://127.0.0.1:4318``."""
        return self._url(self._ports.otlp_http)

    @property
    def otlp_grpc_endpoint(self) -> str:
        """URL for OTLP over gRPC, for instance ``http://127.0.0.1:4317``."""
        return self._url(self._ports.otlp_grpc)

    @property
    def collector_metrics_url(self) -> str:
        """Where the Collector exposes what it received."""
        return self._url(self._ports.collector_metrics, "/metrics")

    @property
    def collector_self_metrics_url(self) -> str:
        """Where the Collector exposes what it says of itself."""
        return self._url(self._ports.collector_self, "/metrics")

    @property
    def prometheus_url(self) -> str:
        """Base URL of Prometheus."""
        return self._url(self._ports.prometheus)

    @property
    def components(self) -> list[Component]:
        """What was started in the run directory, in that order."""
        return read(self.run_dir)

    def up(self) -> Self:
        """Find the tools, check their configurations, start everything and wait until it is ready.

        Returns:
            This stack.

        Raises:
            StackError: Something already runs in the run directory.
            ToolMissingError: A tool could not be had.
            ComponentFailedError: A component did not come up; whatever was started has been stopped again.
        """
        if running := [component.name for component in self.components if component.alive]:
            raise StackError(
                f"{' and '.join(running)} already run in {self.run_dir}",
                "Stop them with `otelbridge stack down`, or choose another --run-dir",
            )
        # All tools first: a missing one is told before anything runs.
        collector = self._locate("otelcol") if self.options.otelcol else None
        prometheus = self._locate("prometheus") if self.options.prometheus else None
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._ports = self.options.ports.settled()
        try:
            if collector:
                self._start_collector(collector)
            if prometheus:
                self._start_prometheus(prometheus)
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Stop what runs, the newest first. Does nothing where nothing runs."""
        for component in reversed(self.components):
            self._say(f"{component.name} {stop(component, self.run_dir)}")

    def __enter__(self) -> Self:
        """Start the stack."""
        return self.up()

    def __exit__(self, *_: object) -> None:
        """Stop the stack."""
        self.down()

    def _locate(self, name: str) -> Tool:
        options = self.options
        minimum = options.minimum_prometheus if name == "prometheus" else None
        return locate(
            name, minimum=minimum, may_download=options.may_download, may_build=options.may_build, say=self._say
        )

    def _start_collector(self, tool: Tool) -> None:
        config = self.options.collector_config
        if config is None:
            config = self.run_dir / "collector-config.yaml"
            config.write_bytes(data_file("collector-config.yaml"))
        config = config.resolve()
        environ = self._collector_environ()
        self._validate("otelcol", [str(tool.path), "validate", f"--config={config}"], environ)
        urls = {
            "otlp-http": self.otlp_http_endpoint,
            "otlp-grpc": self.otlp_grpc_endpoint,
            "metrics": self.collector_metrics_url,
            "self-metrics": self.collector_self_metrics_url,
            "health": self._url(self._ports.collector_health, "/"),
        }
        self._start("otelcol", [str(tool.path), f"--config={config}"], environ, urls, urls["health"])

    def _start_prometheus(self, tool: Tool) -> None:
        config = self.run_dir / "prometheus.yml"
        text = render(
            tool.version,
            self._targets(),
            interval=self.options.scrape_interval,
            rule_files=self.options.rule_files,
            honoured=frozenset({_COLLECTOR_JOB}),
        )
        config.write_text(text, encoding="utf-8")
        self._check_prometheus_config(config)
        line = command(
            tool.path, tool.version, config=config, data=self.run_dir / "prometheus-data", port=self._ports.prometheus
        )
        urls = {"web": self.prometheus_url}
        self._start("prometheus", line, dict(os.environ), urls, f"{self.prometheus_url}/-/ready")

    def _check_prometheus_config(self, config: Path) -> None:
        try:
            promtool = locate("promtool", may_download=False, may_build=False)
        except ToolMissingError:
            # Prometheus checks its configuration itself as it starts; promtool only says it sooner.
            self._say("promtool was not found, so Prometheus itself checks its configuration")
            return
        self._validate("prometheus", [str(promtool.path), "check", "config", str(config)], dict(os.environ))

    def _targets(self) -> list[ScrapeTarget]:
        own = [
            ScrapeTarget(_COLLECTOR_JOB, f"{LOOPBACK}:{self._ports.collector_metrics}"),
            ScrapeTarget(_SELF_JOB, f"{LOOPBACK}:{self._ports.collector_self}"),
        ]
        return [*(own if self.options.otelcol else []), *self.options.scrape]

    def _collector_environ(self) -> dict[str, str]:
        ports = self._ports
        return {
            **os.environ,
            "OTELBRIDGE_STORAGE": str(self.run_dir / "otelcol-storage"),
            **self.options.collector_environ,
            "OTELBRIDGE_BIND": LOOPBACK,
            "OTELBRIDGE_SELF_HOST": LOOPBACK,
            "OTELBRIDGE_OTLP_GRPC_PORT": str(ports.otlp_grpc),
            "OTELBRIDGE_OTLP_HTTP_PORT": str(ports.otlp_http),
            "OTELBRIDGE_PROMETHEUS_PORT": str(ports.collector_metrics),
            "OTELBRIDGE_SELF_PORT": str(ports.collector_self),
            "OTELBRIDGE_HEALTH_PORT": str(ports.collector_health),
        }

    def _validate(self, name: str, line: list[str], environ: Mapping[str, str]) -> None:
        done = subprocess.run(
            line,
            cwd=self.run_dir,
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=_SECONDS_TO_VALIDATE,
            check=False,
        )
        if done.returncode != 0:
            raise ComponentFailedError(
                f"{name} refuses its configuration:\n{(done.stdout + done.stderr).strip()}",
                f"Correct it, then try again: {' '.join(line)}",
            )

    def _start(
        self, name: str, line: list[str], environ: Mapping[str, str], urls: Mapping[str, str], health: str
    ) -> None:
        component = start(name, line, run_dir=self.run_dir, environ=environ, urls=urls)
        wait_ready(component, health, self.run_dir, self.options.start_seconds)
        for what, url in urls.items():
            self._say(f"{name} {what}: {url}")

    def _url(self, port: int, path: str = "") -> str:
        return f"http://{LOOPBACK}:{port}{path}"
