"""How long the tests of this directory run: shortened every day, at full length with OTELBRIDGE_SOAK=1."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Lengths:
    """How much of everything there is."""

    load_seconds: float
    """How long the clients ask each server."""

    kills: int
    """How many workers of each server are killed meanwhile."""

    tasks: int
    """How many tasks celery is given."""

    children: int
    """How many children each way of starting them gives."""

    scraped_seconds: float
    """How long the service is under load that a Prometheus scrapes."""

    forks: int
    """How many children are forked off recording threads."""

    recorders: int
    """How many threads record while others fork."""

    signals: int
    """How many signals a busy process records."""

    hostile_requests: int
    """How many requests with invented hosts, paths, methods and user agents there are."""

    frozen_scrapes: int
    """How many scrapes are made while half of the workers are stopped."""

    held_seconds: float
    """How long a worker holds the interpreter's lock."""


_EVERY_DAY = Lengths(
    load_seconds=2.5,
    kills=3,
    tasks=60,
    children=3,
    scraped_seconds=8.0,
    forks=300,
    recorders=4,
    signals=2000,
    hostile_requests=2000,
    frozen_scrapes=10,
    held_seconds=2.0,
)
_SOAK = Lengths(
    load_seconds=30.0,
    kills=25,
    tasks=3000,
    children=12,
    scraped_seconds=60.0,
    forks=10_000,
    recorders=8,
    signals=2000,
    hostile_requests=20_000,
    frozen_scrapes=100,
    held_seconds=10.0,
)

_SOAKING = os.environ.get("OTELBRIDGE_SOAK") == "1"

LENGTHS = _SOAK if _SOAKING else _EVERY_DAY


def chosen(every_day: tuple[T, ...], further: tuple[T, ...]) -> tuple[T, ...]:
    """Cases of a test: some every day, all at full length."""
    return every_day + further if _SOAKING else every_day
