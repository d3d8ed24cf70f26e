"""Requests of aiohttp's client: each one that is sent, from looking for a connection on.

Redirects, and the second try on a connection that the server had closed, are requests of their own.
"""

from __future__ import annotations

import asyncio
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_origin

from otelbridge.instrumentation.http.clients.exchange import keep, kept, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.instrumentation.http.clients.exchange import Exchange
    from otelbridge.instrumentation.http.clients.exchanges import Exchanges
    from otelbridge.instrumentation.patches import Patches


def describe(request: Any) -> tuple[str, str, str, int | None, Any]:
    """Describe a request; see `Exchanges`."""
    url = request.url
    return request.method, url.scheme, url.host, url.port, request.headers


def url(request: Any) -> str:
    """Give the URL of a request."""
    return str(request.url)


def targets(_name: str) -> tuple[type, ...]:
    """Give the classes whose methods are replaced."""
    module = import_module("aiohttp")
    manager = import_module("aiohttp.client")._RequestContextManager
    return module.BaseConnector, module.ClientRequest, module.ClientResponse, get_origin(manager) or manager


def replace(_name: str, patches: tuple[Patches, ...], exchanges: Exchanges) -> None:
    """Replace the methods that send, and those that read.

    Args:
        patches: Those of `targets`.
        exchanges: What measures.
    """
    connector, request, response, manager = patches
    connector.wrap("connect", _connecting(exchanges))
    request.wrap("send", _sending)
    response.wrap("start", _starting)
    response.wrap("read", _reading)
    response.wrap("close", _letting_go)
    response.wrap("release", _letting_go)
    response.wrap("__aexit__", _leaving)
    manager.wrap("__aexit__", _leaving)


def _connecting(exchanges: Exchanges) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        @wraps(original)
        async def connect(connector: Any, request: Any, *rest: Any, **keywords: Any) -> Any:
            exchange = exchanges.begin(request)
            if exchange is None:
                return await original(connector, request, *rest, **keywords)
            try:
                connection = await original(connector, request, *rest, **keywords)
            except BaseException as error:
                exchange.end(_told(error, request))
                raise
            keep(request, exchange)
            return connection

        return connect

    return make


def _told(error: BaseException, request: Any) -> BaseException:
    """Tell a timeout of the request, for which aiohttp cancels its own task, from a task that was cancelled."""
    if isinstance(error, asyncio.CancelledError) and getattr(getattr(request, "_timer", None), "_cancelled", False):
        return asyncio.TimeoutError()
    return error


def _sending(original: Any) -> Any:
    @wraps(original)
    async def send(request: Any, connection: Any) -> Any:
        exchange = take(request)
        if exchange is None:
            return await original(request, connection)
        try:
            response = await original(request, connection)
        except BaseException as error:
            exchange.end(_told(error, request))
            raise
        keep(response, exchange)
        return response

    return send


def _starting(original: Any) -> Any:
    @wraps(original)
    async def start(response: Any, connection: Any) -> Any:
        exchange = kept(response)
        if exchange is None:
            return await original(response, connection)
        try:
            started = await original(response, connection)
        except BaseException as error:
            exchange.end(error)
            raise
        exchange.answered(response.status)
        response.content.on_eof(lambda: _arrived(exchange))
        return started

    return start


def _reading(original: Any) -> Any:
    @wraps(original)
    async def read(response: Any) -> Any:
        exchange = take(response)
        if exchange is None:
            return await original(response)
        try:
            return await original(response)
        except BaseException as error:
            exchange.end(error)
            raise

    return read


def _letting_go(original: Any) -> Any:
    @wraps(original)
    def let_go(response: Any) -> Any:
        exchange = take(response)
        if exchange is not None:
            content = response.content
            error = None if content is None else content.exception()
            if error is None:
                _arrived(exchange)
            else:
                exchange.end(error)
        return original(response)

    return let_go


def _leaving(original: Any) -> Any:
    @wraps(original)
    async def leave(holder: Any, kind: Any, error: BaseException | None, trace: Any) -> Any:
        # What else went wrong is the application's affair, or is known from the content.
        if isinstance(error, (asyncio.CancelledError, asyncio.TimeoutError)):
            exchange = take(getattr(holder, "_resp", holder))
            if exchange is not None:
                exchange.end(error)
        return await original(holder, kind, error, trace)

    return leave


def _arrived(exchange: Exchange) -> None:
    exchange.received()
    exchange.end()
