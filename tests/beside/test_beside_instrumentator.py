"""Beside prometheus-fastapi-instrumentator, and endpoints of prometheus_client: one ``/metrics`` with both."""

from __future__ import annotations

import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, Counter, make_asgi_app
from prometheus_fastapi_instrumentator import Instrumentator

import otelbridge
from otelbridge.errors import ConfigError
from tests.beside.programs import outcome

pytestmark = pytest.mark.endtoend

_PROGRAM = """
import otelbridge
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import Counter, make_asgi_app
from prometheus_fastapi_instrumentator import Instrumentator

app = FastAPI()
app.get("/users/{number}")(lambda number: number)
Counter("orders", "Orders.").inc(2)
steps = {
    "expose": lambda: Instrumentator().instrument(app).expose(app),
    "mount": lambda: app.mount("/metrics", make_asgi_app()),
    "ours": lambda: otelbridge.init(app=app),
}
for step in sys.argv[1:]:
    steps[step]()
with TestClient(app) as client:
    for _ in range(3):
        client.get("/users/1")
    pages = [client.get(path).text for path in ("/metrics", "/metrics/")]
    names = ("orders_total", "http_server_request_duration_seconds_count", "http_request_duration_seconds_count")
    before = [counts(page, *names) for page in pages]
    lines = [line for line in pages[0].splitlines() if line.startswith("http_request_duration_seconds_count")]
    otelbridge.shutdown()
    after = counts(client.get("/metrics").text, "orders_total")
tell([*before, sum("/users" in line for line in lines), after])
"""


@pytest.mark.parametrize("order", [("expose", "ours"), ("ours", "expose")])
def test_their_metrics_and_ours_are_on_one_page(order) -> None:
    page, _, theirs, after = outcome(_PROGRAM, *order).told
    assert page["orders_total"] == 2
    assert page["http_server_request_duration_seconds_count"] == 3
    assert theirs == 1
    assert after == {"orders_total": 2}  # theirs serves again


@pytest.mark.parametrize("order", [("mount", "ours"), ("ours", "mount")])
def test_a_mounted_endpoint_of_prometheus_client_shows_ours_too(order) -> None:
    page, with_slash, _, after = outcome(_PROGRAM, *order).told
    assert page["orders_total"] == 2
    assert page["http_server_request_duration_seconds_count"] == 3
    assert after == {"orders_total": 2}
    if order[0] == "mount":
        assert with_slash == page


@pytest.mark.parametrize("order", [("expose", "ours"), ("ours", "expose"), ("ours", "mount")])
def test_a_log_line_says_who_serves(order) -> None:
    found = outcome(_PROGRAM, *order)
    (line,) = (line for line in found.lines_of("otelbridge") if "/metrics" in line)
    assert "shows prometheus_client's registry at /metrics; otelbridge does so now" in line


@pytest.fixture
def app():
    yield FastAPI()
    otelbridge.shutdown()


def test_an_endpoint_with_another_registry_is_an_error_until_that_is_shown(app) -> None:
    registry = CollectorRegistry()
    Counter("orders", "Orders.", registry=registry).inc(2)
    app.mount("/metrics", make_asgi_app(registry))
    with pytest.raises(ConfigError, match=r"init\(prometheus_client=registry\)"):
        otelbridge.init(app=app)
    otelbridge.init(app=app, prometheus_client=registry)
    with TestClient(app) as client:
        assert "orders_total 2" in client.get("/metrics").text


def test_an_endpoint_that_asks_for_credentials_is_not_put_out_of_the_way(app) -> None:
    Instrumentator().expose(app, dependencies=[Depends(lambda: None)])
    with pytest.raises(ConfigError, match="serves /metrics already"):
        otelbridge.init(app=app)


def test_an_endpoint_of_the_user_is_not_put_out_of_the_way(app) -> None:
    app.get("/metrics")(lambda: "mine")
    with pytest.raises(ConfigError, match="serves /metrics already"):
        otelbridge.init(app=app)


def test_an_endpoint_of_the_user_that_comes_later_is_hidden_and_the_log_says_so_once(app, caplog) -> None:
    otelbridge.init(app=app)
    app.get("/metrics")(lambda: "mine")
    with TestClient(app) as client:
        for _ in range(2):
            assert "target_info" in client.get("/metrics").text
    (said,) = caplog.messages
    assert said.startswith(
        "A route that was added after init() is not reached: The application serves /metrics already."
    )
    assert "OTELBRIDGE_PROMETHEUS_PATH" in said


def test_a_registry_that_is_not_shown_keeps_its_endpoint(app) -> None:
    app.mount("/metrics", make_asgi_app())
    with pytest.raises(ConfigError, match="which otelbridge does not show"):
        otelbridge.init(app=app, prometheus_client=False)
