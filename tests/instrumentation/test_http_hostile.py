"""No label a client can choose: hostile clients against real servers, whoever measures the requests."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cells.servers import eventually, running
from tests.components import free_port
from tests.instrumentation import hostile, hostile_http2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

pytestmark = pytest.mark.endtoend

_REQUESTS = 3000
_MOST_NEW = 30
_ACTIVE = "http_server_active_requests"

SERVERS = {
    "uvicorn with h11": ("uvicorn", "--factory", "--http", "h11", "--log-level", "critical", "--port"),
    "uvicorn with httptools": ("uvicorn", "--factory", "--http", "httptools", "--log-level", "critical", "--port"),
    "hypercorn": ("hypercorn", "--log-level", "critical", "--bind"),
    "granian": ("granian", "--factory", "--interface", "asgi", "--no-access-log", "--port"),
}
"""The command line of each server but for what comes last: where it listens, and the application."""

_VERSIONS = {"0.9", "1.0", "1.1", "2", "3"}
_SCHEMES = {"http", "https", "ws", "wss"}
_KNOWN = {
    "network_protocol_version": _VERSIONS,
    "http_flavor": _VERSIONS,
    "url_scheme": _SCHEMES,
    "http_scheme": _SCHEMES,
}
"""What labels that come from a request may say, by the conventions."""

_TEMPLATES = {
    *("/", "/items", "/items/{number}", "/shop", "/shop/{path}", "/shop/orders/{number}", "/orders/{number}"),
    *("/static", "/static/{path}", "/api/users/{name}", "/users/{name}"),
    *("/tenants/{tenant}", "/tenants/{tenant}/{path}", "/tenants/{tenant}/orders/{number}"),
}
"""All an instrumentation may take for the route of a request to the FastAPI application."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class _Page:
    """What a service shows at an address."""

    def __init__(self, url: str) -> None:
        self._url = url

    def answers(self) -> bool:
        try:
            self.samples()
        except (URLError, ConnectionError):
            return False
        return True

    def samples(self) -> Samples:
        """One a series: a histogram's is its count, every other metric has no other."""
        with urlopen(self._url, timeout=60) as answer:
            lines = answer.read().decode().split("\n")
        families = text_string_to_metric_families("\n".join(line for line in lines if "_bucket{" not in line))
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
            if not sample.name.endswith(("_sum", "_created"))
        }

    def quiet(self) -> bool:
        """Whether no request is under way."""
        return not any(value for (name, _), value in self.samples().items() if name == _ACTIVE)

    def values(self, label: str) -> set[str]:
        """What a label of the metrics of requests says."""
        return {
            value
            for name, labels in self.samples()
            for key, value in labels
            if key == label and name.startswith("http_server_")
        }


@contextmanager
def _served(server: str, app: str, log_file: Path, *, ours: bool, **environment: str) -> Iterator[tuple[int, _Page]]:
    port, own_port = free_port(), free_port()
    module, *options = SERVERS[server]
    factory = f"tests.instrumentation.hostile_apps:{app}"
    place = (f"127.0.0.1:{port}", f"{factory}()") if server == "hypercorn" else (str(port), factory)
    page = _Page(f"http://127.0.0.1:{port}/metrics" if ours else f"http://127.0.0.1:{own_port}/metrics")
    environment["OTEL_EXPORTER_PROMETHEUS_PORT"] = str(own_port)
    command = [sys.executable, "-m", module, *options, *place]
    with running(command, log_file=log_file, port=port, environment=environment) as running_server:
        eventually(lambda: running_server.answers() and page.answers(), running_server.log)
        yield port, page


def _attack(
    port: int,
    page: _Page,
    record_property: Callable[[str, object], None],
    client: ModuleType = hostile,
    count: int = _REQUESTS,
) -> list[tuple[str, str]]:
    """Send what ordinary clients send, then what hostile ones do; gives the series only the latter made."""
    client.send(port, client.ordinary())
    eventually(page.quiet, "the last ordinary request has ended")
    before = page.samples()
    answered = client.send(port, client.requests(seed=1, count=count))
    eventually(page.quiet, "the last hostile request has ended")
    new = page.samples().keys() - before.keys()
    record_property("answered", answered)
    record_property("series of ordinary clients", len(before))
    record_property("new series", len(new))
    assert answered > count / 3  # servers refuse some, others hang up
    return sorted((name, ", ".join(f"{key}={value:.40}" for key, value in sorted(labels))) for name, labels in new)


def _assert_bounded(new: list[tuple[str, str]], page_values: Callable[[str], set[str]]) -> None:
    assert len(new) < _MOST_NEW, (Counter(name for name, _ in new), new[:100])
    for label, known in _KNOWN.items():
        assert page_values(label) <= known


@pytest.mark.parametrize("server", SERVERS)
def test_hostile_clients_make_no_series(
    server: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with _served(server, "measured", tmp_path / "log", ours=True) as (port, page):
        new = _attack(port, page, record_property)
        _assert_bounded(new, page.values)


@pytest.mark.parametrize("server", ["hypercorn", "granian"])
def test_nor_over_http_2(server: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    with _served(server, "measured", tmp_path / "log", ours=True) as (port, page):
        new = _attack(port, page, record_property, hostile_http2, count=1000)
        _assert_bounded(new, page.values)


@pytest.mark.parametrize(
    ("app", "conventions"),
    [(app, conventions) for app in ("fastapi", "asgi", "litestar") for conventions in ("", "http")]
    + [("native", "http")],
)
def test_nor_do_they_where_others_measure(
    app: str, conventions: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    opt_in = {"OTEL_SEMCONV_STABILITY_OPT_IN": conventions}
    # The server that lets clients choose most.
    with _served("uvicorn with h11", app, tmp_path / "log", ours=False, **opt_in) as (port, page):
        new = _attack(port, page, record_property)
        _assert_bounded(new, page.values)
        routes = page.values("http_route") | page.values("http_target")
    assert routes <= _TEMPLATES
    # Those that tell routes still do. Litestar's plugin tells paths, and so may the conventions before the stable ones.
    told = {"fastapi": conventions == "http", "native": True, "litestar": False}
    if app in told:
        assert ("/items/{number}" in routes) is told[app]
