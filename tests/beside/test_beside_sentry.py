"""Beside Sentry with its integrations for Starlette and FastAPI, by itself and over OpenTelemetry."""

from __future__ import annotations

import pytest

from tests.beside.programs import outcome

pytestmark = pytest.mark.endtoend

_PROGRAM = """
import otelbridge, sentry_sdk
from fastapi import FastAPI
from fastapi.testclient import TestClient
from opentelemetry import trace
from sentry_sdk.integrations.opentelemetry.integration import OpenTelemetryIntegration
from sentry_sdk.integrations.otlp import OTLPIntegration
from sentry_sdk.transport import Transport

sent = []
modes = {
    "plain": {},
    "otlp": {"integrations": [OTLPIntegration(setup_otlp_traces_exporter=False)]},
    "spans": {"instrumenter": "otel", "integrations": [OpenTelemetryIntegration()]},
}

class Kept(Transport):
    def capture_envelope(self, envelope):
        sent.extend(item.payload.json for item in envelope.items if item.type in ("event", "transaction"))

app = FastAPI()
app.get("/users/{number}")(lambda number: number)
app.get("/broken")(lambda: 1 / 0)

def theirs():
    sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", transport=Kept, traces_sample_rate=1.0, **modes[sys.argv[3]])

steps = {"theirs": theirs, "ours": lambda: otelbridge.init(app=app)}
for step in sys.argv[1:3]:
    steps[step]()
with TestClient(app, raise_server_exceptions=False) as client:
    statuses = [client.get(path).status_code for path in ("/users/1", "/users/2", "/broken")]
    page = client.get("/metrics").text
otelbridge.shutdown()
sentry_sdk.get_client().close()
ours = [line for line in page.splitlines() if line.startswith("http_server_request_duration_seconds_count")]
tell({
    "statuses": statuses,
    "errors": [each["exception"]["values"][-1]["type"] for each in sent if "exception" in each],
    "transactions": sorted(each["transaction"] for each in sent if each.get("type") == "transaction"),
    "users": sum(float(line.rpartition(" ")[2]) for line in ours if "/users/" in line),
    "broken": [line.rpartition(" ")[2] for line in ours if "/broken" in line and 'status_code="500"' in line],
    "names": len(ours),
})
"""


@pytest.mark.parametrize("order", [("theirs", "ours"), ("ours", "theirs")])
@pytest.mark.parametrize("mode", ["plain", "otlp", "spans"])
def test_their_errors_and_transactions_and_our_metrics(order, mode) -> None:
    found = outcome(_PROGRAM, *order, mode)
    told = found.told
    assert told["statuses"] == [200, 200, 500]
    assert told["errors"] == ["ZeroDivisionError"]
    # Over OpenTelemetry they are the spans that FastAPI makes.
    users = "GET /users/{number}" if mode == "spans" else "/users/{number}"
    assert [name for name in told["transactions"] if "users" in name] == [users] * 2
    assert (told["users"], told["broken"], told["names"]) == (2, ["1"], 2)
    assert not found.lines_of("otelbridge")
