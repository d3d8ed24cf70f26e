"""Which processes belong together, asked in the processes of real servers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.cells.evidence import GROUP_VARIABLE, Membership, group_of
from otelbridge.concurrency import forks
from otelbridge.diagnostics import forget_warnings
from tests.cells.servers import ROOT, Server, clean_environment, eventually, running, serve
from tests.components import missing

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.endtoend

WSGI = "tests.cells.group_app:wsgi"
ASGI = "tests.cells.group_app:asgi"


@dataclass
class Reports:
    """What the processes of a test found out about their groups."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"GROUP_APP_REPORT": str(self.file), "GROUP_APP_DIRECTORY": str(self.directory)}

    @property
    def file(self) -> Path:
        return self.directory / "report"

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def names(self) -> set[str]:
        return {report["group"]["name"] for report in self.all()}

    def why(self, pid: int) -> str:
        return next(report["group"]["why"] for report in self.all() if report["pid"] == pid)

    def wait_for(self, *pids: int) -> None:
        eventually(lambda: set(pids) <= {report["pid"] for report in self.all()}, f"reports of {pids}")

    def serve(self, kind: str, app: str, *options: str, **keywords: Any) -> AbstractContextManager[Server]:
        environment = {**self.environment, **keywords.pop("environment", {})}
        log_file = self.directory / "log"
        # What an orderly end takes is of no interest here.
        ending = keywords.pop("ending", signal.SIGKILL)
        return serve(kind, app, *options, log_file=log_file, environment=environment, ending=ending, **keywords)

    def run(self, module: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
        subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=clean_environment({**self.environment, **(environment or {})}),
            check=True,
            timeout=60,
        )


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    return Reports(tmp_path)


def expect_one_group(reports: Reports, why: str, pid: int) -> None:
    groups = {tuple(report["group"].items()) for report in reports.all()}
    assert groups == {(("name", next(iter(reports.names()))), ("why", why), ("pid", pid))}


class TestGunicorn:
    @pytest.mark.parametrize(
        ("kind", "app"),
        [
            ("gunicorn sync", WSGI),
            ("gunicorn gthread", WSGI),
            ("gunicorn asgi", ASGI),
            ("gunicorn uvicorn", ASGI),
        ],
    )
    def test_workers_of_every_class_share_the_masters_group(self, reports: Reports, kind: str, app: str) -> None:
        with reports.serve(kind, app) as server:
            reports.wait_for(*server.workers())
            expect_one_group(reports, "gunicorn worker", server.master)

    @pytest.mark.parametrize(
        ("kind", "app", "thread"),
        [
            ("gunicorn sync", WSGI, "MainThread"),
            ("gunicorn gthread", WSGI, "ThreadPoolExecutor"),
            ("gunicorn asgi", ASGI, "asyncio"),
            ("gunicorn uvicorn", ASGI, "asyncio"),
        ],
    )
    def test_a_worker_that_asks_late_from_any_thread_finds_its_master(
        self, reports: Reports, kind: str, app: str, thread: str
    ) -> None:
        with reports.serve(kind, app, environment={"GROUP_APP_LATE": "1"}) as server:
            expect_one_group(reports, "gunicorn worker", server.master)
            assert reports.all()[0]["thread"].startswith(thread)

    def test_a_hook_that_runs_before_the_worker_has_begun_finds_the_master(self, reports: Reports) -> None:
        configuration = reports.directory / "configuration.py"
        configuration.write_text(
            "def post_fork(server, worker):\n    from tests.cells.group_app import report\n    report()\n"
        )
        with reports.serve("gunicorn sync", WSGI, "--config", str(configuration)) as server:
            reports.wait_for(*server.workers())
            expect_one_group(reports, "gunicorn worker", server.master)

    def test_preload_makes_the_group_in_the_master(self, reports: Reports) -> None:
        with reports.serve("gunicorn sync", WSGI, "--preload") as server:
            eventually(lambda: server.answers() and len(reports.all()) > 1, "a worker's report")
            assert reports.why(server.master) == "gunicorn master (preload)"
            assert {report["group"]["why"] for report in reports.all()[1:]} == {GROUP_VARIABLE}
            assert len(reports.names()) == 1

    def test_recycled_workers_stay_in_the_group(self, reports: Reports) -> None:
        with reports.serve("gunicorn sync", WSGI, "--max-requests", "2") as server:
            eventually(lambda: server.answers() and len(reports.all()) >= 5, "five workers")
            expect_one_group(reports, "gunicorn worker", server.master)

    def test_workers_started_by_a_reload_stay_in_the_group(self, reports: Reports) -> None:
        with reports.serve("gunicorn gthread", WSGI) as server:
            before = server.workers()
            reports.wait_for(*before)
            server.send(signal.SIGHUP)
            eventually(lambda: not set(before) & set(server.workers()), "the old workers are gone")
            eventually(lambda: len(reports.all()) >= 4, "reports of the new workers")
            expect_one_group(reports, "gunicorn worker", server.master)

    @pytest.mark.parametrize("options", [[], ["--preload"]], ids=["each", "preload"])
    def test_masters_that_take_over_one_after_the_other_keep_the_group(
        self, reports: Reports, options: list[str]
    ) -> None:
        with reports.serve("gunicorn sync", WSGI, *options) as server:
            old = server.master
            for _ in range(2):
                old = take_over(server, reports, old)
            assert len(reports.names()) == 1
            assert reports.all()[-1]["old_master"] is None, "a worker that learns of the old master proves nothing"

    def test_new_workers_that_ask_after_the_old_master_ended_keep_the_group(self, reports: Reports) -> None:
        # A worker looks after its master about every half of the time-out.
        with reports.serve("gunicorn sync", WSGI, "--timeout", "1", environment={"GROUP_APP_LATE": "1"}) as server:
            new = successor(server, server.master)
            old = set(server.workers(server.master))
            server.send(signal.SIGKILL)
            eventually(lambda: not {server.master, *old} & set(server.processes()), "the old processes are gone")
            eventually(lambda: server.answers() and len(reports.all()) > 1, "a new worker's report")
            assert {report["parent"] for report in reports.all()} == {server.master, new}
            assert len(reports.names()) == 1

    def test_two_masters_of_one_application_are_two_groups(self, reports: Reports) -> None:
        with reports.serve("gunicorn sync", WSGI) as one, reports.serve("gunicorn sync", WSGI) as other:
            reports.wait_for(*one.workers(), *other.workers())
            assert len(reports.names()) == 2

    def test_dirty_workers_share_the_masters_group(self, reports: Reports) -> None:
        options = ["--dirty-app", "tests.cells.group_dirty:Reporting", "--dirty-workers", "1"]
        with reports.serve("gunicorn sync", WSGI, *options, environment={"GROUP_APP_LATE": "1"}) as server:
            eventually(lambda: len(reports.all()) >= 2, "a dirty worker's report")
            expect_one_group(reports, "gunicorn worker", server.master)
            assert {report["parent"] == server.master for report in reports.all()} == {True, False}


def successor(server: Server, old: int) -> int:
    """Have a master start another one, and wait for the other's workers."""
    known = set(server.processes())

    def masters() -> list[int]:
        return [pid for pid in server.processes() if pid not in known and len(server.workers(pid)) >= 2]

    server.send(signal.SIGUSR2, old)
    eventually(masters, "a new master with workers")
    return masters()[0]


def take_over(server: Server, reports: Reports, old: int) -> int:
    """Replace a master as an operator does, end the old one, and have the new one start yet more workers."""
    new = successor(server, old)
    eventually(lambda: any(new in (report["pid"], report["parent"]) for report in reports.all()), "a new report")
    promoted = server.log().count("Master has been promoted")
    server.send(signal.SIGQUIT, old)
    eventually(lambda: old not in server.processes(), "the old master is gone")
    eventually(lambda: server.log().count("Master has been promoted") > promoted, "the new master knows")
    before = set(server.workers(new))
    server.kill(min(before))
    server.send(signal.SIGTTIN, new)
    eventually(lambda: len(set(server.workers(new)) - before) >= 2, "workers younger than the old master's end")
    young = set(server.workers(new)) - before
    eventually(lambda: server.answers() and young & {report["pid"] for report in reports.all()}, f"reports of {young}")
    return new


class TestOtherServers:
    def test_uvicorns_workers_share_the_supervisors_group(self, reports: Reports) -> None:
        with reports.serve("uvicorn", ASGI) as server:
            first = server.workers()
            reports.wait_for(*first)
            server.kill(first[0])
            eventually(lambda: len(reports.all()) >= 3, "a report of the worker that replaced the killed one")
            expect_one_group(reports, "multiprocessing child", server.master)

    def test_uvicorns_reloads_stay_in_the_group(self, reports: Reports) -> None:
        watched = reports.directory / "watched"
        watched.mkdir()
        options = ["--reload", "--reload-dir", str(watched)]
        with reports.serve("uvicorn", ASGI, *options, workers=1) as server:
            reports.wait_for(*server.workers())
            # The reloader notes what is there at its first look, and reloads when a file is newer at a later one.
            eventually(lambda: touch(watched / "code.py") and len(reports.all()) >= 2, "a report after a reload")
            expect_one_group(reports, "multiprocessing child", server.master)

    @pytest.mark.parametrize("late", ["0", "1"], ids=["import", "task"])
    def test_celerys_pool_shares_the_main_processs_group(
        self, reports: Reports, monkeypatch: pytest.MonkeyPatch, late: str
    ) -> None:
        queue = reports.directory / "queue"
        queue.mkdir()
        environment = {**reports.environment, "GROUP_TASKS_QUEUE": str(queue), "GROUP_APP_LATE": late}
        program = "from tests.cells.group_tasks import report; [report.delay() for _ in range(10)]"
        sent = {**environment, "GROUP_APP_LATE": "1"}
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=clean_environment(sent), check=True, timeout=60)
        with reports.serve(
            "celery", "tests.cells.group_tasks", environment=environment, ready=lambda _: len(reports.all()) >= 2
        ) as server:
            reasons = {(report["group"]["why"], report["group"]["pid"]) for report in reports.all()}
            if late == "1":
                assert reasons == {("celery worker", server.master)}
            else:
                assert reasons == {("alone", server.master), (GROUP_VARIABLE, None)}
            assert len(reports.names()) == 1


def touch(path: Path) -> bool:
    path.write_text(f"written = {os.urandom(8)!r}\n")
    return True


@pytest.fixture
def uwsgi() -> None:
    if not Path(sys.executable).with_name("uwsgi").exists():
        missing("uwsgi", "is not installed; it is built from source by: pip install uwsgi")


@pytest.mark.components
@pytest.mark.usefixtures("uwsgi")
class TestUwsgi:
    @pytest.mark.parametrize(
        ("options", "reporting"),
        [(["--master"], "master"), (["--master", "--lazy-apps"], "workers"), (["--lazy-apps"], "all"), ([], "master")],
        ids=["master", "master lazy", "lazy", "plain"],
    )
    def test_processes_share_the_group(self, reports: Reports, options: list[str], reporting: str) -> None:
        with reports.serve("uwsgi", WSGI, *options, ready=lambda server: asked(server, reports)) as server:
            found = {report["pid"]: report["group"]["why"] for report in reports.all()}
            assert {pid for pid, why in found.items() if why == "uwsgi master"} == {
                "master": {server.master},
                "workers": set(server.workers()),
                "all": {server.master, *server.workers()},
            }[reporting]
            assert len(reports.names()) == 1

    @pytest.mark.parametrize(
        ("option", "hooks", "decorators"),
        [
            ("--enable-threads", ["earlier", "ours"], "0"),
            ("--enable-threads", ["earlier", "ours"], "1"),
            ("--py-call-osafterfork", ["ours", "python", "earlier"], "0"),
            ("--py-call-uwsgi-fork-hooks", ["ours", "python", "earlier"], "1"),
        ],
    )
    def test_forks_are_followed_once_by_whichever_hook_there_is(
        self, reports: Reports, option: str, hooks: list[str], decorators: str
    ) -> None:
        environment = {"GROUP_APP_DECORATORS": decorators}
        with reports.serve("uwsgi", WSGI, "--master", option, environment=environment) as server:
            answer = json.loads(server.ask()[1])
            assert answer["forks"] == [[hook, answer["pid"]] for hook in hooks]

    def test_the_hook_stays_silent_in_a_process_that_did_not_fork(self, reports: Reports) -> None:
        with reports.serve("uwsgi", WSGI, ready=lambda server: asked(server, reports)) as server:
            answers = [json.loads(server.ask()[1]) for _ in range(20)]
        first = [answer["forks"] for answer in answers if answer["pid"] == server.master]
        assert all(forks == [["earlier", server.master]] for forks in first)
        others = [answer for answer in answers if answer["pid"] != server.master]
        assert all(["ours", answer["pid"]] in answer["forks"] for answer in others)


def asked(server: Server, reports: Reports) -> bool:
    """Whether two processes have reported; without a master, the first one is a worker too."""
    return bool(server.workers()) and server.answers() and len(reports.all()) >= 2


def test_an_applications_own_module_of_that_name_is_left_alone() -> None:
    own = ModuleType("uwsgi")
    with patch.dict(sys.modules, {"uwsgi": own}), patch.dict(os.environ, {GROUP_VARIABLE: ""}):
        forks.register(after_in_child=os.getpid)
        assert group_of("shop").why == "alone"
    assert not hasattr(own, "post_fork_hook")


def test_evidence_that_cannot_be_read_is_reported_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    forget_warnings()
    broken = ModuleType("billiard.process")
    with patch.dict(sys.modules, {"billiard.process": broken}), patch.dict(os.environ, {GROUP_VARIABLE: ""}):
        assert group_of("shop").why == "alone"
    assert "current_process" in caplog.text


class TestFamilies:
    """A parent, its children and their children, by every way to start a process."""

    @pytest.mark.parametrize("when", ["before", "after", "never"])
    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_multiprocessing_makes_one_group(self, reports: Reports, method: str, when: str) -> None:
        reports.run("tests.cells.group_family", method, when)
        assert len(reports.all()) == (4 if when == "never" else 5)
        assert len(reports.names()) == 1

    def test_forked_children_join_a_parent_that_initialised(self, reports: Reports) -> None:
        reports.run("tests.cells.group_family", "os.fork", "before")
        assert len(reports.all()) == 3
        assert len(reports.names()) == 1

    def test_a_common_parent_alone_makes_no_group(self, reports: Reports) -> None:
        reports.run("tests.cells.group_family", "os.fork", "after")
        assert {report["group"]["why"] for report in reports.all()} == {"alone"}
        assert len(reports.names()) == 3

    def test_another_service_in_a_subprocess_is_another_group(self, reports: Reports) -> None:
        reports.run("tests.cells.group_family", "subprocess", "before")
        names = [report["group"]["name"] for report in reports.all()]
        assert len(set(names[:3])) == 1
        assert names[3] not in names[:3]

    def test_two_programs_of_one_shell_are_two_groups(self, reports: Reports) -> None:
        program = f"{sys.executable} -m tests.cells.group_app"
        shell = ["/bin/sh", "-c", f"{program} & {program} & wait"]
        with running(shell, log_file=reports.directory / "log", environment=reports.environment):
            eventually(lambda: len(reports.all()) == 2, "two reports")
        assert {report["group"]["why"] for report in reports.all()} == {"alone"}
        assert len({report["parent"] for report in reports.all()}) == 1
        assert len(reports.names()) == 2


class TestOverride:
    def test_the_same_value_and_service_make_one_group(self, reports: Reports) -> None:
        for service in ("shop", "shop", "till"):
            environment = {GROUP_VARIABLE: "blue", "GROUP_APP_SERVICE": service}
            reports.run("tests.cells.group_app", environment=environment)
        names = [report["group"]["name"] for report in reports.all()]
        assert names[0] == names[1] != names[2]
        assert names[0].startswith("blue-")

    def test_it_outweighs_what_the_server_says(self, reports: Reports) -> None:
        with reports.serve("gunicorn sync", WSGI, environment={GROUP_VARIABLE: "blue"}) as server:
            reports.wait_for(*server.workers())
            groups = [report["group"] for report in reports.all()]
        assert {(group["why"], group["pid"]) for group in groups} == {(GROUP_VARIABLE, None)}
        assert len(reports.names()) == 1

    def test_an_empty_value_is_none(self) -> None:
        with patch.dict(os.environ, {GROUP_VARIABLE: ""}):
            assert group_of("shop").why == "alone"

    @given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
    def test_any_value_makes_a_name_for_a_file(self, value: str) -> None:
        with patch.dict(os.environ, {GROUP_VARIABLE: value}):
            expect_safe(group_of("shop"))

    @given(one=st.text(), other=st.text())
    def test_any_service_makes_a_name_of_its_own(self, one: str, other: str) -> None:
        found: dict[str, Membership] = {}
        for service in (one, other):
            with patch.dict(os.environ):
                os.environ.pop(GROUP_VARIABLE, None)
                found[service] = group_of(service)
                assert os.environ[GROUP_VARIABLE]
                assert group_of(service).name == found[service].name
            expect_safe(found[service])
        assert len({membership.name for membership in found.values()}) == len(found)


def expect_safe(membership: Membership) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", membership.name)
    assert len(membership.name) <= 53
