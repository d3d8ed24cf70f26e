"""Killed processes: what they had counted is delivered by the next start, once, as theirs."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource

from otelbridge.cells.book import Book
from otelbridge.cells.evidence import GROUP_VARIABLE
from otelbridge.cells.group import enter_deserted, group_directory, has_living, remove_group, remove_orphans
from otelbridge.cells.names import DESERTED, RESOURCE
from otelbridge.cells.private import Directory
from otelbridge.cells.succession import remember
from otelbridge.concurrency import forks
from otelbridge.config.options import OtlpOptions, Settings
from otelbridge.config.resolve import resolve
from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.current import Current
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View
from otelbridge.metrics.visit import Visit
from otelbridge.otlp.announcement import announce, read_announcement
from otelbridge.otlp.reader import destination_keys
from otelbridge.otlp.spool import Spool
from tests.otlp.faults import Receiver, answer, hang
from tests.otlp.pushing import destination
from tests.otlp.spooling import Programs, alive, eventually, points

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.endtoend

_DAY = 86_400.0
GROUP = "group-0123456789ab"
_UNAVAILABLE = answer(503)


def _values(receiver: Receiver, name: str = "orders") -> list[Any]:
    return [point.value for point in points(receiver, name)]


def _kill_one(started: Programs, *urls: str, **settings: Any) -> str:
    """Leave a killed process' group behind; which instance it was."""
    program = started.start(*urls, **settings)
    program("add", 1, 2, kind="a")
    instance = program("instance")
    program.kill()
    return instance


def test_the_next_start_delivers_what_a_killed_process_had_counted(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        program = started.start(receiver.url)
        program("add", 1, 2, kind="a")
        program("record", 1, 7, 30)
        program("move", -4)
        program("set", 5)
        instance = program("instance")
        program.kill()
        killed = time.time_ns()
        successor = started.start(receiver.url)
        eventually(lambda: len(started.groups) == 1)
        found = {point.name: point for point in points(receiver)}
        assert {point.instance for point in found.values()} == {instance} != {successor("instance")}
        assert found["orders"].attributes == (("kind", "a"),)
        assert found["orders"].value == 3
        assert found["size"].value[:2] == (3, 38.0)
        assert found["stock"].value == -4
        assert found.keys() == {"orders", "size", "stock"}  # a gauge ends with its process
        assert all(point.start < killed < point.time for point in found.values())
        started.start(receiver.url)
        assert successor("flush")
        assert len(points(receiver, "orders")) == 1


def test_a_visit_leaves_no_hook_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that cannot be delivered is visited again and again."""
    uwsgi: Any = ModuleType("uwsgi")
    uwsgi.masterpid = os.getppid
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)

    def visit() -> None:
        MeterProvider(processes=Visit(group_directory(tmp_path, GROUP)), shutdown_on_exit=False).shutdown()
        gc.collect()

    visit()
    hook, hooks = uwsgi.post_fork_hook, len(forks._after_in_child)
    for _ in range(3):
        visit()
    assert uwsgi.post_fork_hook is hook
    assert len(forks._after_in_child) == hooks


def test_the_resource_is_the_one_of_the_killed_process(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        _kill_one(started, receiver.url)
        (said,) = [json.loads((path / RESOURCE).read_bytes()) for path in started.groups]
        assert said["attributes"]["team"] == "blue"
        assert (started.groups[0] / RESOURCE).stat().st_mode & 0o777 == 0o600
        started.start(receiver.url)
        eventually(lambda: receiver.exchanges)
        assert b"team" in receiver.exchanges[0].body


def test_a_killed_group_is_delivered_as_one(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        workers = [started.start(receiver.url, group="old") for _ in range(3)]
        for number, worker in enumerate(workers):
            worker("add", 10**number)
        assert len({worker("instance") for worker in workers}) == 1
        for worker in workers:
            worker.kill()
        started.start(receiver.url, group="new")
        eventually(lambda: len(started.groups) == 1)
        assert _values(receiver) == [111]


def test_of_several_workers_that_start_at_once_one_delivers(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        killed = [started.start(receiver.url) for _ in range(3)]
        for program in killed:
            program("add", 1, 2)
        instances = {program("instance") for program in killed}
        for program in killed:
            program.kill()
        workers = [started.begin(receiver.url, group="new", interval=0.5) for _ in range(4)]
        for worker in workers:
            worker.ready()
        eventually(lambda: len(started.groups) == 1)
        found = points(receiver, "orders")
        assert {point.instance for point in found} == instances
        assert [point.value for point in found] == [3, 3, 3]


def test_a_dead_destination_does_not_make_another_get_it_twice(started: Programs) -> None:
    with Receiver(answer()) as living:
        with Receiver(_UNAVAILABLE) as dead:
            _kill_one(started, living.url, dead.url)
            settings = {"interval": 0.3, "timeout": 0.2, "temporality": "cumulative"}
            successor = started.start(living.url, dead.url, **settings)
            eventually(lambda: len(dead.exchanges) > 2 and _values(living))
            successor.kill()
            port = dead.port
        assert len(started.groups) >= 1
        with Receiver(answer(), port=port) as revived:
            started.start(living.url, revived.url, interval=0.3)
            eventually(lambda: len(started.groups) == 1)
            assert _values(living) == [3]
            assert _values(revived) == [3]


def test_it_is_tried_again_while_the_process_lives(started: Programs) -> None:
    with Receiver(_UNAVAILABLE, _UNAVAILABLE, answer()) as receiver:
        _kill_one(started, receiver.url)
        started.start(receiver.url, interval=0.3, timeout=0.2)
        eventually(lambda: len(started.groups) == 1)
        assert len({exchange.body[:100] for exchange in receiver.exchanges}) == 1


def test_a_successor_that_is_killed_while_it_delivers_leaves_it_to_the_next(started: Programs) -> None:
    with Receiver(hang, answer()) as receiver:
        instance = _kill_one(started, receiver.url)
        successor = started.start(receiver.url, timeout=30)
        eventually(lambda: receiver.exchanges)
        successor.kill()
        started.start(receiver.url)
        eventually(lambda: len(started.groups) == 1)
        assert {(point.instance, point.value) for point in points(receiver, "orders")} == {(instance, 3)}


def test_a_child_forked_during_the_delivery_does_not_hold_it_up(started: Programs) -> None:
    with Receiver(hang, answer()) as receiver:
        _kill_one(started, receiver.url)
        successor = started.start(receiver.url, timeout=30)
        eventually(lambda: receiver.exchanges)
        child = successor("fork")
        os.kill(successor.pid, 9)
        started.start(receiver.url)
        eventually(lambda: len(points(receiver, "orders")) == 2)
        eventually(lambda: len(started.groups) == 1)
        eventually(lambda: not alive(child))


def test_neither_start_nor_end_waits_for_a_delivery(started: Programs) -> None:
    with Receiver(hang) as receiver:
        _kill_one(started, receiver.url)
        successor = started.start(receiver.url, timeout=3600)  # which is not over before the test is
        eventually(lambda: receiver.exchanges)
        successor("shutdown", 0.1)
        successor.end()
        assert not alive(successor.pid)


def test_what_ended_in_order_is_not_delivered_again(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        workers = [started.start(receiver.url, group="old") for _ in range(2)]
        for worker in workers:
            worker("add", 1)
            worker("record", 1.5)
            worker("observe", 7)
        for worker in workers:
            assert worker("shutdown")
            worker.end()
        assert len(started.groups) == 1
        received = len(receiver.exchanges)
        started.start(receiver.url, group="new")
        eventually(lambda: [path.name for path in started.groups if path.name.startswith("new")])
        eventually(lambda: len(started.groups) == 1)
        assert len(receiver.exchanges) == received


def test_what_is_counted_after_an_orderly_end_is_delivered(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        first, second = (started.start(receiver.url, group="old") for _ in range(2))
        first("add", 1)
        second("add", 10)
        assert first("shutdown")
        first.end()
        second("add", 100)
        second.kill()
        started.start(receiver.url, group="new")
        eventually(lambda: len(started.groups) == 1)
        assert _values(receiver)[-1] == 111


def test_the_last_push_of_a_process_alone_is_made_up_for(started: Programs) -> None:
    with Receiver(_UNAVAILABLE) as receiver:
        program = started.start(receiver.url)
        program("add", 5)
        instance = program("instance")
        assert program("shutdown", 0.2) is False
        program.end()
        port = receiver.port
    with Receiver(answer(), port=port) as receiver:
        started.start(receiver.url)
        eventually(lambda: len(started.groups) == 1)
        assert [(point.instance, point.value) for point in points(receiver, "orders")] == [(instance, 5)]


def test_a_process_alone_whose_last_push_arrived_leaves_nothing(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        program = started.start(receiver.url)
        program("add", 5)
        assert program("shutdown")
        assert started.groups == []


def test_other_services_and_living_groups_are_left_alone(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        living = started.start(receiver.url)
        living("add", 1)
        _kill_one(started, receiver.url)
        other = next(path for path in started.groups if path.name != _group_of(living, started))
        said = json.loads((other / RESOURCE).read_bytes())
        (other / RESOURCE).write_text(json.dumps({**said, "service": "another"}))
        successor = started.start(receiver.url, interval=0.2)
        eventually(lambda: len(points(receiver)) or successor("flush"))
        time.sleep(0.5)  # two more looks
        assert other in started.groups
        assert _values(receiver) == []


def _group_of(program: Any, started: Programs) -> str:
    pid = str(program.pid)
    return next(path.name for path in started.groups for name in path.iterdir() if f"-{pid}-" in name.name)


_DAMAGED = {
    "empty": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "another form": b'{"form": 99, "service": "shop", "attributes": {}, "schema_url": ""}',
    "a field is missing": b'{"form": 1, "service": "shop"}',
    "a field of another type": b'{"form": 1, "service": "shop", "attributes": [], "schema_url": ""}',
    "an attribute of another type": b'{"form": 1, "service": "shop", "attributes": {"a": {}}, "schema_url": ""}',
    "no text": b"\xff\xfe\x00",
    "nested for ever": b"[" * 200_000,
    "endless": b" " * ((1 << 20) + 1),
}


@pytest.mark.parametrize("content", _DAMAGED.values(), ids=_DAMAGED.keys())
def test_a_damaged_resource_is_reported_and_skipped(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forget_warnings()
    (tmp_path / RESOURCE).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert read_announcement(tmp_path) is None
        assert read_announcement(tmp_path) is None
    assert len(caplog.records) == 1
    assert str(tmp_path / RESOURCE) in caplog.text


def test_a_resource_behind_a_link_is_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forget_warnings()
    announce(tmp_path, "shop", Resource({"a": "b"}))
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / RESOURCE).rename(elsewhere)
    (tmp_path / RESOURCE).symlink_to(elsewhere)
    assert read_announcement(tmp_path) is None
    assert "cannot be used" in caplog.text


def test_a_resource_comes_back_as_it_was(tmp_path: Path) -> None:
    given = {"text": "ä\n", "number": 3, "ratio": 2.5, "flag": True, "several": ("a", "b"), "ports": (1, 2)}
    announce(tmp_path, "shop", Resource(given, "https://schema.test/1"))
    announce(tmp_path, "another", Resource({}))  # the first one decides
    found = read_announcement(tmp_path)
    assert found is not None
    assert found.service == "shop"
    assert dict(found.resource.attributes) == given
    assert type(found.resource.attributes["ratio"]) is float
    assert type(found.resource.attributes["flag"]) is bool
    assert found.resource.schema_url == "https://schema.test/1"
    assert [path.name for path in tmp_path.iterdir()] == [RESOURCE]


def test_a_resource_that_cannot_be_written_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forget_warnings()
    announce(tmp_path / "missing", "shop", Resource({}))
    assert "the next start will not deliver" in caplog.text


def test_what_other_clients_count_is_delivered_too(started: Programs) -> None:
    with Receiver(_UNAVAILABLE) as receiver:
        program = started.start(receiver.url)
        program("count_elsewhere", 5)
        assert program("flush", 0.3) is False  # now it is in the cells
        program.kill()
        port = receiver.port
    with Receiver(answer(), port=port) as receiver:
        started.start(receiver.url)
        eventually(lambda: len(started.groups) == 1)
        assert [value for point in points(receiver) if "elsewhere" in point.name for value in [point.value]] == [5]


def test_a_destination_whose_files_are_gone_does_not_stop_the_others(started, tmp_path, caplog) -> None:
    with Receiver(answer()) as receiver:
        _kill_one(started, receiver.url)
        certificate = tmp_path / "gone.pem"
        none = Settings()
        arguments = Settings(
            service_name="shop",
            otlp=(
                OtlpOptions(metrics_endpoint="https://receiver.invalid/", certificate=str(certificate)),
                OtlpOptions(metrics_endpoint=receiver.url),
            ),
        )
        config = resolve(arguments, none, none, app=False, known_domains=frozenset())
        spool = Spool(Processes("shop", tmp_path), config, tuple)
        for _ in range(2):
            spool._look_around()
        spool.close()
        assert _values(receiver) == [3]
        assert len(started.groups) == 2  # the one that waits for the other destination, and the spool's own
    (told,) = [text for text in caplog.messages if "cannot be pushed" in text]
    assert str(certificate) in told


def test_what_is_no_group_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forget_warnings()
    none = Settings()
    arguments = Settings(service_name="shop", otlp=(OtlpOptions(metrics_endpoint="http://receiver.invalid/"),))
    config = resolve(arguments, none, none, app=False, known_domains=frozenset())
    processes = Processes("shop", tmp_path)
    assert processes.path is not None
    user = processes.path.parent
    remember(user, os.getppid(), "shop", "the group of a gunicorn master")
    assert any(path.name.startswith(".master-") for path in user.iterdir())
    (user / "a-file-0123456789ab").touch()
    (user / "a-link-0123456789ab").symlink_to(tmp_path)
    spool = Spool(processes, config, tuple)
    spool._look_around()
    spool.close()
    processes.close()
    assert [text for text in caplog.messages if "does not lie in memory" not in text] == []


class _Deserted:
    """A group with a counter, a renamed counter and a histogram that ended, as another version sees it."""

    def __init__(self, directory: Path, *views: View) -> None:
        processes = Processes("shop", directory)
        assert processes.path is not None
        self._path = processes.path
        provider = MeterProvider([InMemoryMetricReader()], views=views, processes=processes, shutdown_on_exit=False)
        meter = provider.get_meter("lib")
        meter.create_counter("plain").add(1)
        meter.create_counter("viewed").add(2)
        meter.create_histogram("sizes").record(3)
        provider.shutdown()

    def seen(self, *views: View) -> dict[str, Any]:
        directory = enter_deserted(Directory(self._path))
        assert directory is not None
        visit, reader, current = Visit(directory), InMemoryMetricReader(), Current()
        provider = MeterProvider([reader], views=views, processes=visit, shutdown_on_exit=False)
        _, streams = provider.visit(reader, current.read)
        visit.close()
        directory.leave()
        return {stream.name: stream.points[0] for stream in streams}


def test_views_of_another_version_do_not_hide_what_was_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GROUP_VARIABLE, "old")
    renaming, buckets = View(instrument_name="viewed", name="renamed"), ExplicitBucketHistogramAggregation([1, 10])
    deserted = _Deserted(tmp_path, renaming, View(instrument_name="sizes", aggregation=buckets))
    other = View(instrument_name="nothing"), View(instrument_name="of this")
    found = deserted.seen(*other, View(instrument_name="sizes", aggregation=buckets), renaming)
    assert {name: getattr(point, "value", None) for name, point in found.items()} == {
        "plain": 1,
        "renamed": 2,
        "sizes": None,
    }
    assert found["sizes"].bucket_counts == [0, 1, 0]
    # Nor does a version without any of them.
    found = deserted.seen()
    assert found.keys() == {"plain", "renamed", "sizes"}
    assert found["sizes"].bucket_counts == [0, 1, 0]


def test_a_visit_leaves_the_environment_and_the_group_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GROUP_VARIABLE, "old")
    deserted = _Deserted(tmp_path)
    (group,) = (path for path in tmp_path.glob("*/*") if path.is_dir())
    before = {path.name for path in group.iterdir()}
    assert deserted.seen()["plain"].value == 1
    assert {path.name for path in group.iterdir()} == before | {DESERTED}
    assert os.environ[GROUP_VARIABLE] == "old"


def test_a_group_with_a_process_in_it_is_not_entered(tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir(0o700)
    group = group_directory(user, GROUP)
    assert enter_deserted(Directory(group.path)) is None
    group.leave()
    book = Book.open(group.path)
    assert has_living(group)
    assert enter_deserted(Directory(group.path)) is None
    book.close()
    entered = enter_deserted(Directory(group.path))
    assert entered is not None
    assert remove_orphans(user, 0) == 0
    assert not remove_group(group_directory(user, GROUP))
    entered.leave()
    assert remove_group(group_directory(user, GROUP))
    with pytest.raises(FileNotFoundError):
        enter_deserted(Directory(group.path))


def test_a_damaged_resource_stops_nobody(started: Programs) -> None:
    with Receiver(answer()) as receiver:
        _kill_one(started, receiver.url)
        (damaged,) = started.groups
        (damaged / RESOURCE).write_bytes(b"{")
        instance = _kill_one(started, receiver.url)
        started.start(receiver.url)
        eventually(lambda: len(started.groups) == 2)
        assert [point.instance for point in points(receiver, "orders")] == [instance]
        assert damaged in started.groups


def test_what_cannot_be_delivered_for_a_day_is_given_up(started: Programs) -> None:
    with Receiver(_UNAVAILABLE) as receiver:
        _kill_one(started, receiver.url)
        (path,) = started.groups
        settings = {"interval": 0.2, "timeout": 0.1}
        started.start(receiver.url, **settings)
        eventually(lambda: (path / DESERTED).exists() and len(receiver.exchanges) > 1)
        assert path in started.groups
        long_ago = time.time() - _DAY - 60
        os.utime(path / DESERTED, (long_ago, long_ago))
        eventually(lambda: path not in started.groups)


def test_orphans_that_are_pushed_are_kept_for_a_day(tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir(0o700)
    pushed = "pushed-0123456789ab"
    for name in (pushed, "scraped-0123456789ab"):
        group = group_directory(user, name)
        if name == pushed:
            announce(group.path, "shop", Resource({}))
        group.leave()
    remove_orphans(user)
    _grow_old(user, 7200)
    assert remove_orphans(user) == 1
    assert [path.name for path in user.iterdir()] == [pushed]
    _grow_old(user, _DAY + 60)
    assert remove_orphans(user) == 1


def _grow_old(user: Path, seconds: float) -> None:
    for path in user.iterdir():
        os.utime(path, (time.time() - seconds,) * 2)


def test_no_secret_is_written_down(started: Programs) -> None:
    with Receiver(_UNAVAILABLE) as receiver:
        url = receiver.url.replace("http://", "http://user:canary-1@") + "?token=canary-2"
        _kill_one(started, url, temporality="delta")
        started.start(url, interval=0.2, timeout=0.1, temporality="delta")
        eventually(lambda: any("unclear" in file.name for path in started.groups for file in path.iterdir()))
        files = [file for path in started.groups for file in path.iterdir() if file.is_file()]
        assert files
        assert not [file for file in files if "canary" in file.name or b"canary" in file.read_bytes()]


def test_destinations_are_known_again_by_what_is_no_secret() -> None:
    url = "http://user:canary@receiver:4318/v1/metrics?token=canary"
    first, same, other, delta = destination_keys(
        [destination(url), destination(url), destination("http://other:4318"), destination(url, temporality="delta")]
    )
    assert len({first, same, other, delta}) == 4
    assert destination_keys([destination(url.replace("canary", "other-canary"))]) == [first]
    assert all(key.replace("-", "").isalnum() for key in (first, same, other, delta))
