"""A word that must appear nowhere but in requests, whatever the receiver does with it."""

from __future__ import annotations

import base64
import logging

import pytest

from otelbridge.config.options import Otlp
from otelbridge.errors import ConfigError
from otelbridge.otlp.delivery import Delivery
from otelbridge.otlp.grpc import GrpcTransport
from otelbridge.otlp.http import HttpTransport
from otelbridge.otlp.redact import safe_url
from tests.components import free_port
from tests.otlp import faults
from tests.otlp.faults import Exchange, GrpcReceiver, Receiver, answer, grpc_answer, partial

CANARY = "c4nary"
_TOKEN = base64.b64encode(f"user:{CANARY}-basic".encode()).decode()
_FORMS = (CANARY, _TOKEN, base64.b64encode(CANARY.encode()).decode().rstrip("="))


def _told(exchange: Exchange) -> str:
    return f"{exchange.line} {exchange.headers}"


def _echo_failure(exchange: Exchange) -> None:
    answer(401, _told(exchange).encode(), "text/plain")(exchange)


def _echo_status(exchange: Exchange) -> None:
    answer(503, faults.failure(_told(exchange)))(exchange)


def _echo_partial(exchange: Exchange) -> None:
    answer(200, partial(1, _told(exchange)))(exchange)


def _echo_warning(exchange: Exchange) -> None:
    answer(200, partial(0, exchange.headers["x-api-key"]))(exchange)


def _echo_redirect(exchange: Exchange) -> None:
    where = f"http://login.example/{exchange.headers['x-api-key'].replace(' ', '')}/?{exchange.line.split()[1]}"
    answer(307, Location=where)(exchange)


def _echo_type(exchange: Exchange) -> None:
    answer(200, b"x", f"text/{exchange.headers['x-api-key']}")(exchange)


def _echo_garbage(exchange: Exchange) -> None:
    exchange.send(f"{_told(exchange)}\r\n\r\n".encode())
    raise ConnectionAbortedError


HTTP_FAULTS = {
    "arrives": answer(),
    "failure": _echo_failure,
    "status": _echo_status,
    "partial": _echo_partial,
    "warning": _echo_warning,
    "redirect": _echo_redirect,
    "type": _echo_type,
    "garbage": _echo_garbage,
    "reset": faults.reset,
    "hang": faults.hang,
    "endless": faults.endless_headers,
}


def _echo_details(_body, context) -> bytes:
    context.abort(faults.grpc.StatusCode.UNAUTHENTICATED, str(dict(context.invocation_metadata())))
    raise AssertionError


def _echo_message(_body, context) -> bytes:
    return partial(1, str(dict(context.invocation_metadata())))


GRPC_FAULTS = {"arrives": grpc_answer(), "details": _echo_details, "message": _echo_message}


@pytest.fixture
def headers_file(tmp_path) -> str:
    path = tmp_path / "headers"
    path.write_text(f"x-file-key={CANARY}%20file")
    return str(path)


def _everything_said(transport, url: str, headers_file: str, caplog, capfd) -> str:
    """Send, break the header file, send again; give all that was logged, printed, returned or shown."""
    delivery = Delivery(transport, safe_url(url))
    said = [repr(transport), repr(delivery), str(transport)]
    for content in (f"x-file-key={CANARY}%20file", f"{CANARY} broken", f"x-file-key={CANARY}%2"):
        with open(headers_file, "w") as file:  # noqa: PTH123
            file.write(content)
        report = delivery.send([b""], 0.3)
        said += [repr(report), str(report), repr(delivery.state), report.verdict.text, report.verdict.message]
    delivery.close()
    assert caplog.records or report.arrived
    return "\n".join([*said, *(f"{record!r} {record.__dict__}" for record in caplog.records), *capfd.readouterr()])


def _config(url: str, headers_file: str, protocol: str = "http/protobuf") -> Otlp:
    headers = {"x-api-key": f"{CANARY} key", "proxy-authorization": f"Basic {_TOKEN}"}
    return Otlp(
        metrics_endpoint=url, traces_endpoint=url, protocol=protocol, headers=headers, headers_file=headers_file
    )


def _with_secrets(url: str) -> str:
    return f"{url.replace('://', f'://user:{CANARY}%40password@')}?key={CANARY}%20query"


def _assert_clean(said: str) -> None:
    for form in _FORMS:
        assert form not in said


@pytest.mark.parametrize("fault", HTTP_FAULTS)
def test_over_http(fault, headers_file, caplog, capfd) -> None:
    caplog.set_level(logging.DEBUG)
    with Receiver(HTTP_FAULTS[fault]) as receiver:
        url = _with_secrets(receiver.url)
        said = _everything_said(HttpTransport(_config(url, headers_file)), url, headers_file, caplog, capfd)
        sent = _told(receiver.exchanges[0])
    assert sent.count(CANARY) == 3
    assert _TOKEN in sent
    _assert_clean(said)


@pytest.mark.parametrize("fault", GRPC_FAULTS)
def test_over_grpc(fault, headers_file, caplog, capfd) -> None:
    caplog.set_level(logging.DEBUG)
    with GrpcReceiver(GRPC_FAULTS[fault]) as receiver:
        url = _with_secrets(receiver.url)
        said = _everything_said(GrpcTransport(_config(url, headers_file, "grpc")), url, headers_file, caplog, capfd)
        sent = str(receiver.calls[0][1])
    assert sent.count(CANARY) == 2
    assert _TOKEN in sent
    _assert_clean(said)


@pytest.mark.parametrize("kind", [HttpTransport, GrpcTransport])
@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_where_nothing_can_be_reached(kind, host, headers_file, caplog, capfd) -> None:
    caplog.set_level(logging.DEBUG)
    url = _with_secrets(f"http://{host}:{free_port()}")
    _assert_clean(_everything_said(kind(_config(url, headers_file)), url, headers_file, caplog, capfd))


@pytest.mark.parametrize("kind", [HttpTransport, GrpcTransport])
@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (f"ftp://user:{CANARY}@h/", {}),
        (f"http://user:{CANARY}@h:port/?{CANARY}", {}),
        (f"http://user:{CANARY}@/", {}),
        (f"http://us er:{CANARY}@h/", {}),
        ("http://h/", {"x": f"{CANARY}\n"}),
        ("http://h/", {"x\n": CANARY}),
        ("http://h/", {"x": f"{CANARY}é"}),
        ("http://h/", {"te": CANARY}),
    ],
)
def test_settings_that_cannot_be_used(kind, url, headers) -> None:
    with pytest.raises(ConfigError) as raised:
        kind(Otlp(metrics_endpoint=url, traces_endpoint=url, headers=headers))
    error: BaseException | None = raised.value
    while error is not None:
        _assert_clean(f"{error} {error!r}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
