"""Every lock and every hook of the package is known where forks are handled."""

from __future__ import annotations

import ast
import gc
import threading
from functools import partial
from pathlib import Path
from types import CellType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest
from opentelemetry import metrics, trace
from opentelemetry.metrics import Observation

import otelbridge
from otelbridge.concurrency import forks
from tests.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = Path(otelbridge.__file__).parent
_HOME = _PACKAGE / "concurrency" / "forks.py"
_MAKERS = {"Lock", "RLock", "Condition", "Event", "Semaphore", "BoundedSemaphore", "Barrier", "allocate_lock"}
_LOGS = {"warning", "error", "exception", "critical", "info"}
# These say something before anything is started, with no lock held.
_SETTINGS = {_PACKAGE / "diagnostics.py", *(_PACKAGE / "config").glob("*.py")}


def calls(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            owner = getattr(getattr(called, "value", None), "id", "")
            yield f"{owner}.{name}" if owner else name, node.lineno


def test_locks_hooks_and_logs_come_from_one_place_each() -> None:
    wrong = [
        f"{path.relative_to(_PACKAGE)}:{line}: {name}"
        for path in sorted(_PACKAGE.rglob("*.py"))
        for name, line in calls(path)
        if (path != _HOME and (name.removeprefix("threading.") in _MAKERS or name.endswith("register_at_fork")))
        or (path not in _SETTINGS and name in {f"logger.{level}" for level in _LOGS})
    ]
    assert wrong == []


_LOCKS = (type(threading.Lock()), type(threading.RLock()), threading.Event, threading.Condition, threading.Semaphore)
_ROOMS = ("otelbridge", "opentelemetry.sdk.metrics", "opentelemetry.metrics", "opentelemetry.util")


_CONTAINERS = (dict, list, tuple, set, frozenset, CellType, MethodType, partial)
# Immutable attributes take theirs to be copied alone, meters of the API until there is a provider, and a child begins
# with new aggregations and reservoirs.
_UNUSED = (
    "BoundedAttributes",
    "_ProxyMeter",
    "Aggregation",
    "Reservoir",
    "SharedMatch",
    "ObservedMatch",
    "ForeignMatch",
)


def owners_and_locks(roots: list[Any]) -> Iterator[tuple[str, Any]]:
    """Walk what objects of ours and of the SDK's metrics refer to, and give each lock with a word on whose it is."""
    seen, left = {id(root) for root in roots}, [("", root) for root in roots]
    while left:
        owner, each = left.pop()
        if isinstance(each, _LOCKS):
            yield owner, each
            continue
        if isinstance(each, (ModuleType, type, threading.Thread)):
            continue
        module = getattr(type(each), "__module__", "") or ""
        if isinstance(each, FunctionType):  # not what its module has
            referents: list[Any] = [*(each.__closure__ or ()), *(each.__defaults__ or ())]
        elif isinstance(each, _CONTAINERS) or module.startswith(_ROOMS):
            referents = gc.get_referents(each)
        else:
            continue
        name = f"{module}.{type(each).__qualname__}" if module.startswith(_ROOMS) else owner
        for found in referents:
            if id(found) not in seen:
                seen.add(id(found))
                left.append((name, found))


@pytest.fixture
def everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[otelbridge.Bridge]:
    """A bridge with all that can be had at once."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("OTELBRIDGE_RUN_DIRECTORY", str(tmp_path))
    monkeypatch.delenv("OTELBRIDGE_GROUP", raising=False)
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("theirs", "theirs", registry=registry).inc()
    receiver = Receiver()
    seen = [Observation(1)]
    try:
        bridge = otelbridge.init(
            service_name="locks",
            prometheus=otelbridge.PrometheusOptions(mode="server", port=0),
            otlp=receiver.url,
            traces=True,
            engine=sqlalchemy.create_engine("sqlite://"),
            prometheus_client=registry,
        )
        meter = metrics.get_meter("locks")
        meter.create_counter("own").add(1, {"a": "b"})
        meter.create_histogram("sizes").record(1)
        meter.create_observable_gauge("seen", [lambda _: seen])
        budget = otelbridge.agents.budget("b", 5)
        budget.spend(1)
        budget.close()
        bridge.render()
        bridge.force_flush()
        yield bridge
    finally:
        otelbridge.shutdown()
        receiver.close()
        seen.clear()  # an instrument lasts as long as the process


def test_every_lock_of_a_whole_bridge_is_renewed_in_a_child(everything: otelbridge.Bridge) -> None:
    modules = [vars(module) for name, module in list(forks.sys.modules.items()) if name.startswith(_ROOMS)]
    roots = [everything, metrics.get_meter_provider(), trace.get_tracer_provider(), *modules]
    found = list(owners_and_locks(roots))
    assert len(found) > 20
    unknown = {owner for owner, lock in found if not forks.is_adopted(lock)}
    assert sorted(owner for owner in unknown if not owner.endswith(_UNUSED)) == []
