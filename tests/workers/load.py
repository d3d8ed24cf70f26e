"""Clients that ask a server for work and keep a tally, and one that scrapes all along."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from tests.cells.servers import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cells.servers import Server

Values = dict[tuple[str, frozenset[tuple[str, str]]], float]

CLIENTS = 4
_PATIENCE = 60.0
_BETWEEN_SCRAPES = 0.1
_ENOUGH = 5


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes
    worker: int
    """The process that answered; 0 where it does not say."""


def ask(port: int, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """Send one request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        connection.request(method, path, headers={"Connection": "close", **(headers or {})})
        answer = connection.getresponse()
        return Answer(answer.status, answer.read(), int(answer.headers.get("X-Worker", "0")))
    finally:
        connection.close()


def counters(page: str) -> Values:
    """The samples that may only rise: those of counters and histograms. One that is there twice fails."""
    found: Values = {}
    for family in text_string_to_metric_families(page):
        if family.type not in ("counter", "histogram"):
            continue
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def total(values: Values, name: str, **labels: str) -> float:
    """The sum of all samples of a name that have the labels."""
    return sum(value for (each, have), value in values.items() if each == name and labels.items() <= dict(have).items())


def creations(page: str) -> Values:
    """The samples that say when a series began."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.endswith("_created")
    }


@dataclass
class Tally:
    """What became of the requests."""

    answered: int = 0
    unanswered: int = 0
    """Requests that were sent, and whose server then was gone: whether they count is unknown."""
    refused: int = 0
    """Attempts that never reached a server."""
    wrong: list[Answer] = field(default_factory=list[Answer])

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.answered + other.answered,
            self.unanswered + other.unanswered,
            self.refused + other.refused,
            self.wrong + other.wrong,
        )


class Load:
    """Clients in threads, each with at most one request under way. A context manager: it stops at the end."""

    def __init__(self, port: int, path: str = "/work") -> None:
        self._port = port
        self._path = path
        self._stop = threading.Event()
        self._tallies = [Tally() for _ in range(CLIENTS)]
        self._threads = [threading.Thread(target=self._run, args=(tally,)) for tally in self._tallies]

    @property
    def tally(self) -> Tally:
        """All clients' together."""
        return sum(self._tallies, Tally())

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, tally: Tally) -> None:
        while not self._stop.is_set():
            try:
                answer = ask(self._port, self._path)
            except ConnectionRefusedError:
                tally.refused += 1
                time.sleep(0.02)
            except (OSError, http.client.HTTPException):
                tally.unanswered += 1
            else:
                if answer.status == http.HTTPStatus.OK:
                    tally.answered += 1
                else:
                    tally.wrong.append(answer)
            # A pause lets the workers share the requests, and the machine breathe.
            time.sleep(0.002)


class Watch:
    """Scrapes in a thread, several times a second, and notes whatever falls or changes that must not."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._highest: Values = {}
        self._created: Values = {}
        self.scrapes = 0
        self.workers: set[int] = set()
        self.faults: list[str] = []

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def has_seen_enough(self) -> bool:
        """Whether so many scrapes were answered that a fall would have shown."""
        return self.scrapes >= _ENOUGH

    def _run(self) -> None:
        while not self._stop.wait(_BETWEEN_SCRAPES):
            try:
                answer = ask(self._port, "/metrics")
            except (OSError, http.client.HTTPException):
                continue
            self.take(answer)

    def take(self, answer: Answer) -> None:
        """Compare one more scrape with those before."""
        if answer.status != http.HTTPStatus.OK:
            self.faults.append(f"scrape answered {answer.status}: {answer.body[:500]!r}")
            return
        self.scrapes += 1
        self.workers.add(answer.worker)
        page = answer.body.decode()
        now = counters(page)
        for key, value in self._highest.items():
            if key not in now:
                self.faults.append(f"{key} is gone, it was {value}, in {answer.worker}")
            elif now[key] < value:
                self.faults.append(f"{key} fell from {value} to {now[key]} in {answer.worker}")
        for key, value in creations(page).items():
            if self._created.setdefault(key, value) != value:
                self.faults.append(f"{key} changed to {value} in {answer.worker}")
        self._highest |= {key: max(value, self._highest.get(key, value)) for key, value in now.items()}


def scrape_each(server: Server) -> dict[int, str]:
    """What each worker shows, by its process id. The others are stopped meanwhile, so that it has to answer."""
    pages: dict[int, str] = {}

    def scrape_another() -> bool:
        workers = server.workers()
        missing = [worker for worker in workers if worker not in pages]
        if missing:
            answer = _scrape(server, [other for other in workers if other != missing[0]])
            # One that is recycled leaves, and its successor answers.
            pages[answer.worker] = answer.body.decode()
        return not missing

    eventually(scrape_another, "each worker was scraped")
    return pages


def _scrape(server: Server, stopped: list[int]) -> Answer:
    try:
        for worker in stopped:
            _signal(signal.SIGSTOP, worker)
        return ask(server.port, "/metrics")
    finally:
        for worker in stopped:
            _signal(signal.SIGCONT, worker)


def _signal(number: int, worker: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(worker, number)


def kill_now_and_then(server: Server, kills: int, seconds: float, victims: Callable[[], list[int]]) -> int:
    """Kill one of the victims at random now and then; how many were killed."""
    killed = 0
    for _ in range(kills):
        time.sleep(seconds / (kills + 1))
        found = victims()
        if found:
            server.kill(random.choice(found))
            killed += 1
    time.sleep(seconds / (kills + 1))
    return killed
