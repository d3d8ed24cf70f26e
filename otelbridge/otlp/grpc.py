"""One export over OTLP/gRPC: a unary call with bytes, and what its status means. Needs the package grpcio."""

from __future__ import annotations

import os
import re
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from otelbridge.concurrency import forks
from otelbridge.config import urls
from otelbridge.errors import ConfigError, MissingDependencyError
from otelbridge.otlp.connection import Address
from otelbridge.otlp.credentials import read_credentials
from otelbridge.otlp.endpoint import dns_target, grpc_endpoint
from otelbridge.otlp.headers import RequestHeaders
from otelbridge.otlp.proxies import GRPC, by_way_of, choose_proxy
from otelbridge.otlp.redact import Redactor, safe_url
from otelbridge.otlp.tls import create_context
from otelbridge.otlp.verdict import (
    MAX_ANSWER,
    USER_AGENT,
    HttpAnswer,
    Outcome,
    Verdict,
    failed,
    judge_grpc,
    judge_taken,
    judge_tunnel,
)

if TYPE_CHECKING:
    from otelbridge.config.options import Otlp

METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
"""The method that takes metrics; OTLP, metrics_service.proto."""
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
"""The method that takes spans; OTLP, trace_service.proto."""
# gRPC over HTTP/2, "Requests": names for the protocol's own use, names of values that are not text, and
# names that HTTP has and metadata has not.
_NOT_METADATA = re.compile(r"content-type|te|host|user-agent|grpc-.*|.*-bin|.*[^0-9a-z_.-].*")
# What grpcio says when a proxy refuses.
_NO_TUNNEL = re.compile("HTTP proxy returned response code ([0-9]{3})")
_STATUS_DETAILS = "grpc-status-details-bin"
# What grpcio may take to come back after its own deadline.
_GRACE = 0.1
_FORK_SUPPORT = "GRPC_ENABLE_FORK_SUPPORT"
_OFF = ("0", "f", "false", "n", "no")
_MAX_RECONNECT_MILLIS = 5000


class GrpcTransport:
    """Calls one OTLP/gRPC receiver, over a channel that is kept for the next call.

    An endpoint ``https://`` goes with TLS, ``http://`` and a socket without it unless ``insecure`` is false, and
    ``host:port`` with it unless ``insecure`` is true. Through a proxy it is always a tunnel. For one caller at a time;
    `otelbridge.otlp.delivery.Delivery` sees to that.

    Args:
        config: The destination; ``metrics_endpoint`` is the base URL, ``compression`` that of requests,
            ``headers_file`` names a file with more headers, read before every call; ``proxy`` as
            `otelbridge.otlp.proxies.choose_proxy` has it.
        method: What is called.

    Raises:
        MissingDependencyError: grpcio is not installed.
        ConfigError: The endpoint, a header or a file cannot be used. No error shows a secret.
    """

    def __init__(self, config: Otlp, method: str = METRICS) -> None:
        self._method = method
        self._grpc = _import_grpc()
        self._url = urls.endpoint("The OTLP endpoint", config.metrics_endpoint)
        self._config = config
        self._endpoint = grpc_endpoint(self._url)
        self._proxy = choose_proxy(config.proxy, self._endpoint.address, GRPC)
        self._secure = _is_secure(self._endpoint.secure, config.insecure)
        if self._secure:
            create_context(config)  # grpcio would notice unusable files only when it first connects
        self._files = read_credentials(config)
        self._headers = RequestHeaders(self._url, config.headers, config.headers_file, forbidden=_NOT_METADATA)
        codings = {"none": self._grpc.Compression.NoCompression, "gzip": self._grpc.Compression.Gzip}
        self._compression = codings[config.compression]
        self._channel: Any = None
        self._parents: list[Any] = []
        self._unusable = False
        forks.register(after_in_child=self.begin_anew)

    def __repr__(self) -> str:
        return f"GrpcTransport({safe_url(self._url)!r})"

    def post(self, body: bytes, timeout: float) -> Verdict:
        """Send one request.

        Args:
            body: An encoded ``ExportMetricsServiceRequest``.
            timeout: Seconds for everything.

        Returns:
            The verdict. Trouble of any kind with the other side is a verdict, not an exception.
        """
        forks.notice()
        if self._unusable:
            return failed(
                Outcome.MISDIRECTED,
                f"gRPC was in use before this process was forked, and {_FORK_SUPPORT} forbids it in children "
                "(unset it, or use the protocol http/protobuf)",
            )
        headers = self._headers.current()
        redact = Redactor(self._url, {**headers, **(self._proxy.headers if self._proxy else {})})
        return by_way_of(self._proxy, self._call(headers, body, timeout, redact))

    def _call(self, headers: dict[str, str], body: bytes, timeout: float, redact: Redactor) -> Verdict:
        method = self._open().unary_unary(self._method)
        arguments = {"timeout": timeout, "metadata": tuple(headers.items()), "compression": self._compression}
        try:
            # Waiting in a call would keep gRPC from preparing for a fork of the process meanwhile; waiting for
            # one does not. At the end of a process, when no thread can be had for it, nobody forks.
            if _threads_can_start():
                answer = method.future(body, **arguments).result(timeout + _GRACE)
            else:
                answer = method(body, **arguments)
        except self._grpc.RpcError as error:
            details = error.details() or ""
            if self._proxy is not None and (refused := _NO_TUNNEL.search(details)):
                return judge_tunnel(HttpAnswer(status=int(refused[1]), body=None))
            return judge_grpc(error.code().name, details, _status_of(error), redact)
        except (self._grpc.FutureTimeoutError, self._grpc.FutureCancelledError):
            return failed(Outcome.RETRY, "the gRPC call does not come back")
        return judge_taken(answer, redact)

    def close(self) -> None:
        """Close the channel. A later call opens a new one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def begin_anew(self) -> None:
        """Leave the parent's channel alone, and keep it: giving it up would run gRPC's clean-up on it."""
        if self._channel is not None:
            self._parents.append(self._channel)
            self._channel = None
            # Without fork support gRPC's locks may be held by threads that are not here. Waiting for one holds
            # the interpreter's, which stops the whole process.
            self._unusable = os.environ.get(_FORK_SUPPORT, "").lower() in _OFF

    def _open(self) -> Any:
        files = self._files
        if self._secure:
            try:
                files = read_credentials(self._config)
            except ConfigError:
                files = self._files  # they are being exchanged
        if self._channel is None or files != self._files:
            self.close()
            self._files = files
            self._channel = self._create_channel()
        return self._channel

    def _create_channel(self) -> Any:
        options = (
            ("grpc.primary_user_agent", USER_AGENT),
            ("grpc.max_receive_message_length", MAX_ANSWER),
            ("grpc.max_send_message_length", -1),  # whoever cuts the requests knows the limit
            ("grpc.max_reconnect_backoff_ms", _MAX_RECONNECT_MILLIS),
            ("grpc.enable_retries", 0),
            ("grpc.enable_http_proxy", 0),
            # Channels of a process share connections by default, even those of a parent.
            ("grpc.use_local_subchannel_pool", 1),
        )
        target, further = self._way()
        options = (*options, *further)
        if not self._secure:
            return self._grpc.insecure_channel(target, options)
        chain = self._files["client_certificate"]
        credentials = self._grpc.ssl_channel_credentials(
            self._files["certificate"], (self._files["client_key"] or chain) if chain else None, chain
        )
        return self._grpc.secure_channel(target, credentials, options)

    def _way(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Give what the channel connects to, and the options that lead to the receiver from there."""
        address = self._endpoint.address
        if not isinstance(address, Address):
            return self._endpoint.target, (("grpc.default_authority", "localhost"),)
        if self._proxy is None:
            return self._endpoint.target, ()
        # What `grpc.enable_http_proxy` does, for the proxy that was chosen here: gRPC itself looks at some of the
        # variables, and at no setting. By the authority the receiver's certificate is checked.
        headers = tuple(
            ("grpc.http_connect_headers", f"{name}: {value}") for name, value in self._proxy.headers.items()
        )
        to = str(address)
        return dns_target(self._proxy.address), (
            ("grpc.http_connect_server", to),
            ("grpc.default_authority", to),
            *headers,
        )


def _is_secure(said: bool | None, insecure: bool | None) -> bool:
    # OTLP exporter specification, "Configuration Options": without a scheme it is TLS unless told otherwise.
    return insecure is not True if said is None else said or insecure is False


def _import_grpc() -> Any:
    try:
        return import_module("grpc")
    except ImportError as error:
        raise MissingDependencyError("OTLP over gRPC", "grpcio", "grpc") from error


def _threads_can_start() -> bool:
    try:
        threading.Thread(target=int, name="otelbridge-probe", daemon=True).start()
    except RuntimeError:
        return False
    return True


def _status_of(error: Any) -> bytes | None:
    return next((value for key, value in error.trailing_metadata() or () if key == _STATUS_DETAILS), None)
