"""Jobs that may never come back: each is waited for only so long, and the others go on."""

from __future__ import annotations

import _thread
import gc
import threading
import time
import weakref

from otelbridge.concurrency.timeouts import BlockedError, TimeLimitedRunner
from tests.cells.servers import eventually


def test_a_runner_gives_results_and_errors_and_keeps_one_thread() -> None:
    runner: TimeLimitedRunner[str, int] = TimeLimitedRunner("runner-test", 0.5)
    threads = set()

    def note() -> int:
        threads.add(threading.get_ident())
        return 7

    def fail() -> int:
        raise SystemExit(3)

    for _ in range(3):
        results, errors = runner.run({"a": note, "b": fail, "c": note}, 20)
        assert results == {"a": 7, "c": 7}
        assert list(errors) == ["b"]
        assert isinstance(errors["b"], SystemExit)
    assert len(threads) == 1
    assert runner.run({}, 20) == ({}, {})
    thread = runner.thread
    runner.close()
    assert thread
    thread.join(60)
    assert not thread.is_alive()


def test_where_threads_are_replaced_later_whoever_asks_does_the_jobs(monkeypatch) -> None:
    """As gevent does that comes late: what starts then runs in the thread that starts it, once that gives way."""
    runner: TimeLimitedRunner[str, int] = TimeLimitedRunner("runner-test", 0.5)
    monkeypatch.setattr(_thread, "start_new_thread", lambda *_: None)
    assert runner.run({"a": threading.get_ident}, 20) == ({"a": threading.get_ident()}, {})
    monkeypatch.undo()
    results, _ = runner.run({"a": threading.get_ident}, 20)
    assert results["a"] != threading.get_ident()
    runner.close()


def test_a_job_that_hangs_is_left_until_it_is_back() -> None:
    runner: TimeLimitedRunner[str, str] = TimeLimitedRunner("runner-test", 0.25)
    go, begun = threading.Event(), []

    def hang() -> str:
        begun.append(1)
        go.wait(30)
        return "back"

    jobs = {"first": lambda: "1", "hangs": hang, "hangs too": hang, "last": lambda: "2"}
    for _ in range(2):
        results, errors = runner.run(jobs, 0.4)
        assert results == {"first": "1", "last": "2"}
        assert set(errors) == {"hangs", "hangs too"}
        assert all(isinstance(error, BlockedError) for error in errors.values())
    assert len(begun) == 2
    go.set()
    deadline = time.monotonic() + 60
    while runner.run(jobs, 0.4)[0].get("hangs") != "back":
        assert time.monotonic() < deadline
    runner.close()


def test_many_slow_jobs_have_an_end_together() -> None:
    runner: TimeLimitedRunner[int, None] = TimeLimitedRunner("runner-test", 0.25)
    began = time.monotonic()
    results, errors = runner.run({at: lambda: time.sleep(0.05) for at in range(1000)}, 0.4)
    assert time.monotonic() - began < 30  # a thousand of them would take longer
    assert len(results) + len(errors) == 1000
    assert errors
    runner.close()


def test_one_that_comes_back_just_when_it_is_given_up_is_not_left_out_for_ever() -> None:
    """Whether a job has come back is decided once; who is blamed for what another one took stays out for good."""
    runner: TimeLimitedRunner[int, int] = TimeLimitedRunner("runner-test", 0.5)
    for at in range(150):
        seconds = 0.002 + at % 5 * 0.0002
        results, errors = runner.run({1: lambda: time.sleep(0.001) or 1, 2: lambda: time.sleep(0.001) or 2}, seconds)
        assert results.keys() | errors.keys() == {1, 2}
        assert not results.keys() & errors.keys()
    deadline = time.monotonic() + 60
    while runner.run({1: lambda: 1, 2: lambda: 2}, 20)[0] != {1: 1, 2: 2}:
        assert time.monotonic() < deadline
    runner.close()


def test_nothing_is_begun_once_nobody_waits() -> None:
    runner: TimeLimitedRunner[str, str] = TimeLimitedRunner("runner-test", 0.5)
    go, begun = threading.Event(), []
    jobs = {"hangs": lambda: str(go.wait(30)), "next": lambda: begun.append(1) or "next"}
    results, errors = runner.run(jobs, 0.4)
    assert results == {"next": "next"}
    assert set(errors) == {"hangs"}
    go.set()
    deadline = time.monotonic() + 60
    while runner.run({"hangs": lambda: "back"}, 20)[0] != {"hangs": "back"}:
        assert time.monotonic() < deadline
    assert begun == [1]
    runner.close()


def test_one_after_the_other_gets_its_share_though_others_were_slow() -> None:
    runner: TimeLimitedRunner[int, int] = TimeLimitedRunner("runner-test", 0.25)
    results, errors = runner.run({at: lambda: time.sleep(0.2) or 1 for at in range(8)}, 8)
    assert (len(results), errors) == (8, {})
    runner.close()


def test_who_asks_does_it_where_no_thread_can_be_had(monkeypatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    where: list[threading.Thread] = []
    runner: TimeLimitedRunner[str, None] = TimeLimitedRunner("runner-test", 0.5)
    with monkeypatch.context() as limit:
        limit.setattr(threading.Thread, "start", refuse)
        assert runner.run({"a": lambda: where.append(threading.current_thread())}, 20) == ({"a": None}, {})
    runner.close()
    assert runner.run({"a": lambda: where.append(threading.current_thread())}, 20) == ({"a": None}, {})
    assert where == [threading.current_thread()] * 2


def test_no_thread_outlives_it() -> None:
    runner: TimeLimitedRunner[str, None] = TimeLimitedRunner("runner-test", 0.5)
    runner.run({"a": lambda: None}, 20)
    thread = runner.thread
    assert thread
    del runner
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_threads_that_were_left_leave_nothing_behind() -> None:
    runner: TimeLimitedRunner[str, object] = TimeLimitedRunner("runner-test", 0.5)
    known = len(weakref.finalize._registry)
    for _ in range(3):
        runner.run({"slow": lambda: time.sleep(0.1)}, 0.02)
    eventually(lambda: len(weakref.finalize._registry) <= known + 1, "no finalizer is left")
    runner.close()
