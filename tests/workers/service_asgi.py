"""The service for ASGI servers: a FastAPI application, whose requests are recorded too."""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

from tests.workers import service

app = FastAPI()


@app.get("/work", response_class=PlainTextResponse)
async def _work() -> str:
    service.work()
    return "done"


@app.get("/status", response_class=PlainTextResponse)
def _status() -> bytes:
    return service.status()


service.start(app)


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    async def signed(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-worker", str(os.getpid()).encode())]
        await send(message)

    await app(scope, receive, signed)
