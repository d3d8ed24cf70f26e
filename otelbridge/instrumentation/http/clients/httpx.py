"""Requests of httpx and of httpx2, which has the same shape: each one that a transport sends."""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

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


def targets(name: str) -> tuple[type, ...]:
    """Give the classes whose methods are replaced.

    Args:
        name: ``httpx`` or ``httpx2``.
    """
    module = import_module(name)
    return module.HTTPTransport, module.AsyncHTTPTransport


def replace(name: str, patches: tuple[Patches, ...], exchanges: Exchanges) -> None:
    """Replace the methods that send.

    Args:
        name: ``httpx`` or ``httpx2``.
        patches: Those of `targets`.
        exchanges: What measures.
    """
    module = import_module(name)
    sync, asynchronous = patches
    sync.wrap("handle_request", _sync(exchanges, _body_of(module.SyncByteStream)))
    asynchronous.wrap("handle_async_request", _async(exchanges, _async_body_of(module.AsyncByteStream)))


def _sync(exchanges: Exchanges, body: Callable[[Any, Exchange], Any]) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        @wraps(original)
        def handle_request(transport: Any, request: Any) -> Any:
            exchange = exchanges.begin(request)
            if exchange is None:
                return original(transport, request)
            try:
                response = original(transport, request)
            except BaseException as error:
                exchange.end(error)
                raise
            exchange.answered(response.status_code)
            response.stream = body(response.stream, exchange)
            return response

        return handle_request

    return make


def _async(exchanges: Exchanges, body: Callable[[Any, Exchange], Any]) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        @wraps(original)
        async def handle_async_request(transport: Any, request: Any) -> Any:
            exchange = exchanges.begin(request)
            if exchange is None:
                return await original(transport, request)
            try:
                response = await original(transport, request)
            except BaseException as error:
                exchange.end(error)
                raise
            exchange.answered(response.status_code)
            response.stream = body(response.stream, exchange)
            return response

        return handle_async_request

    return make


# The library asks for streams of its own classes, which are at hand only once it is imported.


def _body_of(base: Any) -> Callable[[Any, Exchange], Any]:
    class Body(base):
        def __init__(self, stream: Any, exchange: Exchange) -> None:
            self._stream = stream
            self._exchange = exchange

        def __iter__(self) -> Iterator[bytes]:
            try:
                for part in self._stream:
                    self._exchange.received()
                    yield part
            except BaseException as error:
                self._exchange.end(error)
                raise

        def close(self) -> None:
            try:
                self._stream.close()
            finally:
                self._exchange.end()

    return Body


def _async_body_of(base: Any) -> Callable[[Any, Exchange], Any]:
    class Body(base):
        def __init__(self, stream: Any, exchange: Exchange) -> None:
            self._stream = stream
            self._exchange = exchange

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for part in self._stream:
                    self._exchange.received()
                    yield part
            except BaseException as error:
                self._exchange.end(error)
                raise

        async def aclose(self) -> None:
            try:
                await self._stream.aclose()
            finally:
                self._exchange.end()

    return Body
