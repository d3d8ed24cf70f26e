"""Applications for hostile clients: one that otelbridge measures, and those that others measure into its provider."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.staticfiles import StaticFiles

import otelbridge


def _application() -> FastAPI:
    app, shop, api = FastAPI(), FastAPI(), APIRouter()

    @app.get("/")
    async def home() -> str:
        return "home"

    @app.get("/items/{number}")
    async def item(number: int) -> int:
        return number

    @app.post("/items")
    async def add(request: Request) -> int:
        return len(await request.body())

    @shop.get("/orders/{number}")
    def order(number: str) -> str:
        return number

    @api.get("/users/{name}")
    async def user(name: str) -> str:
        return name

    @app.websocket("/socket/{name}")
    async def socket(websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        await websocket.send_text(name)
        await websocket.close()

    app.mount("/shop", shop)
    app.mount("/tenants/{tenant}", shop)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent))
    app.include_router(api, prefix="/api")
    return app


def measured() -> FastAPI:
    """What otelbridge measures, under any of its labels."""
    app = _application()
    otelbridge.init(service_name="hostile", app=app)
    return app


def fastapi() -> FastAPI:
    """What the official instrumentation of FastAPI measures."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    otelbridge.init(service_name="hostile", instrument=())
    app = _application()
    FastAPIInstrumentor.instrument_app(app)
    return app


def native() -> FastAPI:
    """What FastAPI measures by itself."""
    otelbridge.init(service_name="hostile", instrument=())
    return _application()


def asgi() -> Any:
    """What the official ASGI middleware measures."""
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    otelbridge.init(service_name="hostile", instrument=())
    app = _application()
    app.router.redirect_slashes = False
    return OpenTelemetryMiddleware(app)


def litestar() -> Any:
    """What Litestar's plugin measures."""
    from litestar import Litestar, get, post
    from litestar.plugins.opentelemetry import OpenTelemetryPlugin

    @get("/")
    async def home() -> str:
        return "home"

    @get("/items/{number:int}")
    async def item(number: int) -> int:
        return number

    @post("/items")
    async def add(body: bytes) -> int:
        return len(body)

    otelbridge.init(service_name="hostile", instrument=())
    return Litestar([home, item, add], plugins=[OpenTelemetryPlugin()])
