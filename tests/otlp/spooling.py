"""Starts programs that record, kills them, and reads what arrived."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.otlp.faults import Receiver

_ROOT = Path(__file__).parents[2]


class Launcher:
    """The process that programs are forked off from; see `tests.otlp.spooled`."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        environ = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL", "XDG_RUNTIME"))}
        command = [sys.executable, "-m", "tests.otlp.spooled", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environ, cwd=_ROOT)

    def launch(self, settings: dict[str, Any]) -> Started:
        """Start a program without waiting for it."""
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        socket.send_fds(self._control, [json.dumps(settings).encode()], [read_in, write_out])
        os.close(read_in)
        os.close(write_out)
        return Started(int(self._control.recv(100)), write_in, read_out)

    def close(self) -> None:
        self._control.close()
        assert self._process.wait(30) == 0


class Started:
    """A program of `tests.otlp.spooled`; methods of that are called by name."""

    def __init__(self, pid: int, commands: int, answers: int) -> None:
        self.pid = pid
        self._commands = os.fdopen(commands, "wb")
        self._answers = os.fdopen(answers, "rb")

    def ready(self) -> Started:
        """Wait until it has started."""
        self._answer()
        return self

    def __call__(self, command: str, *arguments: Any, **keywords: Any) -> Any:
        self._commands.write(json.dumps([command, arguments, keywords]).encode() + b"\n")
        self._commands.flush()
        return self._answer()

    def kill(self) -> None:
        """End it as the kernel does when memory is short."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.end()

    def end(self) -> None:
        """Let it end as programs do."""
        self._commands.close()
        eventually(lambda: not alive(self.pid))
        self._answers.close()

    def _answer(self) -> Any:
        line = self._answers.readline()
        assert line, "the program has ended"
        return json.loads(line)


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Programs:
    """The programs of one test: all in one run directory, and all gone at its end."""

    def __init__(self, launcher: Launcher, directory: Path) -> None:
        self._launcher = launcher
        self._directory = directory
        self._started: list[Started] = []

    def start(self, *urls: str, **settings: Any) -> Started:
        return self.begin(*urls, **settings).ready()

    def begin(self, *urls: str, group: str = "", **settings: Any) -> Started:
        """Start one without waiting for it."""
        environ = {"OTELBRIDGE_RUN_DIRECTORY": str(self._directory)}
        if group:
            environ["OTELBRIDGE_GROUP"] = group
        started = self._launcher.launch({"urls": urls, "environ": environ, **settings})
        self._started.append(started)
        return started

    @property
    def groups(self) -> list[Path]:
        """The directories of groups there are."""
        return sorted(path for path in self._directory.glob("otelbridge-*/*") if path.is_dir())

    def close(self) -> None:
        for started in self._started:
            started.kill()


@dataclass(frozen=True)
class Point:
    """One data point that arrived."""

    instance: str
    name: str
    attributes: tuple[tuple[str, str], ...]
    value: Any
    start: int
    time: int
    delta: bool
    bounded: bool
    """Whether it has a minimum."""


def points(receiver: Receiver, name: str | None = None) -> list[Point]:
    """All points that arrived, in order."""
    found = [point for exchange in list(receiver.exchanges) for point in parsed(exchange.body)]
    return [point for point in found if name is None or point.name == name]


def parsed(body: bytes) -> Iterator[Point]:
    for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
        resource = {each.key: each.value.string_value for each in of_resource.resource.attributes}
        for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
            data = getattr(metric, metric.WhichOneof("data"))
            for point in data.data_points:
                yield Point(
                    instance=resource["service.instance.id"],
                    name=metric.name,
                    attributes=tuple(sorted((each.key, each.value.string_value) for each in point.attributes)),
                    value=_value(point),
                    start=point.start_time_unix_nano,
                    time=point.time_unix_nano,
                    delta=getattr(data, "aggregation_temporality", 0) == 1,
                    bounded=hasattr(point, "min") and point.HasField("min"),
                )


def _value(point: Any) -> Any:
    if hasattr(point, "zero_count"):
        return (point.count, point.sum)
    if hasattr(point, "bucket_counts"):
        return (point.count, point.sum, tuple(point.bucket_counts))
    return getattr(point, point.WhichOneof("value"))


def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until something is so, and give it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(0.02)
    return found
