"""Words that must appear nowhere but in requests, through the front door: whole programs, all they say and send."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.components import free_port
from tests.otlp import faults
from tests.otlp.faults import GrpcReceiver, Receiver, answer
from tests.otlp.pushing import points, run_directory
from tests.workers.programs import attempt

pytestmark = pytest.mark.endtoend

ROOT = Path(__file__).parents[2]
CANARY = "c4nary"

_PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.DEBUG)
from opentelemetry import trace
from opentelemetry.metrics import Observation, get_meter
import otelbridge

def fails(_options):
    raise ValueError("{canary}-callback")

def ends(_options):
    raise SystemExit("{canary}-exit")

def odd(_options):
    return ["{canary}-observation"]

bridge = otelbridge.init(
    service_name="shop",
    prometheus=otelbridge.PrometheusOptions(mode="server", port=0, bearer_token="{canary}-scrape-token"),
    instrument=False,
    **{arguments}
)
meter = get_meter("shop")
for number, callback in enumerate((fails, ends, odd)):
    meter.create_observable_gauge(f"observed.{{number}}", [callback])
meter.create_observable_gauge("depth", [lambda _options: [Observation(3)]])
meter.create_counter("orders").add(1)
meter.create_counter("logins").add(1, {{"user.password": "{canary}-attribute", "detail": "Bearer {canary}-bearer"}})
meter.create_observable_gauge("sessions", [lambda _options: [Observation(1, {{"api_key": "{canary}-observed"}})]])
try:
    with otelbridge.tasks.task("import"):
        raise ValueError("{canary}-task")
except ValueError:
    pass
with trace.get_tracer("shop").start_as_current_span("work"):
    pass
print(repr(bridge.config), str(bridge.config), vars(bridge))
print(bridge.force_flush(0.5))
print(bridge.render())
try:
    otelbridge.init(service_name="other")
except otelbridge.ConfigError as error:
    print(repr(error), error)
print(bridge.force_flush(0.5))
print(otelbridge.shutdown(0.5))
"""


def _run(arguments: str, **environment: str):
    with run_directory() as directory:
        settings = {"PYTHONPATH": str(ROOT), "OTELBRIDGE_RUN_DIRECTORY": directory, **environment}
        program = _PROGRAM.format(canary=CANARY, arguments=arguments)
        return attempt([sys.executable, "-c", program], environment=settings)


def _with_secrets(url: str) -> str:
    """The base URL, with a user and a query."""
    base = url.removesuffix("/v1/metrics")
    return f"{base.replace('://', f'://user:{CANARY}-password@')}/?key={CANARY}-query"


def _echo(exchange: faults.Exchange) -> None:
    answer(503, f"{exchange.line} {exchange.headers}".encode(), "text/plain")(exchange)


HTTP = {"arrives": answer(), "echoes": _echo, "redirects": answer(307, Location=f"http://h/{CANARY}")}


@pytest.mark.parametrize("traces", [False, True])
@pytest.mark.parametrize("fault", [*HTTP, "nothing listens"])
def test_over_http(fault, traces, tmp_path) -> None:
    (tmp_path / "headers").write_text(f"x-file=Bearer%20{CANARY}-file")
    with Receiver(HTTP.get(fault, answer())) as receiver:
        url = f"http://127.0.0.1:{free_port()}" if fault == "nothing listens" else receiver.url
        ended = _run(
            f"{{'traces': {traces}}}",
            OTEL_EXPORTER_OTLP_ENDPOINT=_with_secrets(url),
            OTEL_EXPORTER_OTLP_HEADERS=f"x-api-key={CANARY}-header,authorization=Bearer%20{CANARY}-token",
            OTELBRIDGE_OTLP_HEADERS_FILE=str(tmp_path / "headers"),
        )
        exchanges = [each for each in receiver.exchanges if "/v1/metrics" in each.line]
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("True") >= (3 if fault == "arrives" else 0)
    assert CANARY not in ended.stdout + ended.stderr
    if fault != "nothing listens":
        sent = f"{exchanges[-1].line} {exchanges[-1].headers}"
        assert sent.count(CANARY) == 4
        assert points([exchanges[-1].body])["depth"] == [({}, 3)]
    assert CANARY.encode() not in b"".join(each.body for each in receiver.exchanges)
    assert "orders_total 1" in ended.stdout
    assert 'logins_total{detail="[hidden]",user_password="[hidden]"} 1' in ended.stdout
    assert 'sessions{api_key="[hidden]"} 1' in ended.stdout


@pytest.mark.parametrize("fault", ["arrives", "UNAUTHENTICATED", "nothing listens"])
@pytest.mark.parametrize("traces", [False, True])
def test_over_grpc(traces, fault) -> None:
    def echo(_body, context) -> bytes:
        context.abort(faults.grpc.StatusCode.UNAUTHENTICATED, str(dict(context.invocation_metadata())))
        raise AssertionError

    with GrpcReceiver(faults.grpc_answer() if fault == "arrives" else echo) as receiver:
        url = f"http://127.0.0.1:{free_port()}" if fault == "nothing listens" else receiver.url
        ended = _run(
            f"{{'traces': {traces}}}",
            OTEL_EXPORTER_OTLP_ENDPOINT=url.replace("://", f"://user:{CANARY}-password@"),
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_EXPORTER_OTLP_HEADERS=f"x-api-key={CANARY}-header",
        )
        calls = list(receiver.calls)
    assert ended.returncode == 0, ended.stderr
    assert CANARY not in ended.stdout + ended.stderr
    assert CANARY.encode() not in b"".join(body for body, _ in calls)
    if fault != "nothing listens":
        assert f"{CANARY}-header" in str(calls[-1][1])


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_HEADERS", f"{CANARY}"),
        ("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer {CANARY}%"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", f"x={CANARY}é"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:{CANARY}@host:port"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"user:{CANARY}@host"),
        ("OTELBRIDGE_OTLP_HEADERS_FILE", f"x={CANARY}"),
        ("OTELBRIDGE_OTLP_PROXY", f"https://user:{CANARY}@proxy"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_and_not_shown(variable, value) -> None:
    ended = _run("{}", **{variable: value})
    assert ended.returncode == 1
    assert "ConfigError" in ended.stderr
    assert "eaders" in ended.stderr or variable in ended.stderr
    # Python shows the program's own lines, in which the words stand.
    assert CANARY not in ended.stderr.replace(f"{CANARY}-scrape-token", "")
