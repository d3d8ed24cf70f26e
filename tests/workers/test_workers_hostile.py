"""Clients that invent whatever they can, against a real server."""

from __future__ import annotations

import http.client
import random
import string
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.workers.load import CLIENTS, ask
from tests.workers.serving import served
from tests.workers.soak import LENGTHS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend

_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "QUERY")
_LETTERS = string.ascii_letters + string.digits
_MOST_NEW = 50


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


def test_what_clients_invent_makes_no_series(environment: dict[str, str], tmp_path: Path) -> None:
    with served("uvicorn", environment=environment, log_file=tmp_path / "log", workers=2) as server:
        ask(server.port, "/work")
        before = _series(ask(server.port, "/metrics").body.decode())
        first = _attacked(server.port, 0)
        second = _attacked(server.port, CLIENTS)
        new = first - before
        by_metric = Counter(name for name, _ in new)
        assert new
        assert by_metric.most_common(1)[0][1] < _MOST_NEW, by_metric
        # All there is to find was found by the first half: methods and answers are few.
        assert second == first, "\n".join(sorted(map(str, second - first)))


def _attacked(port: int, seed: int) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Send half of the requests; the series after that, but for the service's own."""
    each = LENGTHS.hostile_requests // CLIENTS // 2
    with ThreadPoolExecutor(CLIENTS) as pool:
        answered = sum(pool.map(lambda client: _attack(port, seed + client, each), range(CLIENTS)))
    assert answered > each * CLIENTS * 0.9
    page = ask(port, "/metrics").body.decode()
    return {(name, labels) for name, labels in _series(page) if not name.startswith("service_")}
