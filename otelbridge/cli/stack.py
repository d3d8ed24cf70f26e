"""``otelbridge stack``: a real Collector and Prometheus on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from otelbridge.cli.command import say
from otelbridge.stack import TOOLS, Ports, ScrapeTarget, Stack, StackOptions, ToolMissingError, locate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_RUN_DIR = Path(".run") / "stack"
_PARTS = ("otelcol", "prometheus")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments.

    Args:
        parser: The parser of this command.
    """
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    up = actions.add_parser("up", help="start what is asked for and return once it is ready")
    up.add_argument("--without", action="append", default=[], choices=_PARTS, help="leave a component out")
    up.add_argument(
        "--scrape", action="append", default=[], metavar="[JOB=]HOST:PORT[/path]", help="let Prometheus scrape this too"
    )
    up.add_argument("--interval", type=float, default=5.0, metavar="SECONDS", help="between scrapes (default 5)")
    up.add_argument("--rules", action="append", default=[], type=Path, metavar="FILE", help="rules for Prometheus")
    up.add_argument("--prometheus-port", type=int, metavar="PORT", help="0 for a free one (default 9090 if free)")
    up.add_argument("--otlp-http-port", type=int, metavar="PORT", help="0 for a free one (default 4318 if free)")
    up.add_argument("--otlp-grpc-port", type=int, metavar="PORT", help="0 for a free one (default 4317 if free)")
    _add_run_dir(up)
    _add_means(up)
    _add_run_dir(actions.add_parser("down", help="stop what was started"))
    _add_run_dir(actions.add_parser("status", help="tell what runs and where; exit code 1 if something does not"))
    which = actions.add_parser("which", help="tell where each tool comes from, fetching nothing")
    which.set_defaults(no_download=True, no_build=True)
    _add_means(actions.add_parser("build", help="make sure that every tool is there"))


def run(arguments: argparse.Namespace) -> int:
    """Do what the action says.

    Args:
        arguments: What was parsed.

    Returns:
        0; 1 if ``status`` finds something that does not run; 3 if ``which`` finds a tool missing.

    Raises:
        OtelbridgeError: It did not work; the message says why and what to do.
    """
    return _ACTIONS[arguments.action](arguments)


def _up(arguments: argparse.Namespace) -> int:
    wanted = {
        name: port
        for name in ("prometheus", "otlp_http", "otlp_grpc")
        if (port := getattr(arguments, f"{name}_port")) is not None
    }
    options = StackOptions(
        run_dir=arguments.run_dir,
        otelcol="otelcol" not in arguments.without,
        prometheus="prometheus" not in arguments.without,
        scrape=tuple(ScrapeTarget.parse(text) for text in arguments.scrape),
        scrape_interval=arguments.interval,
        rule_files=tuple(arguments.rules),
        ports=replace(Ports.usual(), **wanted),
        may_download=not arguments.no_download,
        may_build=not arguments.no_build,
    )
    Stack(options, say).up()
    say(f"ready; stop it with: otelbridge stack down --run-dir {arguments.run_dir}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    stack = _existing(arguments)
    if not stack.components:
        say(f"nothing was started in {stack.run_dir}")
    stack.down()
    return 0


def _status(arguments: argparse.Namespace) -> int:
    components = _existing(arguments).components
    for component in components:
        say(f"{component.name} {'runs' if component.alive else 'does not run'} (process {component.pid})")
        for what, url in component.urls.items() if component.alive else ():
            say(f"  {what}: {url}")
    if not components:
        say(f"nothing was started in {arguments.run_dir}")
    return 0 if components and all(component.alive for component in components) else 1


def _find(arguments: argparse.Namespace) -> int:
    missing = 0
    for name in TOOLS:
        try:
            locate(name, may_download=not arguments.no_download, may_build=not arguments.no_build, say=say)
        except ToolMissingError as error:
            missing = 3
            say(f"{error.problem}\n  {error.cure}")
    return missing


def _existing(arguments: argparse.Namespace) -> Stack:
    return Stack(StackOptions(run_dir=arguments.run_dir), say)


def _add_run_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=_RUN_DIR,
        metavar="DIR",
        help=f"where configurations, data, logs and pid files are (default {_RUN_DIR})",
    )


def _add_means(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--no-download", action="store_true", help="download nothing (also OTELBRIDGE_NO_DOWNLOAD=1)")
    parser.add_argument("--no-build", action="store_true", help="build nothing")


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "up": _up,
    "down": _down,
    "status": _status,
    "which": _find,
    "build": _find,
}
