"""A real Prometheus that scrapes pages in every format, and what it has stored of them."""

from __future__ import annotations

import contextlib
import math
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx

from otelbridge.prometheus.negotiation import Format, choose
from otelbridge.stack import StackError, Tool, locate
from tests.components import free_port, missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.prometheus.collected import Samples

PROTOBUF = "PrometheusProto"
TEXTS = ("PrometheusText0.0.4", "PrometheusText1.0.0", "OpenMetricsText0.0.1", "OpenMetricsText1.0.0")
PROTOCOLS = (PROTOBUF, *TEXTS)


def tool(name: str) -> Tool:
    """A tool of the stack; the test is skipped where it cannot be had."""
    try:
        return locate(name, say=lambda line: None)
    except StackError as error:
        missing(name, str(error))


def promtool_takes(page: bytes) -> None:
    """Fail unless promtool can read a page."""
    checked = subprocess.run([tool("promtool").path, "check", "metrics"], input=page, capture_output=True, check=False)
    assert checked.returncode in (0, 3), checked.stderr  # 1 would be a page that does not parse; 3 is about style


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30)
        return answer.raise_for_status().json()["data"]["result"]

    def value(self, expression: str) -> float:
        (result,) = self.query(expression)
        return float(result["value"][1])

    def targets(self) -> dict[str, dict[str, Any]]:
        active = httpx.get(f"{self.url}/api/v1/targets", timeout=30).json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target for target in active}

    def exemplars(self, expression: str) -> list[dict[str, Any]]:
        window = {"start": time.time() - 600, "end": time.time() + 600}
        answer = httpx.get(f"{self.url}/api/v1/query_exemplars", params={"query": expression, **window}, timeout=30)
        return [each for series in answer.json()["data"] for each in series["exemplars"]]

    def stored(self, job: str) -> Samples:
        """What is stored of a job, without what Prometheus adds, as `samples` gives what a page says."""
        found: Samples = {}
        for result in self.query(f'{{job="{job}"}}'):
            labels = dict(result["metric"])
            name = labels.pop("__name__")
            if name == "up" or name.startswith("scrape_"):
                continue
            del labels["job"], labels["instance"]
            for key in ("job", "instance"):
                if f"exported_{key}" in labels:
                    labels[key] = labels.pop(f"exported_{key}")
            if "le" in labels and name.endswith("_bucket"):
                labels["le"] = repr(float(labels["le"]))
            if "value" in result:
                found[name, tuple(sorted(labels.items()))] = float(result["value"][1])
        return found


def unlike(one: Samples, other: Samples) -> dict[Any, Any]:
    """The samples of one of which the other says something else."""
    return {key: value for key, value in one.items() if not _same(value, other[key])}


def _same(one: float, other: float) -> bool:
    return float(one) == float(other) or (math.isnan(one) and math.isnan(other))


@contextlib.contextmanager
def scraped(
    place: Path, page: Callable[[str, Format], bytes], jobs: Sequence[tuple[str, str]], seconds: int = 5
) -> Iterator[Prometheus]:
    """Run a Prometheus, once it has scraped everything.

    Args:
        place: A directory for its files.
        page: Renders the page of a name in a format.
        jobs: Names of pages and the protocols in which they are scraped; the job is called by both, with ``-`` between.
        seconds: Between two scrapes of a page, and how long one may take.
    """
    executable = tool("prometheus").path
    server = _Server(("127.0.0.1", 0), _handler(page))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    _configure(place, server.server_port, jobs, seconds)
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                executable,
                f"--config.file={place / 'prometheus.yml'}",
                f"--storage.tsdb.path={place / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
                "--scrape.discovery-reload-interval=100ms",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        prometheus = Prometheus(f"http://127.0.0.1:{port}")
        _wait_for_scrapes(prometheus, process, place / "log", len(jobs))
        yield prometheus
    finally:
        process.terminate()
        process.wait(60)
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    request_queue_size = 200

    def handle_error(self, *_: object) -> None:
        """Keep quiet of clients that hang up; traces in threads stand in the way of pytest's own."""


def _handler(page: Callable[[str, Format], bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name is the base class's
            form = choose(self.headers.get("Accept"))
            body = page(self.path.strip("/"), form)
            self.send_response(200)
            self.send_header("Content-Type", form.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Keep quiet."""

    return Handler


def _configure(place: Path, port: int, jobs: Sequence[tuple[str, str]], seconds: int) -> None:
    lines = [f"global: {{scrape_interval: {seconds}s, scrape_timeout: {seconds}s}}", "scrape_configs:"]
    for page, protocol in jobs:
        lines += [
            f"  - job_name: {page}-{protocol}",
            f"    metrics_path: /{page}",
            f"    scrape_protocols: [{protocol}]",
            "    scrape_native_histograms: true",
            f"    static_configs: [{{targets: ['127.0.0.1:{port}']}}]",
        ]
    (place / "prometheus.yml").write_text("\n".join(lines) + "\n")


def _wait_for_scrapes(prometheus: Prometheus, process: subprocess.Popen[bytes], log: Path, jobs: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, prometheus.targets()
        with contextlib.suppress(httpx.HTTPError):
            if len(prometheus.query("up == 1")) == jobs:
                return
        time.sleep(0.2)
