"""The example shop under load, with a real collector and a real Prometheus beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import pytest

from otelbridge.stack import ScrapeTarget, Stack, StackError, StackOptions
from tests.components import free_port, missing
from tests.integration.series import read, resting

if TYPE_CHECKING:
    from collections.abc import Iterator

_PUSH_MILLIS = 1000


@dataclass(frozen=True)
class Scene:
    """A shop that was under load and is at rest now, seen both ways."""

    shop_url: str
    stack: Stack

    def direct(self) -> str:
        """What a scrape of the shop gets."""
        return httpx.get(f"{self.shop_url}/metrics", timeout=30).text

    def collected(self) -> str:
        """What a scrape of the collector gets."""
        return httpx.get(self.stack.collector_metrics_url, timeout=30).text

    def query(self, expression: str) -> list[dict]:
        """What Prometheus answers."""
        answer = httpx.get(f"{self.stack.prometheus_url}/api/v1/query", params={"query": expression}, timeout=30)
        return answer.raise_for_status().json()["data"]["result"]


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The shop after some hundred requests, at rest, with everything pushed."""
    run_dir = tmp_path_factory.mktemp("scene")
    port = free_port()
    options = StackOptions(
        run_dir=run_dir / "stack", scrape=(ScrapeTarget("shop", f"127.0.0.1:{port}"),), scrape_interval=1.0
    )
    try:
        stack = Stack(options, say=lambda line: None).up()
    except StackError as error:
        missing("collector and Prometheus", str(error))
    log = (run_dir / "shop.log").open("wb")
    shop = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--factory", "examples.shop.app:create_app", f"--port={port}"],
        env={
            **os.environ,
            "SHOP_DATABASE_URL": f"sqlite+aiosqlite:///{run_dir / 'shop.db'}",
            "SHOP_SNAPSHOT_SECONDS": "3600",  # its queries would keep the database metrics moving
            "OTEL_EXPORTER_OTLP_ENDPOINT": stack.otlp_http_endpoint,
            "OTEL_METRIC_EXPORT_INTERVAL": str(_PUSH_MILLIS),
        },
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        scene = Scene(f"http://127.0.0.1:{port}", stack)
        _wait(lambda: _answers(scene), 60, "the shop to answer")
        subprocess.run(
            [sys.executable, "-m", "examples.shop.load", "--url", scene.shop_url, "--rate", "30", "--seconds", "20"],
            check=True,
            capture_output=True,
            timeout=120,
        )
        _wait(lambda: _at_rest(scene), 60, "the shop to come to rest")
        time.sleep(2.5 * _PUSH_MILLIS / 1000)
        yield scene
    finally:
        shop.terminate()
        shop.wait(60)
        log.close()
        stack.down()


def _answers(scene: Scene) -> bool:
    try:
        return scene.direct() != ""
    except httpx.HTTPError:
        return False


def _at_rest(scene: Scene) -> bool:
    before = resting(read(scene.direct()))
    time.sleep(2)
    return before == resting(read(scene.direct()))


def _wait(condition, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.2)
