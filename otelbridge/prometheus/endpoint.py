"""The scrape endpoint as an ASGI and as a WSGI application. Both answer GET and HEAD, nothing else."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from otelbridge.diagnostics import logger
from otelbridge.prometheus.reader import Exposition

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from otelbridge.prometheus.reader import PrometheusPull

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    StartResponse = Callable[[str, list[tuple[str, str]]], object]

_METHODS = ("GET", "HEAD")
_PLAIN = "text/plain; charset=utf-8"


class AsgiEndpoint:
    """Serves the text as an ASGI application.

    Args:
        pull: Where the text comes from.
    """

    def __init__(self, pull: PrometheusPull) -> None:
        self._pull = pull

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; see the ASGI specification, "HTTP"."""
        del receive
        accept = next((value for name, value in scope["headers"] if name == b"accept"), b"").decode("latin-1")
        # In a thread, because rendering ten thousand histograms takes long enough to stall every request.
        status, answer = await asyncio.to_thread(_answer, self._pull, scope["method"], accept)
        headers = [(name.lower().encode(), value.encode()) for name, value in _headers(status, answer)]
        await send({"type": "http.response.start", "status": status.value, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


class WsgiEndpoint:
    """Serves the text as a WSGI application, on one exact path.

    Args:
        pull: Where the text comes from.
        path: The path that is answered; others get 404.
    """

    def __init__(self, pull: PrometheusPull, path: str) -> None:
        self._pull = pull
        self._path = path

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request; see PEP 3333."""
        method = environ["REQUEST_METHOD"]
        if environ.get("PATH_INFO", "") != self._path:
            status, answer = HTTPStatus.NOT_FOUND, Exposition(_PLAIN, f"Metrics are at {self._path}\n".encode())
        else:
            status, answer = _answer(self._pull, method, environ.get("HTTP_ACCEPT"))
        start_response(f"{status.value} {status.phrase}", _headers(status, answer))
        return [b"" if method == "HEAD" else answer.body]


def _answer(pull: PrometheusPull, method: str, accept: str | None) -> tuple[HTTPStatus, Exposition]:
    if method not in _METHODS:
        return HTTPStatus.METHOD_NOT_ALLOWED, Exposition(_PLAIN, b"Only GET and HEAD are answered here\n")
    try:
        return HTTPStatus.OK, pull.render(accept)
    except Exception:
        # Prometheus shows the target as down and why; the application is not to hear of it.
        logger.exception("Rendering the metrics failed; this scrape gets a 500.")
        return HTTPStatus.INTERNAL_SERVER_ERROR, Exposition(_PLAIN, b"Rendering the metrics failed; see the log\n")


def _headers(status: HTTPStatus, answer: Exposition) -> list[tuple[str, str]]:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
    ]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", ", ".join(_METHODS)))
    return headers
