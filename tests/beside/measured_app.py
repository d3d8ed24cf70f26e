"""A FastAPI application that calls `otelbridge.init`, and makes a span and a measurement of its own in each request."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from opentelemetry import metrics, trace

import otelbridge

# The root has a handler of theirs, which writes nowhere here.
logging.getLogger("otelbridge").addHandler(logging.StreamHandler())
app = FastAPI()
otelbridge.init(service_name="shop", app=app)
_calls = metrics.get_meter("library").create_counter("library.calls")


@app.get("/users/{number}")
def _user(number: int) -> int:
    with trace.get_tracer("library").start_as_current_span("inside"):
        _calls.add(1)
        otelbridge.business.revenue.add(2, currency="EUR")
    return number
