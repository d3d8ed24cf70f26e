"""How long the tests of many processes and of floods run: shortened every day, in full with OTELBRIDGE_SOAK=1."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Lengths:
    """How much of everything there is."""

    workers: int
    """How many workers each server has."""

    load_seconds: float
    """How long the clients ask each server."""

    kills: int
    """How many workers of each server are killed meanwhile."""

    victims: int
    """How many children that record flat out are killed from outside, and how many kill themselves."""

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

    collector_seconds: float
    """How long a real collector comes and goes while workers are killed."""

    folded_rounds: int
    """How many times four processes are folded by others that are killed while they do it."""

    stress_seconds: float
    """How long series are recorded, hidden and read at once."""

    sets: int
    """How many attribute sets each instrument is flooded with."""

    passing_sets: int
    """How many times an attribute set comes and goes."""

    names: int
    """How many instruments there are."""

    scopes: int
    """How many meters there are."""


_EVERY_DAY = Lengths(
    workers=2,
    load_seconds=1.2,
    kills=2,
    victims=40,
    tasks=60,
    children=2,
    scraped_seconds=5.0,
    forks=200,
    recorders=4,
    signals=2000,
    hostile_requests=1200,
    frozen_scrapes=10,
    held_seconds=1.0,
    collector_seconds=15.0,
    folded_rounds=60,
    stress_seconds=15.0,
    sets=20_000,
    passing_sets=8000,
    names=13_000,
    scopes=12_000,
)
_SOAK = Lengths(
    workers=4,
    load_seconds=20.0,
    kills=25,
    victims=1000,
    tasks=2000,
    children=12,
    scraped_seconds=60.0,
    forks=10_000,
    recorders=8,
    signals=2000,
    hostile_requests=50_000,
    frozen_scrapes=100,
    held_seconds=10.0,
    collector_seconds=300.0,
    folded_rounds=2400,
    stress_seconds=150.0,
    sets=1_000_000,
    passing_sets=250_000,
    names=1_000_000,
    scopes=100_000,
)

SOAKING = os.environ.get("OTELBRIDGE_SOAK") == "1"

LENGTHS = _SOAK if SOAKING else _EVERY_DAY


def chosen(every_day: tuple[T, ...], further: tuple[T, ...]) -> tuple[T, ...]:
    """Cases of a test: some every day, all at full length."""
    return every_day + further if SOAKING else every_day
