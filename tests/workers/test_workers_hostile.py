"""Clients that invent whatever they can, against a real server."""

from __future__ import annotations

import http.client
import random
import string
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.workers.load import CLIENTS, ask
from tests.workers.serving import served
from tests.workers.soak import LENGTHS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cells.servers import Server

pytestmark = pytest.mark.endtoend

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "QUERY")
_LETTERS = string.ascii_letters + string.digits
_MOST_NEW = 50
_WORKERS = 2
_MOST_GROWTH = _WORKERS * 10_000_000
"""Bytes of memory that the second half of the requests may cost."""


def _series(page: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """What a backend has to keep apart: names and labels, buckets counted with their histogram."""
    return {
        (family.name, frozenset((key, value) for key, value in sample.labels.items() if key != "le"))
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def _invented(chance: random.Random) -> str:
    return "".join(chance.choices(_LETTERS, k=chance.randrange(1, 40)))


def _attack(port: int, seed: int, number: int) -> int:
    chance = random.Random(seed)
    answered = 0
    for _ in range(number):
        headers = {
            "Host": f"{_invented(chance)}.example:{chance.randrange(1, 65_536)}",
            "User-Agent": _invented(chance),
            "X-Forwarded-Host": _invented(chance),
            "X-Forwarded-Proto": _invented(chance),
        }
        method = chance.choice((*_METHODS, _invented(chance).upper()))
        path = chance.choice(("/work", f"/{_invented(chance)}", f"/work/{_invented(chance)}?{_invented(chance)}"))
        try:
            ask(port, path, method, headers)
        except http.client.HTTPException:
            continue
        answered += 1
    return answered


def test_what_clients_invent_makes_no_series(
    environment: dict[str, str], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with served("uvicorn", environment=environment, log_file=tmp_path / "log", workers=_WORKERS) as server:
        ask(server.port, "/work")
        before = _series(ask(server.port, "/metrics").body.decode())
        first = _attacked(server.port, 0)
        memory = _memory(server)
        second = _attacked(server.port, CLIENTS)
        grown = _memory(server) - memory
        record_property("requests", LENGTHS.hostile_requests)
        new = first - before
        record_property("new series", len(new))
        record_property("bytes of memory", grown)
        assert 0 < len(new) < _MOST_NEW, Counter(name for name, _ in new)
        # All there is to find was found by the first half: methods that are served, and answers, are few.
        assert second == first, "\n".join(sorted(map(str, second - first)))
        assert grown < _MOST_GROWTH


def _memory(server: Server) -> int:
    return sum(psutil.Process(worker).memory_info().rss for worker in server.workers())


def _attacked(port: int, seed: int) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Send half of the requests; the series after that, but for the service's own."""
    each = LENGTHS.hostile_requests // CLIENTS // 2
    with ThreadPoolExecutor(CLIENTS) as pool:
        answered = sum(pool.map(lambda client: _attack(port, seed + client, each), range(CLIENTS)))
    assert answered > each * CLIENTS * 0.9
    page = ask(port, "/metrics").body.decode()
    return {(name, labels) for name, labels in _series(page) if not name.startswith("service_")}
