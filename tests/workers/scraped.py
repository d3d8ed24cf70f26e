"""A service as a real Prometheus sees it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import urlopen

from otelbridge.stack import ScrapeTarget, Stack, StackError, StackOptions
from tests.cells.servers import Server, eventually
from tests.components import missing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


@contextmanager
def scraped(server: Server, run_dir: Path, interval: float) -> Iterator[Stack]:
    """Have a Prometheus scrape a server every so many seconds; it has done so once when this gives its stack."""
    target = ScrapeTarget("service", f"127.0.0.1:{server.port}")
    options = StackOptions(run_dir=run_dir, otelcol=False, scrape=(target,), scrape_interval=interval)
    try:
        stack = Stack(options).up()
    except StackError as error:
        missing("Prometheus", str(error))
    try:
        eventually(lambda: query(stack, 'up{job="service"}'), "the first scrape")
        yield stack
    finally:
        stack.down()


def query(stack: Stack, expression: str) -> list[dict[str, Any]]:
    """Give what Prometheus finds for an expression now."""
    with urlopen(f"{stack.prometheus_url}/api/v1/query?query={quote(expression)}", timeout=60) as answer:
        return json.load(answer)["data"]["result"]


def resets(stack: Stack, names: Iterable[str], window: str) -> dict[str, Any]:
    """The series of some metrics that Prometheus saw fall within a window."""
    fallen = {name: query(stack, f'resets({name}{{job="service"}}[{window}]) > 0') for name in sorted(names)}
    return {name: found for name, found in fallen.items() if found}
