"""Everything at once: a collector, a Prometheus, the shop and its customers, and the numbers that come of it.

python -m examples.shop.demo
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from examples.shop.load import positive
from examples.shop.numbers import ROWS, FromPage, FromPrometheus, missing_domains, missing_metrics, show, table
from examples.shop.processes import Child, ChildEndedError
from otelbridge.errors import OtelbridgeError
from otelbridge.stack import Ports, ScrapeTarget, Stack, StackOptions, locate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType

    from examples.shop.numbers import Numbers

_HOST = "127.0.0.1"
_ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus" / "otelbridge-alerts.yaml"
_PUSH_SECONDS = 2
_SCRAPE_SECONDS = 1
_SECONDS_BEFORE_NUMBERS = 15
_SECONDS_FOR_ALL_DOMAINS = 60
_SECONDS_BETWEEN_LINES = 10
_SHORT = ("HTTP requests/s", "HTTP latency, p95", "agent output tokens", "tasks run", "orders paid", "revenue")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: Command line; by default that of the process.

    Returns:
        Exit code: 0 when all went well, 1 when something failed or a domain is missing, 2 for a wrong option.
    """
    options = _parse(arguments)
    if options.port and not _is_free(options.port):
        print(f"error: port {options.port} is taken. Choose another one, or leave --port out.", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    # SIGINT too: a shell starts what it puts in the background with Ctrl-C switched off.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with ExitStack() as ends:
        run_dir = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="otelbridge-demo-")))
        try:
            return Demo(options, run_dir, ends).run()
        except KeyboardInterrupt:
            print()
            return 1 if options.once else 0
        except ChildEndedError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        finally:
            # What follows ends the children; a second Ctrl-C must not leave one behind.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            print("== ending: customers, shop, components")


class Demo:
    """One run of the demo.

    Args:
        options: The command line.
        run_dir: Where files go.
        ends: Takes what is to be ended, in reverse order.
    """

    def __init__(self, options: argparse.Namespace, run_dir: Path, ends: ExitStack) -> None:
        self._options = options
        self._run_dir = run_dir
        self._ends = ends
        self._address = f"{_HOST}:{options.port or _free_port()}"
        self._children: list[Child] = []

    def run(self) -> int:
        """Start everything, show the numbers, go on until it is enough."""
        stack = None if self._options.no_stack else self._start_stack()
        self._start_shop(stack)
        self._start_customers()
        columns = self._columns(stack)
        missing = self._show_first_numbers(columns)
        if self._options.once:
            return 1 if missing else 0
        self._show_urls(stack)
        self._go_on(columns)
        return 0

    def _start_stack(self) -> Stack | None:
        _step("looking for a collector and a Prometheus; building them takes some minutes, once")
        found = {name for name in ("otelcol", "prometheus") if _have(name)}
        if not found:
            return None
        options = StackOptions(
            run_dir=self._run_dir / "stack",
            otelcol="otelcol" in found,
            prometheus="prometheus" in found,
            scrape=(ScrapeTarget("shop", self._address),),
            scrape_interval=_SCRAPE_SECONDS,
            rule_files=(_ALERTS,),
            ports=Ports() if self._options.once else Ports.usual(),
        )
        _step(f"starting {' and '.join(sorted(found))}")
        try:
            return self._ends.enter_context(Stack(options))
        except OtelbridgeError as error:
            _say(f"going on without them: {error}")
            return None

    def _start_shop(self, stack: Stack | None) -> None:
        _step(f"starting the shop on http://{self._address}")
        environ = {
            # What an earlier demo had counted when it was killed would come through the collector, beside this one's.
            "OTELBRIDGE_RUN_DIRECTORY": self._memory(),
            **os.environ,
            "SHOP_DATABASE_URL": os.environ.get("SHOP_DATABASE_URL")
            or f"sqlite+aiosqlite:///{self._run_dir / 'shop.db'}",
        }
        if stack is not None and stack.options.otelcol:
            environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = stack.otlp_http_endpoint
            environ["OTEL_METRIC_EXPORT_INTERVAL"] = str(_PUSH_SECONDS * 1000)
        host, _, port = self._address.rpartition(":")
        uvicorn = ["uvicorn", "--factory", "examples.shop.app:create_app", "--host", host, "--port", port]
        quiet = ["--log-level", "warning", "--timeout-graceful-shutdown", "3"]
        shop = self._start([*uvicorn, *quiet], environ, "shop")
        shop.wait_until_ready(f"http://{self._address}/metrics")

    def _memory(self) -> str:
        memory = Path("/dev/shm")  # noqa: S108  # a directory of its own in it
        found = tempfile.TemporaryDirectory(prefix="otelbridge-demo-", dir=memory if memory.is_dir() else None)
        return self._ends.enter_context(found)

    def _start_customers(self) -> None:
        _step(f"sending customers, {self._options.rate:g} a second")
        load = ["examples.shop.load", "--url", f"http://{self._address}", "--rate", f"{self._options.rate:g}"]
        self._start(load, os.environ, "customers")

    def _start(self, arguments: Sequence[str], environ: Mapping[str, str], name: str) -> Child:
        child = self._ends.enter_context(Child(arguments, environ, self._run_dir / f"{name}.log"))
        self._children.append(child)
        return child

    def _columns(self, stack: Stack | None) -> dict[str, Numbers]:
        if stack is None:
            return {"/metrics": FromPage(f"http://{self._address}/metrics")}
        if not stack.options.prometheus:
            return {
                "/metrics": FromPage(f"http://{self._address}/metrics"),
                "by the collector": FromPage(stack.collector_metrics_url),
            }
        # The collector names the shop's job as well; the address tells the two ways apart.
        columns: dict[str, Numbers] = {
            "scraped": FromPrometheus(stack.prometheus_url, f'job="shop",instance="{self._address}"')
        }
        if stack.options.otelcol:
            pushed = f'job="shop",instance!="{self._address}"'
            columns["by the collector"] = FromPrometheus(stack.prometheus_url, pushed)
        return columns

    def _show_first_numbers(self, columns: dict[str, Numbers]) -> list[str]:
        _step(f"waiting for the first numbers, {_SECONDS_BEFORE_NUMBERS} s or a little more")
        began = time.monotonic()
        while True:
            self._sleep(1)
            waited = time.monotonic() - began
            seen = {heading: numbers.names() for heading, numbers in columns.items()}
            missing = [f"{domain} ({heading})" for heading in seen for domain in missing_domains(seen[heading])]
            if waited > (_SECONDS_FOR_ALL_DOMAINS if missing else _SECONDS_BEFORE_NUMBERS):
                break
        print("\n".join(table(columns)))
        for heading, names in seen.items():
            unseen = missing_metrics(names)
            _say(f"{heading}: every metric of the catalogue but {len(unseen)}: {', '.join(unseen) or 'none'}")
        _say(f"missing domains: {', '.join(missing)}" if missing else "every domain is there")
        return missing

    def _show_urls(self, stack: Stack | None) -> None:
        _step("look for yourself")
        _say(f"the shop's API:         http://{self._address}/docs")
        _say(f"the shop's metrics:     http://{self._address}/metrics")
        if stack is not None and stack.options.otelcol:
            _say(f"through the collector:  {stack.collector_metrics_url}")
        if stack is not None and stack.options.prometheus:
            _say(f"Prometheus:             {stack.prometheus_url}")
            _say(f"its query API:          {stack.prometheus_url}/api/v1/query?query=http_server_active_requests")

    def _go_on(self, columns: dict[str, Numbers]) -> None:
        seconds = self._options.seconds
        _step("running; Ctrl-C ends it" if seconds is None else f"running for {seconds:g} s; Ctrl-C ends it sooner")
        numbers = next(iter(columns.values()))
        deadline = float("inf") if seconds is None else time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._sleep(min(_SECONDS_BETWEEN_LINES, left))
            cells = [f"{row.label} {show(row, numbers.value(row))}" for row in ROWS if row.label in _SHORT]
            print(f"{time.strftime('%H:%M:%S')}  {'  '.join(cells)}")

    def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)
        for child in self._children:
            child.check()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.shop.demo", description="Run the example shop with everything; Ctrl-C ends it."
    )
    parser.add_argument("--once", action="store_true", help="end after the first numbers; fail if a domain is missing")
    parser.add_argument("--seconds", type=positive, help="end so long after the first numbers")
    parser.add_argument("--port", type=int, default=0, help="port of the shop; by default a free one")
    parser.add_argument("--no-stack", action="store_true", help="the shop alone, without collector and Prometheus")
    parser.add_argument("--rate", type=positive, default=10.0, help="customers a second (%(default)s)")
    return parser.parse_args(arguments)


def _have(name: str) -> bool:
    try:
        locate(name, say=_say)
    except OtelbridgeError as error:
        _say(f"going on without {name}: {error}")
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError):
            return False
        return True


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _step(text: str) -> None:
    print(f"== {text}")


def _say(text: str) -> None:
    print(f"   {text}")


if __name__ == "__main__":
    sys.exit(main())
