"""Rolling restarts with changed code, under load, as a real Prometheus sees them: no total falls, nothing is lost."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cells.servers import Server, eventually
from tests.workers.load import Load, Watch, ask, counters
from tests.workers.scraped import resets, scraped
from tests.workers.serving import served
from tests.workers.soak import SOAKING, chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

pytestmark = [pytest.mark.endtoend, pytest.mark.components]

_INTERVAL = 0.5
_WORKERS = 2
_SCRAPES = 3
"""Scrapes of each version, by whichever of its workers answers."""

_VIEW = {"instrument_name": "service.orders", "attribute_keys": ["kind"]}
_VERSIONS: dict[str, dict[str, Any]] = {
    "the first": {"views": [_VIEW]},
    "a view in front": {"views": [{"instrument_name": "something.else", "attribute_keys": ["kind"]}, _VIEW]},
    "no view": {"views": []},
    "boundaries": {"views": [_VIEW], "boundaries": [1, 5, 10, 50, 150]},
    "kept keys": {"views": [{"instrument_name": "service.orders", "attribute_keys": ["color"]}]},
    "unit": {"views": [_VIEW], "unit": "By"},
    "kind": {"views": [_VIEW], "kind": "up_down_counter"},
    "description": {"views": [_VIEW], "description": "Orders that came in."},
    "limit": {"views": [_VIEW], "init": {"cardinality_limit": 100}},
    "domains": {"views": [_VIEW], "init": {"domains": []}},
    "secrets": {"views": [_VIEW], "init": {"hide_secrets": False}},
    "resource": {"views": [_VIEW], "init": {"resource_attributes": {"team": "blue"}}},
}


def _pairs(names: Sequence[str]) -> Iterator[str]:
    """Go from each version to each other one, once."""
    for at, name in enumerate(names):
        for other in names[at + 1 :]:
            yield from (name, other)
    yield names[0]


_WALK = tuple(_pairs(tuple(_VERSIONS))) if SOAKING else tuple(_VERSIONS)


class _Master:
    """The process that starts the workers; another one after it has been replaced."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pid = server.master
        self._upgrades = 0

    def reload(self) -> None:
        """Replace the workers."""
        old = set(self._server.workers())
        self._server.send(signal.SIGHUP, self._pid)
        self._await(lambda: not old & self._workers())

    def upgrade(self) -> None:
        """Replace the master by another one, which has workers of its own."""
        old, before = self._workers(), self._pid
        self._server.send(signal.SIGUSR2, before)
        self._await(lambda: len(self._workers() - old) >= _WORKERS)
        self._pid = psutil.Process(min(self._workers() - old)).ppid()
        self._server.send(signal.SIGQUIT, before)
        self._await(lambda: not old & self._workers())
        if before == self._server.master:
            self._server.process.wait(30)
        # Until then it takes no other in its place.
        self._upgrades += 1
        eventually(lambda: self._server.log().count("has been promoted") >= self._upgrades, "the new master is alone")

    def _workers(self) -> set[int]:
        return set(self._server.workers())

    def _await(self, done: Callable[[], bool]) -> None:
        eventually(
            lambda: done() and len(self._workers()) >= _WORKERS,
            lambda: f"the workers were replaced:\n{self._server.log()[-3000:]}",
            120.0,
        )


_WAYS = {
    "gunicorn HUP": ("gunicorn gthread", _Master.reload),
    "gunicorn USR2": ("gunicorn gthread", _Master.upgrade),
    "uvicorn HUP": ("uvicorn", _Master.reload),
}


@pytest.fixture
def version(tmp_path: Path, environment: dict[str, str]) -> Callable[[str], None]:
    """Change the code of the service."""
    path = tmp_path / "version.json"
    environment["SERVICE_VERSION"] = str(path)

    def change(name: str) -> None:
        following = path.with_suffix(".new")
        following.write_text(json.dumps(_VERSIONS[name]), "utf-8")
        following.replace(path)

    change(_WALK[0])
    return change


def _counted(page: str, start: str, end: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith(start) and sample.name.endswith(end) and not sample.name.endswith("_created")
    )


@pytest.mark.parametrize("way", chosen(("gunicorn HUP",), ("gunicorn USR2", "uvicorn HUP")))
def test_restarts_with_changed_code_keep_all_totals(
    way: str,
    environment: dict[str, str],
    version: Callable[[str], None],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    name, replace = _WAYS[way]
    module = "tests.workers.service_versions"
    with (
        served(name, environment=environment, log_file=tmp_path / "log", workers=_WORKERS, module=module) as server,
        scraped(server, tmp_path / "stack", _INTERVAL) as stack,
    ):
        master = _Master(server)
        with Watch(server.port) as watch, Load(server.port) as load:
            for following in _WALK[1:]:
                enough = watch.scrapes + _SCRAPES
                eventually(lambda enough=enough: watch.scrapes >= enough, "some scrapes were answered", 120.0)
                version(following)
                replace(master)
            enough = watch.scrapes + _SCRAPES
            eventually(lambda: watch.scrapes >= enough, "some scrapes were answered", 120.0)
        tally = load.tally
        assert not tally.wrong
        # Each shows the buckets of its own version; what they count does not fall.
        assert [fault for fault in watch.faults if not ("_bucket" in fault and "is gone" in fault)] == []
        page = ask(server.port, "/metrics").body.decode()
        for start, end in (("service_orders", ""), ("service_size", "_count")):
            assert tally.answered <= _counted(page, start, end) <= tally.answered + tally.unanswered
        names = {name for name, _ in counters(page)}
        assert resets(stack, names, "3h") == {}
        figures = {"restarts": len(_WALK) - 1, "answered": tally.answered, "unanswered": tally.unanswered}
        for figure, value in {**figures, "scrapes": watch.scrapes, "checked for resets": len(names)}.items():
            record_property(figure, value)
