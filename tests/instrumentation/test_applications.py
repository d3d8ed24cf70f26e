"""Applications are found by themselves: at the first call, once each, mounted ones as part of theirs."""

from __future__ import annotations

import gc
import weakref

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette

import otelbridge
from otelbridge.instrumentation.applications import ApplicationFinder
from tests.beside.programs import outcome


@pytest.fixture
def found():
    plain, told = Starlette.__call__, []
    finder = ApplicationFinder(told.append)
    yield told
    finder.close()
    assert Starlette.__call__ is plain


@pytest.fixture
def recorded_by_fastapi():
    """With a global provider FastAPI from 0.165 on measures by itself, and calls Starlette in another way."""
    otelbridge.init(prometheus="off", instrument=[])
    yield
    otelbridge.shutdown()


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
@pytest.mark.usefixtures("recorded_by_fastapi")
def test_an_application_is_found_once_and_not_its_parts(found, kind) -> None:
    app, inner = kind(), FastAPI()
    inner.get("/users")(lambda: 1)
    app.mount("/inner", inner)
    assert found == []
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/inner/users").json() == 1
    assert found == [app]
    TestClient(inner).get("/users")
    assert found == [app, inner]


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
@pytest.mark.usefixtures("recorded_by_fastapi")
def test_what_an_application_does_before_it_serves_is_done_once_a_request(found, kind) -> None:
    served = []

    class Own(kind):
        async def __call__(self, scope, receive, send):
            served.append(scope["path"])
            await super().__call__(scope, receive, send)

    app = Own()
    for path in ("/1", "/2"):
        TestClient(app).get(path)
    assert served == ["/1", "/2"]
    assert found == [app]


def test_an_application_is_not_kept_alive() -> None:
    finder = ApplicationFinder(lambda app: None)
    app = Starlette()
    TestClient(app).get("/")
    gone = weakref.ref(app)
    del app
    gc.collect()
    assert gone() is None
    finder.close()


def test_an_application_that_cannot_be_taken_goes_on(caplog) -> None:
    def refuse(app):
        raise ValueError("no room")

    finder = ApplicationFinder(refuse)
    app = FastAPI()
    app.get("/")(lambda: 1)
    assert TestClient(app).get("/").json() == 1
    assert "no room" in caplog.text
    finder.close()


def test_who_wraps_what_the_finder_put_there_keeps_working() -> None:
    plain, told = Starlette.__call__, []
    finder = ApplicationFinder(told.append)
    between = Starlette.__call__

    async def theirs(app, scope, receive, send):
        await between(app, scope, receive, send)

    Starlette.__call__ = theirs
    try:
        finder.close()
        assert TestClient(Starlette()).get("/").status_code == 404
        assert told == []
    finally:
        Starlette.__call__ = plain


@pytest.mark.endtoend
def test_the_first_request_is_recorded() -> None:
    """Without a lifespan, by which most servers call an application before any request."""
    program = """
import os
from otelbridge.lifecycle import init_automatically
bridge = init_automatically()
from fastapi import FastAPI
from fastapi.testclient import TestClient
app = FastAPI()
app.get("/users/{number}")(lambda number: number)
TestClient(app).get("/users/1")
tell(counts(TestClient(app).get("/metrics").text, "http_server_request_duration_seconds_count"))
"""
    assert outcome(program, OTELBRIDGE_PROMETHEUS="app").told == {"http_server_request_duration_seconds_count": 1}


@pytest.mark.parametrize("kind", [FastAPI, Starlette])
def test_an_application_that_serves_the_metrics_is_not_kept_alive(kind) -> None:
    bridge = otelbridge.init(service_name="shop", app=kind(), instrument=[])
    try:
        app = kind()
        bridge.adopt(app)
        assert TestClient(app).get("/metrics").status_code == 200
        reference = weakref.ref(app)
        del app
        gc.collect()
        assert reference() is None
    finally:
        otelbridge.shutdown()
