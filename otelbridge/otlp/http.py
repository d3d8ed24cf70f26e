"""One export over OTLP/HTTP: a POST of bytes, and what its answer means.

The standard library parses the responses; sending and waiting are written here. The usual HTTP libraries
know a timeout for each read and none for the whole exchange, read an answer as long as it comes, and repeat
requests and follow redirects on their own account.
"""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import ssl
import zlib
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from otelbridge.concurrency import forks
from otelbridge.config import urls
from otelbridge.otlp.connection import Address, AnswerTooLongError, Connection, Deadline
from otelbridge.otlp.endpoint import http_endpoint
from otelbridge.otlp.headers import RequestHeaders
from otelbridge.otlp.http_messages import MAX_HEAD, receive, request_head
from otelbridge.otlp.proxies import HTTP, HTTPS, by_way_of, choose_proxy
from otelbridge.otlp.redact import Redactor, safe_url
from otelbridge.otlp.tls import Tls
from otelbridge.otlp.tunnel import NoTunnelError, open_tunnel
from otelbridge.otlp.verdict import (
    MAX_ANSWER,
    PROTOBUF,
    USER_AGENT,
    HttpAnswer,
    Outcome,
    Verdict,
    failed,
    judge_http,
    judge_tunnel,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from otelbridge.config.options import Otlp

_SET_HERE = re.compile("accept-encoding|connection|content-.*|expect|te|trailer|transfer-encoding|upgrade")
# Metrics compress so well that the first level takes a third of the time of the usual one for a tenth more bytes.
_GZIP_LEVEL = 1
# How a kept connection ends that the receiver has closed while nobody looked.
_STALE = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
# The first entry whose type fits counts.
_FAILURES: tuple[tuple[type[Exception], Outcome, str], ...] = (
    (TimeoutError, Outcome.RETRY, ""),  # carries its own words
    (socket.gaierror, Outcome.RETRY, "its name does not resolve"),
    (ssl.SSLCertVerificationError, Outcome.MISDIRECTED, "its certificate is not trusted"),
    (ssl.SSLEOFError, Outcome.RETRY, "it closed the connection during TLS"),
    (ssl.SSLZeroReturnError, Outcome.RETRY, "it closed the connection during TLS"),
    (ssl.SSLSyscallError, Outcome.RETRY, "it closed the connection during TLS"),
    (ssl.SSLError, Outcome.MISDIRECTED, "TLS fails"),
    (http.client.RemoteDisconnected, Outcome.RETRY, "it closed the connection without an answer"),
    (http.client.IncompleteRead, Outcome.RETRY, "it closed the connection in the middle of its answer"),
    (OSError, Outcome.RETRY, "the connection failed"),
    (AnswerTooLongError, Outcome.MISDIRECTED, f"its answer is longer than {MAX_ANSWER} bytes"),
    (zlib.error, Outcome.MISDIRECTED, "its answer cannot be decompressed"),
    (http.client.HTTPException, Outcome.MISDIRECTED, "what it answers is not HTTP"),
)
_EXPECTED: tuple[type[Exception], ...] = tuple(kind for kind, _, _ in _FAILURES)


class HttpTransport:
    """Posts requests to one OTLP/HTTP receiver, over a connection that is kept for the next one.

    Through a proxy, requests to ``http://`` are handed over to it, and ``https://`` goes through a tunnel. For one
    caller at a time; `otelbridge.otlp.delivery.Delivery` sees to that.

    Args:
        config: The destination; ``metrics_endpoint`` is the URL, ``compression`` that of requests,
            ``headers_file`` names a file with more headers, read before every request; ``proxy`` as
            `otelbridge.otlp.proxies.choose_proxy` has it.

    Raises:
        ConfigError: The endpoint, a header or a file cannot be used. No error shows a secret.
    """

    def __init__(self, config: Otlp) -> None:
        self._url = urls.for_http(urls.endpoint("The OTLP endpoint", config.metrics_endpoint), "/")
        self._endpoint = http_endpoint(self._url)
        self._proxy = choose_proxy(config.proxy, self._endpoint.address, HTTPS if self._endpoint.secure else HTTP)
        self._headers = RequestHeaders(self._url, config.headers, config.headers_file, forbidden=_SET_HERE)
        self._tls = Tls(config) if self._endpoint.secure else None
        self._gzip = config.compression == "gzip"
        self._kept: Connection | None = None
        forks.register(after_in_child=self.begin_anew)

    def __repr__(self) -> str:
        return f"HttpTransport({safe_url(self._url)!r})"

    def post(self, body: bytes, timeout: float) -> Verdict:
        """Send one request.

        Args:
            body: An encoded ``ExportMetricsServiceRequest``.
            timeout: Seconds for everything: name resolution, connection, TLS, sending and the whole answer.

        Returns:
            The verdict. Trouble of any kind with the other side is a verdict, not an exception.
        """
        forks.notice()
        deadline = Deadline(timeout)
        headers = self._headers.current()
        redact = Redactor(self._url, {**headers, **(self._proxy.headers if self._proxy else {})})
        payload = gzip.compress(body, _GZIP_LEVEL) if self._gzip else body
        return by_way_of(self._proxy, self._judged((self._head(headers, len(payload)), payload), deadline, redact))

    def close(self) -> None:
        """Close the kept connection. A later request opens a new one."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def begin_anew(self) -> None:
        """Drop the parent's connection: two processes must not talk on one."""
        self.close()

    def _judged(self, request: Sequence[bytes], deadline: Deadline, redact: Redactor) -> Verdict:
        try:
            answer = self._exchange(request, deadline)
        except NoTunnelError as error:
            return judge_tunnel(error.answer)
        except _EXPECTED as error:
            return _judge_failure(error, redact)
        return judge_http(answer, redact)

    def _head(self, headers: dict[str, str], length: int) -> bytes:
        # Who hands a request over names the whole URL (RFC 9112, section 3.2.2).
        handed_over = self._proxy is not None and not self._endpoint.secure
        fields = {
            "host": self._endpoint.host,
            "user-agent": USER_AGENT,
            "accept-encoding": "identity",
            "content-type": PROTOBUF,
            "content-length": str(length),
            **({"content-encoding": "gzip"} if self._gzip else {}),
            **(self._proxy.headers if self._proxy is not None and handed_over else {}),
            **headers,
        }
        origin = f"http://{self._endpoint.host}" if handed_over else ""
        return request_head("POST", f"{origin}{self._endpoint.target}", fields)

    def _exchange(self, request: Sequence[bytes], deadline: Deadline) -> HttpAnswer:
        kept, self._kept = self._kept, None
        if kept is not None:
            before = kept.received
            if kept.is_idle():
                try:
                    return self._converse(kept, request, deadline)
                except _STALE:
                    # Closed just as we began, as far as one can tell: nothing came back.
                    if kept.received > before:
                        raise
            kept.close()
        with _timeout_means("it cannot be reached in time"):
            connection = self._connect(deadline)
        return self._converse(connection, request, deadline)

    def _connect(self, deadline: Deadline) -> Connection:
        connection = Connection(self._endpoint.address if self._proxy is None else self._proxy.address, deadline)
        with ExitStack() as undo:
            undo.callback(connection.close)
            if self._tls is not None and isinstance(self._endpoint.address, Address):
                if self._proxy is not None:
                    open_tunnel(connection, self._endpoint.address, self._proxy, deadline)
                connection.secure(self._tls.context(), self._endpoint.address.host, deadline)
            undo.pop_all()
        return connection

    def _converse(self, connection: Connection, request: Sequence[bytes], deadline: Deadline) -> HttpAnswer:
        with ExitStack() as undo:
            undo.callback(connection.close)
            connection.expect(MAX_HEAD, deadline)
            try:
                with _timeout_means("it does not take the request in time"):
                    connection.send(request, deadline)
            except _STALE as broken:
                return _early_answer(connection, deadline, broken)
            with _timeout_means("it does not answer in time"):
                answer, keep = receive(connection, deadline)
            if keep:
                undo.pop_all()
                self._kept = connection
            return answer


def _early_answer(connection: Connection, deadline: Deadline, broken: OSError) -> HttpAnswer:
    """Read what a receiver said before it hung up in the middle of the request, for instance that it is too large."""
    try:
        answer, _ = receive(connection, deadline)
    except ssl.SSLError:
        raise  # an alert says more than the broken pipe after it
    except (OSError, http.client.HTTPException):
        raise broken from None
    if answer.status == HTTPStatus.OK:
        raise broken  # who has not read everything cannot have taken it
    return answer


def _judge_failure(error: Exception, redact: Redactor) -> Verdict:
    outcome, words = next((outcome, words) for kind, outcome, words in _FAILURES if isinstance(error, kind))
    reasons = (getattr(error, name, None) for name in ("verify_message", "reason", "strerror"))
    reason = next((str(each) for each in reasons if each), "")
    return failed(outcome, f"{words} ({redact(reason)})" if reason else words or str(error))


@contextmanager
def _timeout_means(text: str) -> Generator[None]:
    try:
        yield
    except TimeoutError:
        raise TimeoutError(text) from None
