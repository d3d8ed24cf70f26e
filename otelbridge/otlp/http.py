"""One export over OTLP/HTTP: a POST of bytes, and what its answer means.

The standard library parses the responses; sending and waiting are written here. The usual HTTP libraries
know a timeout for each read and none for the whole exchange, read an answer as long as it comes, and repeat
requests, follow redirects and obey proxy variables on their own account.
"""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import ssl
import zlib
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import quote, urlsplit

from otelbridge.concurrency import forks
from otelbridge.config import checks
from otelbridge.errors import ConfigError
from otelbridge.otlp.connection import Address, AnswerTooLongError, Connection, Deadline
from otelbridge.otlp.headers import RequestHeaders
from otelbridge.otlp.redact import Redactor, safe_url
from otelbridge.otlp.tls import Tls
from otelbridge.otlp.verdict import MAX_ANSWER, PROTOBUF, USER_AGENT, HttpAnswer, Outcome, Verdict, failed, judge_http

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from otelbridge.config.options import Otlp

_PORTS = {"http": 80, "https": 443}
_SET_HERE = re.compile("accept-encoding|connection|content-.*|expect|te|trailer|transfer-encoding|upgrade")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
# Metrics compress so well that the first level takes a third of the time of the usual one for a tenth more bytes.
_GZIP_LEVEL = 1
# We ask for none, but not everybody listens. True where the body has to be decompressed.
_ENCODINGS = {"": False, "identity": False, "gzip": True, "x-gzip": True, "deflate": True}
_MAX_HEAD = 64 * 1024
_CHUNK = 64 * 1024
# What a failure has to say besides its status is worth this many seconds.
_PATIENCE = 1.0

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

    Proxy variables of the environment are not obeyed: metrics and their credentials go where the endpoint
    says and nowhere else. For one caller at a time; `otelbridge.otlp.delivery.Delivery` sees to that.

    Args:
        config: The destination; ``metrics_endpoint`` is the URL, ``compression`` that of requests,
            ``headers_file`` names a file with more headers, read before every request.

    Raises:
        ConfigError: The endpoint, a header or a file cannot be used. No error shows a secret.
    """

    def __init__(self, config: Otlp) -> None:
        self._url = checks.url("The OTLP endpoint", config.metrics_endpoint)
        self._address, self._target, self._host = _locate(self._url)
        self._headers = RequestHeaders(self._url, config.headers, config.headers_file, forbidden=_SET_HERE)
        self._tls = Tls(config) if urlsplit(self._url).scheme == "https" else None
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
        redact = Redactor(self._url, headers)
        payload = gzip.compress(body, _GZIP_LEVEL) if self._gzip else body
        try:
            answer = self._exchange((self._head(headers, len(payload)), payload), deadline)
        except _EXPECTED as error:
            return _judge_failure(error, redact)
        return judge_http(answer, redact)

    def close(self) -> None:
        """Close the kept connection. A later request opens a new one."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.close()

    def begin_anew(self) -> None:
        """Drop the parent's connection: two processes must not talk on one."""
        self.close()

    def _head(self, headers: dict[str, str], length: int) -> bytes:
        fields = {
            "host": self._host,
            "user-agent": USER_AGENT,
            "accept-encoding": "identity",
            "content-type": PROTOBUF,
            "content-length": str(length),
            **({"content-encoding": "gzip"} if self._gzip else {}),
            **headers,
        }
        lines = [f"POST {self._target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode("ascii")

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
            connection = Connection(self._address, self._tls.context if self._tls else None, deadline)
        return self._converse(connection, request, deadline)

    def _converse(self, connection: Connection, request: Sequence[bytes], deadline: Deadline) -> HttpAnswer:
        with ExitStack() as undo:
            undo.callback(connection.close)
            connection.expect(_MAX_HEAD, deadline)
            try:
                with _timeout_means("it does not take the request in time"):
                    connection.send(request, deadline)
            except _STALE as broken:
                return _early_answer(connection, deadline, broken)
            with _timeout_means("it does not answer in time"):
                answer, keep = _receive(connection, deadline)
            if keep:
                undo.pop_all()
                self._kept = connection
            return answer


def _locate(url: str) -> tuple[Address, str, str]:
    """Take a URL apart: where to connect, the target of the request line, the ``Host`` header."""
    parts = urlsplit(url)
    try:
        host = (parts.hostname or "").encode("idna").decode()
    except UnicodeError:
        raise ConfigError(
            f"The OTLP endpoint {safe_url(url)!r} has a host that no name can be", "Give a host name or an IP address"
        ) from None
    port = parts.port or _PORTS[parts.scheme]
    named = f"[{host.partition('%')[0]}]" if ":" in host else host
    target = quote(parts.path or "/", safe=_PRINTABLE) + (
        f"?{quote(parts.query, safe=_PRINTABLE)}" if parts.query else ""
    )
    return Address(host, port), target, named if port == _PORTS[parts.scheme] else f"{named}:{port}"


def _early_answer(connection: Connection, deadline: Deadline, broken: OSError) -> HttpAnswer:
    """Read what a receiver said before it hung up in the middle of the request, for instance that it is too large."""
    try:
        answer, _ = _receive(connection, deadline)
    except ssl.SSLError:
        raise  # an alert says more than the broken pipe after it
    except (OSError, http.client.HTTPException):
        raise broken from None
    if answer.status == HTTPStatus.OK:
        raise broken  # who has not read everything cannot have taken it
    return answer


def _receive(connection: Connection, deadline: Deadline) -> tuple[HttpAnswer, bool]:
    """Read an answer, and say whether the connection can be kept after it."""
    with closing(http.client.HTTPResponse(cast("socket.socket", connection), method="POST")) as response:
        response.begin()
        body, whole = _body(response, connection, deadline)
        get = response.headers.get
        answer = HttpAnswer(
            status=response.status,
            content_type=get("content-type", ""),
            retry_after=get("retry-after", ""),
            date=get("date", ""),
            location=get("location", ""),
            body=body,
        )
        return answer, whole and not response.will_close


def _body(
    response: http.client.HTTPResponse, connection: Connection, deadline: Deadline
) -> tuple[bytearray | None, bool]:
    if response.status == HTTPStatus.OK:
        connection.expect(MAX_ANSWER + _MAX_HEAD, deadline)
        return _read(response), True
    # The status says enough; a body that does not come, or does not end, changes nothing about it.
    connection.expect(MAX_ANSWER + _MAX_HEAD, deadline.within(_PATIENCE))
    try:
        return _read(response), True
    except _EXPECTED:
        return None, False


def _read(response: http.client.HTTPResponse) -> bytearray:
    if (response.length or 0) > MAX_ANSWER:
        raise AnswerTooLongError
    body = bytearray()
    for piece in _decoded(response):
        body += piece
        if len(body) > MAX_ANSWER:
            raise AnswerTooLongError
    if response.length:
        raise http.client.IncompleteRead(b"")
    return body


def _decoded(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Give the body in pieces of at most 64 KiB, decompressed."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in _ENCODINGS:
        raise zlib.error
    if not _ENCODINGS[encoding]:
        while chunk := response.read1(_CHUNK):
            yield chunk
        return
    unzip, begun = zlib.decompressobj(zlib.MAX_WBITS | 32), False
    while chunk := response.read1(_CHUNK):
        begun = True
        while chunk and not unzip.eof:
            yield unzip.decompress(chunk, _CHUNK)
            chunk = unzip.unconsumed_tail
    if begun and not unzip.eof:
        raise zlib.error


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
