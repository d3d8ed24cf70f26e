"""What is served where, and to whom: over the own server, ASGI and WSGI, with real clients."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from otelbridge.diagnostics import forget_warnings
from otelbridge.errors import ConfigError
from otelbridge.prometheus.access import Access, AccessOptions
from otelbridge.prometheus.http1 import Request
from otelbridge.prometheus.readiness import ComponentHealth, Readiness
from otelbridge.prometheus.renderings import Rendering, accepts_gzip
from otelbridge.prometheus.serving import AsgiEndpoint, MetricsSite, SiteOptions, WsgiEndpoint
from tests.prometheus.endpoint_kit import CHEAP_HASH, SECONDS, eventually, metrics_threads, serving

pytestmark = pytest.mark.endtoend

TOKEN = AccessOptions(bearer_token="canary-token")
USERS = AccessOptions(basic_users={"anna": CHEAP_HASH})
BEARER = {"Authorization": "Bearer canary-token"}


@dataclass
class Exposition:
    content_type: str
    body: bytes


class Renderer:
    """Renders numbered texts, and can be held up or made to fail."""

    def __init__(self) -> None:
        self.rendered: list[str] = []
        self.go = threading.Event()
        self.go.set()
        self.error: BaseException | None = None
        self.running = 0
        self.most_running = 0

    def __call__(self, wanted: str) -> Exposition:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            self.go.wait(SECONDS)
            if self.error is not None:
                raise self.error
            self.rendered.append(wanted)
            return Exposition(f"text/plain; format={wanted}", f"rendering {len(self.rendered)}\n".encode())
        finally:
            self.running -= 1


def negotiate(accept: str) -> str:
    return "openmetrics" if "openmetrics" in accept else "text"


@pytest.fixture
def renderer():
    forget_warnings()
    renderer = Renderer()
    yield renderer
    renderer.go.set()
    eventually(lambda: not background(), "a thread is left")


def background() -> list[str]:
    """Threads that make answers; those of the own server go when it does."""
    return [name for name in metrics_threads() if name.endswith(("render", "passwords", "ready"))]


@pytest.fixture
def open_site(renderer):
    return MetricsSite(renderer, negotiate, Access(), options=SiteOptions(keep_seconds=0))


def guarded(renderer, rules: AccessOptions = TOKEN, **parameters) -> MetricsSite:
    return MetricsSite(renderer, negotiate, Access(rules), options=SiteOptions(keep_seconds=0), **parameters)


def answered(site: MetricsSite, path: str = "/metrics", method: str = "GET", **headers: str):
    answer = site.answer(Request(method, path, headers={name.replace("_", "-"): headers[name] for name in headers}))
    return answer.result(SECONDS) if isinstance(answer, Future) else answer


# --- the three ways in, each with a real server and a real client ---


class Quiet(WSGIRequestHandler):
    def log_message(self, format, *args) -> None:  # noqa: A002  # the name is the base class's
        """Say nothing."""


def over_own_server(site: MetricsSite, undo: ExitStack) -> str:
    return undo.enter_context(serving(site.answer)).url


def over_asgi(site: MetricsSite, undo: ExitStack) -> str:
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(AsgiEndpoint(site), log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    eventually(lambda: server.started or not thread.is_alive())

    def stop() -> None:
        server.should_exit = True
        thread.join(SECONDS)
        listening.close()
        assert not server.force_exit

    undo.callback(stop)
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def over_wsgi(site: MetricsSite, undo: ExitStack) -> str:
    server = make_server("127.0.0.1", 0, validator(WsgiEndpoint(site)), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for step in (server.server_close, thread.join, server.shutdown):
        undo.callback(step)
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(params=[over_own_server, over_asgi, over_wsgi])
def serve(request):
    with ExitStack() as undo:

        def start(site: MetricsSite) -> httpx.Client:
            url = request.param(site, undo)
            return undo.enter_context(httpx.Client(base_url=url, timeout=SECONDS))

        yield start


def test_metrics_are_served_on_their_exact_path(serve, open_site, renderer) -> None:
    client = serve(open_site)
    answer = client.get("/metrics")
    assert (answer.status_code, answer.text) == (200, "rendering 1\n")
    assert answer.headers["content-type"] == "text/plain; format=text"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    for path in ("/", "/metrics/", "/metricsx", "/Metrics", "/metrics/more", "//metrics"):
        missing = client.get(path)
        assert (missing.status_code, missing.text) == (404, "Metrics are at /metrics\n")
    assert client.get("/metrics?name[]=up").text == "rendering 2\n"
    assert renderer.rendered == ["text", "text"]


def test_the_format_is_negotiated(serve, open_site) -> None:
    answer = serve(open_site).get("/metrics", headers={"Accept": "application/openmetrics-text;q=0.9"})
    assert answer.headers["content-type"] == "text/plain; format=openmetrics"


def test_answers_are_compressed_for_who_takes_it(serve, open_site) -> None:
    client = serve(open_site)
    with client.stream("GET", "/metrics", headers={"Accept-Encoding": "gzip"}) as packed:
        raw = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == b"rendering 1\n"
    plain = client.get("/metrics", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.text == "rendering 2\n"


def test_head_says_what_get_would_and_other_methods_are_refused(serve, open_site) -> None:
    client = serve(open_site)
    for path, length in (("/metrics", 12), ("/healthz", 3), ("/-/ready", 38)):
        head = client.head(path, headers={"Accept-Encoding": "identity"})
        assert (head.status_code, head.content, int(head.headers["content-length"])) == (200, b"", length)
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            refused = client.request(method, path)
            assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


def test_the_access_rules_hold(serve, renderer, caplog) -> None:
    caplog.set_level(logging.DEBUG, "otelbridge")
    client = serve(guarded(renderer, AccessOptions(bearer_token="canary-token", basic_users={"anna": CHEAP_HASH})))
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic " + base64.b64encode(b"anna:canary-wrong").decode()},
        {"Authorization": "nonsense"},
        {"Authorization": "Bearer " + "x" * 10_000},
        {"Authorization": b"Bearer \xff\xfe\x80"},
    ):
        refused = client.get("/metrics", headers=headers)
        assert refused.status_code == 401
        assert refused.headers.get_list("www-authenticate") == [
            'Bearer realm="metrics"',
            'Basic realm="metrics", charset="UTF-8"',
        ]
        assert "canary" not in refused.text
    assert renderer.rendered == []
    assert client.get("/metrics", headers=BEARER).text == "rendering 1\n"
    assert client.get("/metrics", auth=("anna", "right")).text == "rendering 2\n"
    assert caplog.records == []


def test_liveness_is_for_everybody(serve, renderer) -> None:
    answer = serve(guarded(renderer)).get("/healthz")
    assert (answer.status_code, answer.text) == (200, "OK\n")


def test_readiness_names_components_to_those_who_may_read(serve, renderer) -> None:
    found = [ComponentHealth("orders", "database", "healthy"), ComponentHealth("mail", "integration", "degraded")]
    client = serve(guarded(renderer, readiness=Readiness(lambda: found)))
    answer = client.get("/-/ready")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})
    assert client.get("/-/ready", headers={"Authorization": "Bearer wrong"}).json() == {"status": "ready"}
    answer = client.get("/-/ready", headers=BEARER)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "status": "ready",
        "components": [
            {"name": "orders", "type": "database", "state": "healthy"},
            {"name": "mail", "type": "integration", "state": "degraded"},
        ],
    }
    found.append(ComponentHealth("cache", "cache", "unhealthy"))
    answer = client.get("/-/ready")
    assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})


def test_a_rendering_that_fails_is_a_500_and_one_line_in_the_log(serve, open_site, renderer, caplog) -> None:
    client = serve(open_site)
    renderer.error = ValueError("boom")
    for _ in range(3):
        answer = client.get("/metrics")
        assert (answer.status_code, answer.text) == (500, "Rendering the metrics failed; see the log\n")
    (record,) = (record for record in caplog.records if record.name == "otelbridge")
    assert "ValueError: boom" in record.getMessage()
    renderer.error = None
    assert client.get("/metrics").status_code == 200


def test_scrapes_at_the_same_time_share_one_rendering(serve, open_site, renderer) -> None:
    client = serve(open_site)
    renderer.go.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(client.get, "/metrics")
        # The WSGI server of the standard library answers one at a time; there is nothing to share then.
        eventually(lambda: renderer.running)
        rest = [pool.submit(client.get, "/metrics") for _ in range(7)]
        renderer.go.set()
        answers = {scrape.result(SECONDS).status_code for scrape in (first, *rest)}
    assert answers == {200}
    assert renderer.most_running == 1


# --- the site itself ---


def test_those_who_come_while_it_is_made_get_the_same(open_site, renderer) -> None:
    renderer.go.clear()
    scrapes = [open_site.answer(Request("GET", "/metrics")) for _ in range(100)]
    other = open_site.answer(Request("GET", "/metrics", headers={"accept": "openmetrics"}))
    assert all(isinstance(scrape, Future) for scrape in scrapes)
    assert metrics_threads() == ["otelbridge-metrics-render"]
    renderer.go.set()
    assert {scrape.result(SECONDS).body for scrape in scrapes} == {b"rendering 1\n"}
    assert other.result(SECONDS).body == b"rendering 2\n"
    assert answered(open_site).body == b"rendering 3\n"


def test_those_who_come_soon_after_share_it_with_its_compressed_form(renderer) -> None:
    site = MetricsSite(renderer, negotiate, Access(), options=SiteOptions(keep_seconds=600))
    assert answered(site).body == b"rendering 1\n"
    assert gzip.decompress(answered(site, accept_encoding="gzip").body) == b"rendering 1\n"
    assert answered(site, accept_encoding="gzip").body is answered(site, accept_encoding="gzip").body
    assert answered(site, accept="openmetrics").body == b"rendering 2\n"
    assert answered(site).body == b"rendering 1\n"
    assert len(renderer.rendered) == 2


def test_what_is_kept_is_only_what_is_fresh(renderer) -> None:
    site = MetricsSite(renderer, negotiate, Access(), options=SiteOptions(keep_seconds=0.01))
    for wanted in ("text", "openmetrics") * 3:
        answered(site, accept=wanted)
        eventually(lambda: site._renderings._fresh("text", False) is site._renderings._fresh("openmetrics", False))
    assert len(site._renderings._kept) <= 2
    assert len(renderer.rendered) == 6


def test_who_invents_formats_waits_in_vain_and_others_do_not(renderer) -> None:
    site = MetricsSite(renderer, str, Access())
    renderer.go.clear()
    usual = site.answer(Request("GET", "/metrics"))
    flood = [site.answer(Request("GET", "/metrics", headers={"accept": str(number)})) for number in range(100)]
    busy = [answer for answer in flood if not isinstance(answer, Future)]
    assert {answer.status for answer in busy} == {HTTPStatus.SERVICE_UNAVAILABLE}
    assert ("Retry-After", "1") in busy[0].headers
    renderer.go.set()
    assert usual.result(SECONDS).status is HTTPStatus.OK
    for answer in flood:
        if isinstance(answer, Future):
            answer.result(SECONDS)


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(1), KeyboardInterrupt()])
def test_whatever_a_rendering_raises_is_a_500(open_site, renderer, error) -> None:
    renderer.error = error
    assert answered(open_site).status is HTTPStatus.INTERNAL_SERVER_ERROR


def test_an_error_that_cannot_be_written_is_a_500_too(open_site, renderer, caplog) -> None:
    class UnspeakableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    renderer.error = UnspeakableError()
    assert answered(open_site).status is HTTPStatus.INTERNAL_SERVER_ERROR
    assert "UnspeakableError: (not shown)" in caplog.text


def test_whatever_else_goes_wrong_is_a_500(renderer, caplog) -> None:
    def broken(*_):
        raise LookupError("broken")

    sites = [
        MetricsSite(renderer, broken, Access()),
        MetricsSite(renderer, broken, Access(USERS)),
        MetricsSite(renderer, negotiate, Access(), headers=broken),
    ]
    login = "Basic " + base64.b64encode(b"anna:right").decode()
    for site in sites:
        assert answered(site, authorization=login).status is HTTPStatus.INTERNAL_SERVER_ERROR
    assert caplog.text.count("LookupError: broken") == 1


def test_too_many_unknown_passwords_at_once_are_a_503(renderer, monkeypatch) -> None:
    import hashlib

    release, real = threading.Event(), hashlib.scrypt

    def slow(*args, **parameters):
        release.wait(SECONDS)
        return real(*args, **parameters)

    monkeypatch.setattr(hashlib, "scrypt", slow)
    site = guarded(renderer, USERS)
    tried = []
    for number in range(50):
        login = "Basic " + base64.b64encode(f"anna:wrong{number}".encode()).decode()
        tried.append(site.answer(Request("GET", "/metrics", headers={"authorization": login})))
    assert tried[-1].status is HTTPStatus.SERVICE_UNAVAILABLE
    assert answered(site, "/healthz").status is HTTPStatus.OK
    release.set()
    waited = {answer.result(SECONDS).status for answer in tried if isinstance(answer, Future)}
    assert waited == {HTTPStatus.UNAUTHORIZED}


def test_a_certificate_with_another_name_is_a_403(renderer) -> None:
    site = guarded(renderer, AccessOptions(client_names=("a.example",)))
    refused = site.answer(Request("GET", "/metrics", names=frozenset({"b.example"})))
    assert refused.status is HTTPStatus.FORBIDDEN
    granted = site.answer(Request("GET", "/metrics", names=frozenset({"a.example"})))
    assert granted.result(SECONDS).status is HTTPStatus.OK


def test_paths_are_options(renderer) -> None:
    options = SiteOptions(path="/internal/metrics", live_path=None, ready_path="/ready")
    site = MetricsSite(renderer, negotiate, Access(), options=options)
    assert answered(site, "/internal/metrics").status is HTTPStatus.OK
    assert answered(site, "/ready").status is HTTPStatus.OK
    for path in ("/metrics", "/healthz", "/-/ready", "None"):
        assert answered(site, path).status is HTTPStatus.NOT_FOUND


def test_further_fields_are_on_every_answer(renderer) -> None:
    site = guarded(renderer, headers=lambda: {"X-Frame-Options": "deny"})
    for path in ("/metrics", "/healthz", "/nowhere"):
        assert ("X-Frame-Options", "deny") in answered(site, path).headers
    assert ("X-Frame-Options", "deny") in answered(site, authorization="Bearer canary-token").headers


@pytest.mark.parametrize("failing", [ValueError("no"), "a state nobody knows"])
def test_components_that_cannot_tell_are_not_ready(renderer, failing, caplog) -> None:
    def components():
        if isinstance(failing, Exception):
            raise failing
        return [ComponentHealth("a", "b", failing)]

    site = MetricsSite(renderer, negotiate, Access(), readiness=Readiness(components))
    for _ in range(2):
        answer = answered(site, "/-/ready")
        assert answer.status is HTTPStatus.SERVICE_UNAVAILABLE
        assert json.loads(answer.body)["status"] == "not ready"
    assert caplog.text.count("cannot be had") == isinstance(failing, Exception)


def test_a_probe_of_slow_components_holds_up_no_scrape(renderer) -> None:
    release = threading.Event()

    def components():
        release.wait(SECONDS)
        return ()

    site = MetricsSite(renderer, negotiate, Access(), readiness=Readiness(components))
    probes = [site.answer(Request("GET", "/-/ready")) for _ in range(20)]
    assert answered(site).status is HTTPStatus.OK
    assert metrics_threads() == ["otelbridge-metrics-ready"]
    release.set()
    assert {probe.result(SECONDS).status for probe in probes} == {HTTPStatus.OK}
    site.close(SECONDS)


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("gzip ; q=0.001", True),
        ("*", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("gzip; Q=0.000", False),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("x-gzip", False),
        ("gzipped", False),
    ],
)
def test_whether_gzip_is_accepted(header, accepted) -> None:
    assert accepts_gzip(header) is accepted


@settings(deadline=None)
@given(accept=st.text(), encoding=st.text(), authorization=st.text(), method=st.text(), path=st.text())
def test_no_request_makes_it_raise(accept, encoding, authorization, method, path) -> None:
    site = MetricsSite(lambda wanted: Exposition("text/plain", b""), negotiate, Access(TOKEN))
    headers = {"accept": accept, "accept-encoding": encoding, "authorization": authorization}
    assert site.answer(Request(method, path, headers=headers)).status in (404, 405)
    assert site.answer(Request("GET", "/metrics", headers=headers)).status == 401
    headers["authorization"] = BEARER["Authorization"]
    scrape = site.answer(Request("GET", "/metrics", headers=headers))
    assert scrape.result(SECONDS).status == 200


def test_nothing_of_the_text_is_shown() -> None:
    assert "canary" not in repr(Rendering("text/plain", b"canary"))


# --- inside other applications ---


async def test_on_a_route_of_a_framework_the_path_is_the_routes(renderer) -> None:
    site = guarded(renderer)
    app = FastAPI(routes=[Route("/internal/{rest}", AsgiEndpoint(site, path="/metrics"))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/internal/anything")).status_code == 401
        assert (await client.get("/internal/x", headers=BEARER)).text == "rendering 1\n"


async def test_a_mounted_site_serves_its_paths_below_the_mount_point(open_site) -> None:
    app = Starlette(routes=[Mount("/internal", AsgiEndpoint(open_site))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/internal/metrics")).text == "rendering 1\n"
        assert (await client.get("/internal/healthz")).text == "OK\n"
        assert (await client.get("/internal/internal/metrics")).status_code == 404


async def test_rendering_leaves_the_event_loop_free_and_one_who_leaves_costs_nobody_else(open_site, renderer) -> None:
    renderer.go.clear()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(AsgiEndpoint(open_site)), base_url="http://test"
    ) as client:
        leaver = asyncio.create_task(client.get("/metrics"))
        stayer = asyncio.create_task(client.get("/metrics"))
        await asyncio.to_thread(eventually, lambda: renderer.running)
        leaver.cancel()
        assert (await client.get("/healthz")).text == "OK\n"
        renderer.go.set()
        assert (await stayer).text == "rendering 1\n"
        with pytest.raises(asyncio.CancelledError):
            await leaver


async def test_a_rendering_that_takes_too_long_is_a_503_over_asgi(renderer) -> None:
    site = MetricsSite(renderer, negotiate, Access(), options=SiteOptions(answer_seconds=0.05))
    renderer.go.clear()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(AsgiEndpoint(site)), base_url="http://test") as client:
        assert (await client.get("/metrics")).status_code == 503
        renderer.go.set()
        eventually(lambda: not metrics_threads())
        assert (await client.get("/metrics")).text == "rendering 1\n"


def test_a_rendering_that_takes_too_long_is_a_503_over_wsgi(renderer) -> None:
    site = MetricsSite(renderer, negotiate, Access(), options=SiteOptions(answer_seconds=0.05))
    renderer.go.clear()
    with httpx.Client(transport=httpx.WSGITransport(WsgiEndpoint(site)), base_url="http://test") as client:
        assert client.get("/metrics").status_code == 503


async def test_websockets_are_turned_away(open_site) -> None:
    sent = []

    async def send(message) -> None:
        sent.append(message)

    async def receive():
        return {"type": "websocket.connect"}

    await AsgiEndpoint(open_site)({"type": "websocket", "path": "/metrics", "headers": []}, receive, send)
    assert sent == [{"type": "websocket.close"}]


@pytest.mark.parametrize("kind", [AsgiEndpoint, WsgiEndpoint])
def test_rules_an_application_cannot_keep_are_an_error(kind, renderer) -> None:
    site = guarded(renderer, AccessOptions(client_names=("a",)))
    with pytest.raises(ConfigError, match=r"client_names.*port of their own with TLS"):
        kind(site)
