"""A FastAPI application that calls `otelbridge.init`, also where otelbridge was started without it."""

from __future__ import annotations

import os

import otelbridge
from tests.beside.plain_app import app

otelbridge.init(service_name=os.environ.get("CALLED") or None, app=app)
assert otelbridge.init(service_name=os.environ.get("CALLED") or None, app=app).running
