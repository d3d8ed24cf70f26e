"""Histogram boundaries, each set named once with its origin."""

from __future__ import annotations

from typing import NamedTuple

from otelbridge.catalogue.model import Buckets

HTTPD = Buckets(
    "HTTPD",
    (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    "semantic conventions: http.server.request.duration",
)
DB = Buckets(
    "DB",
    (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0),
    "semantic conventions: db.client.operation.duration",
)
GEN = Buckets(
    "GEN",
    (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    "GenAI semantic conventions: client and tool durations, streaming",
)
FIRST_TOKEN = Buckets(
    "FIRST_TOKEN",
    (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    "GenAI semantic conventions: gen_ai.server.time_to_first_token",
)
NEXT_TOKEN = Buckets(
    "NEXT_TOKEN",
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
    "GenAI semantic conventions: gen_ai.server.time_per_output_token",
)
AGENT = Buckets(
    "AGENT",
    (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6),
    "GenAI semantic conventions: gen_ai.invoke_agent.duration",
)
WF = Buckets(
    "WF",
    (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0),
    "GenAI semantic conventions: gen_ai.invoke_workflow.duration",
)
TOK = Buckets(
    "TOK",
    tuple(float(4**power) for power in range(14)),
    "GenAI semantic conventions: tokens per operation",
)
CALLS = Buckets(
    "CALLS",
    (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0),
    "GenAI semantic conventions: calls per agent invocation",
)
LONG = Buckets(
    "LONG",
    (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0),
    "own: background work from milliseconds to hours",
)
SIZE = Buckets(
    "SIZE",
    (0.0, 128.0, 512.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0),
    "own: the conventions advise none for body sizes, and the SDK's default ends at 10 000 bytes",
)
CONF = Buckets(
    "CONF",
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0),
    "own: confidence from 0 to 1",
)
MONEY = Buckets(
    "MONEY",
    (
        *(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0),
        *(100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0),
    ),
    "own: amounts of money; replace them by a view where yours are of another size",
)
COST = Buckets(
    "COST",
    (0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0),
    "own: what one operation costs, from a thousandth of a cent",
)
HUMAN = Buckets(
    "HUMAN",
    (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0),
    "own: how long people take to decide",
)
SLOW = Buckets(
    "SLOW",
    (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0, 604800.0),
    "own: work from seconds to a week",
)
SESS = Buckets(
    "SESS",
    (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0),
    "own: length of a user session",
)


class Fit(NamedTuple):
    """Boundaries for histograms of other libraries."""

    name: str
    """Name of the instrument, ``*`` and ``[...]`` as in a view."""

    unit: str
    """Its unit, likewise."""

    buckets: Buckets


FITS = (
    Fit("gen_ai.server.time_to_first_token", "s", FIRST_TOKEN),
    Fit("gen_ai.server.time_per_output_token", "s", NEXT_TOKEN),
    Fit("gen_ai.*", "s", GEN),
    Fit("operation.cost", "*", COST),
    Fit("*cost*", "{[A-Z][A-Z][A-Z]}", COST),
    Fit("*cost*", "[A-Z][A-Z][A-Z]", COST),
    Fit("*cost*", "{currency}", COST),
    Fit("*", "{[A-Z][A-Z][A-Z]}", MONEY),
    Fit("*", "[A-Z][A-Z][A-Z]", MONEY),
    Fit("*", "{currency}", MONEY),
    Fit("*", "{token*}", TOK),
    Fit("*", "token*", TOK),
    Fit("*", "s", HTTPD),
    Fit("*", "By", SIZE),
)
"""Boundaries for histograms of other libraries that bring no advice of their own; the first that fits counts. The
SDK's default (0, 5, 10, 25, ... 10000) is a ladder of milliseconds, and useless for seconds, tokens and cents."""
