"""Requests of urllib3 and of what goes over it, such as requests: each one that a pool sends.

Retries and redirects are requests of their own. An HTTPS request whose proxy cannot be reached is recorded as the
CONNECT that failed.
"""

from __future__ import annotations

from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry.propagators.textmap import Setter

from otelbridge.instrumentation.http.clients.exchange import keep, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelbridge.instrumentation.http.clients.exchange import Exchange
    from otelbridge.instrumentation.http.clients.exchanges import Exchanges
    from otelbridge.instrumentation.patches import Patches


class KeywordSetter(Setter["dict[str, Any]"]):
    """Puts headers into the keyword arguments of a call, which may hold those of every request of a pool."""

    def set(self, carrier: dict[str, Any], key: str, value: str) -> None:
        """Put one in."""
        headers = carrier.get("headers")
        if headers is not None:
            carrier["headers"] = headers = headers.copy()
            headers[key] = value


def describe(pool: Any, method: str, target: str, keywords: dict[str, Any]) -> tuple[str, str, str, int | None, Any]:
    """Describe a request; see `Exchanges`."""
    if not target.startswith("/"):  # a proxy is told the whole URL
        parsed = import_module("urllib3.util").parse_url(target)
        if parsed.host:
            return method, parsed.scheme or pool.scheme, parsed.host.strip("[]"), parsed.port, keywords
    return method, pool.scheme, pool.host, pool.port, keywords


def url(pool: Any, _method: str, target: str, _keywords: dict[str, Any]) -> str:
    """Give the URL of a request."""
    return f"{pool.scheme}://{pool.host}:{pool.port}{target}" if target.startswith("/") else target


def targets(_name: str) -> tuple[type, ...]:
    """Give the classes whose methods are replaced."""
    pools = import_module("urllib3.connectionpool")
    return pools.HTTPConnectionPool, pools.HTTPSConnectionPool, import_module("urllib3.response").HTTPResponse


def replace(_name: str, patches: tuple[Patches, ...], exchanges: Exchanges) -> None:
    """Replace the methods that send, and those that read.

    Args:
        patches: Those of `targets`.
        exchanges: What measures.
    """
    http, https, response = patches
    http.wrap("_make_request", _sending(exchanges))
    https.wrap("_prepare_proxy", _tunnelling(exchanges))
    response.wrap("_error_catcher", _reading)
    response.wrap("close", _closing)


def _sending(exchanges: Exchanges) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        @wraps(original)
        def make_request(pool: Any, connection: Any, method: str, url: str, *rest: Any, **keywords: Any) -> Any:
            exchange = exchanges.begin(pool, method, url, keywords)
            if exchange is None:
                return original(pool, connection, method, url, *rest, **keywords)
            try:
                response = original(pool, connection, method, url, *rest, **keywords)
            except BaseException as error:
                exchange.end(error)
                raise
            exchange.answered(response.status)
            if response.closed or not hasattr(response, "_error_catcher"):
                exchange.end()
            else:
                keep(response, exchange)
            return response

        return make_request

    return make


def _tunnelling(exchanges: Exchanges) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        @wraps(original)
        def prepare_proxy(pool: Any, connection: Any) -> Any:
            exchange = exchanges.begin(pool, "CONNECT", "/", {})
            try:
                return original(pool, connection)
            except BaseException as error:
                if exchange is not None:
                    exchange.end(error)
                raise

        return prepare_proxy

    return make


def _reading(original: Any) -> Any:
    @wraps(original)
    def error_catcher(response: Any) -> Any:
        # Taken away meanwhile: it closes itself before it says what went wrong.
        exchange = take(response)
        return original(response) if exchange is None else _Reading(original(response), response, exchange)

    return error_catcher


class _Reading:
    """Stands around what turns errors of a read into those of urllib3."""

    __slots__ = ("_catcher", "_exchange", "_response")

    def __init__(self, catcher: Any, response: Any, exchange: Exchange) -> None:
        self._catcher = catcher
        self._response = response
        self._exchange = exchange

    def __enter__(self) -> None:
        self._catcher.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        exchange = self._exchange
        try:
            self._catcher.__exit__(kind, error, trace)
        except BaseException as other:
            exchange.end(other)
            raise
        if error is not None:
            exchange.end(error)
            return
        exchange.received()
        if self._response.closed:
            exchange.end()
        else:
            keep(self._response, exchange)


def _closing(original: Any) -> Any:
    @wraps(original)
    def close(response: Any) -> None:
        try:
            original(response)
        finally:
            exchange = take(response)
            if exchange is not None:
                exchange.end()

    return close
