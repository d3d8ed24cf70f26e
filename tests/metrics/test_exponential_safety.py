"""Recording into exponential histograms from everywhere at once: nothing is lost, nothing waits, nothing is torn."""

from __future__ import annotations

import gc
import json
import math
import mmap
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from array import array
from collections import Counter
from functools import partial
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest

from otelbridge.cells.exponential import Distribution, coarser, read_row, row_length
from otelbridge.metrics.exponential import ExponentialSeries
from otelbridge.metrics.series import LOCK_FREE
from tests.metrics.taking import take

CLASSES = [ExponentialSeries]
SIZE = 20


def cell(raw: Any = None, raw_at: int = 0, size: int = SIZE) -> Any:
    return SimpleNamespace(
        raw=memoryview(array("q", [0] * row_length(size))) if raw is None else raw,
        raw_at=raw_at,
        totals=memoryview(array("d", [-0.0])),
        totals_at=0,
        lows=memoryview(array("d", [math.inf] * 2)),
        lows_at=0,
    )


def spreading(seed: int, number: int = 40) -> list[float]:
    """Amounts whose range grows so that about every second one lowers the scale."""
    source = random.Random(seed)
    return [2.0 ** (source.uniform(-1, 1) * 1.5**step * 1e-5) for step in range(number)]


def told(amounts: list[float], cls: Any = ExponentialSeries) -> Distribution:
    made = cls({}, 0, SIZE)
    record_all(made, amounts)
    return made.snapshot().distribution


def record_all(made: Any, amounts: list[float]) -> None:
    for amount in amounts:
        made.record(amount)


def lowered(found: Distribution, scale: int) -> Distribution:
    if not found.positive.counts and not found.negative.counts:
        return found._replace(scale=scale)
    sides = [coarser(side, found.scale - scale) for side in (found.positive, found.negative)]
    return Distribution(scale, found.zero_count, *sides)


@pytest.mark.skipif(not LOCK_FREE, reason="this interpreter makes no promise, so a lock is taken instead")
class Tape:
    """Slots that look at themselves after every single 8-byte store, as a process killed there would leave them."""

    def __init__(self, length: int) -> None:
        self.slots = [0] * length
        self.seen: list[Distribution] = []

    def __getitem__(self, at: int) -> int:
        return self.slots[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        places = [(at, value)] if isinstance(at, int) else list(zip(range(at.start, at.stop), value, strict=True))
        # In any order, since nobody promises one within a copied stretch.
        random.Random(len(self.seen)).shuffle(places)
        for place, each in places:
            self.slots[place] = each
            self.seen.append(read_row(self.slots))


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_any_store_a_row_holds_what_was_true_before_or_after(seed) -> None:
    tape, made = Tape(row_length(SIZE)), ExponentialSeries({}, 0, SIZE)
    made.record(1.5)
    made.attach(cell(tape))
    assert set(tape.seen) == {Distribution(0, 0, (0, ()), (0, ())), made.snapshot().distribution}
    source = random.Random(seed)
    for amount in [each * source.choice([1, 1, 1, -1, 0]) for each in spreading(seed)]:
        tape.seen.clear()
        before = made.snapshot().distribution
        made.record(amount)
        after = made.snapshot().distribution
        assert tape.seen[-1] == after
        for seen in set(tape.seen):
            assert lowered(seen, after.scale) in (lowered(before, after.scale), after)


def test_killed_at_any_store_of_attaching_a_row_holds_the_former_or_the_latter() -> None:
    tape, former = Tape(row_length(SIZE)), Distribution(0, 0, (0, ()), (0, ()))
    for seed in range(10):
        made = ExponentialSeries({}, 0, SIZE)
        record_all(made, [*spreading(seed), 0, -3.0])
        tape.seen.clear()
        made.attach(cell(tape))
        latter = made.snapshot().distribution
        assert set(tape.seen) == {former, latter}
        former = latter


@pytest.fixture
def hasty():
    """Threads that switch as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def together(*jobs: Any) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(len(jobs))

    def run(job: Any) -> None:
        try:
            barrier.wait()
            job()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def move(made: Any, slots: Any) -> None:
    """Publish here and there while others record, at last in the given slots."""
    for _ in range(40):
        made.attach(cell())
    made.attach(slots)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.usefixtures("hasty")
class TestThreads:
    def test_lose_nothing_while_the_scale_falls(self, cls) -> None:
        for seed in range(40):
            made, slots = cls({}, 0, SIZE), cell()
            parts = [[*spreading(seed * 10 + number), 0, -1.0] for number in range(6)]
            jobs = [partial(record_all, made, part) for part in parts]
            together(partial(move, made, slots), *jobs)
            everything = [*chain(*parts)]
            found = made.snapshot()
            assert found.distribution == told(everything)
            assert (found.min, found.max) == (min(everything), max(everything))
            assert read_row(slots.raw.tolist()) == found.distribution
            assert slots.totals[0] == found.sum
            assert slots.lows.tolist() == [found.min, -found.max]

    def test_lose_nothing_on_one_bucket(self, cls) -> None:
        made, slots, number = cls({}, 0, SIZE), cell(), 4000
        made.attach(slots)
        together(*[partial(record_all, made, [3] * number) for _ in range(6)])
        assert (made.snapshot().count, made.snapshot().sum) == (6 * number, 18 * number)
        assert (slots.totals[0], sum(slots.raw[7 : 7 + SIZE])) == (18 * number, 6 * number)

    def test_readers_see_one_moment(self, cls) -> None:
        made, stop, lows, highs = cls({}, 0, SIZE), threading.Event(), [], []

        def read() -> None:
            last = 0
            while not stop.is_set():
                found, low, high = take(made)
                # Every amount is one more than a whole thousand, so the sum tells how many there are.
                assert found.sum % 1000 == found.count % 1000
                assert found.count >= last
                last = found.count
                lows.append(low)
                highs.append(high)

        def write(first: int) -> None:
            for step in range(900):
                made.record(1000 ** (1 + (first + step) % 5) + 1)

        def write_all() -> None:
            together(*[lambda first=first: write(first) for first in range(3)])
            stop.set()

        together(read, read, write_all)
        found, low, high = take(made)
        assert found.count == 2700
        assert (min(low, *lows), max(high, *highs)) == (found.min, found.max) == (1001, 1000**5 + 1)


@pytest.mark.parametrize("cls", CLASSES)
def test_garbage_collections_and_finalizers_record(cls) -> None:
    made, slots, recorded = cls({}, 0, SIZE), cell(), Counter()
    made.attach(slots)
    amounts = spreading(7, 45) * 40

    def record(who: str) -> None:
        made.record(amounts[recorded[who]])
        recorded[who] += 1

    class Dying:
        def __init__(self) -> None:
            self.myself = self

        def __del__(self) -> None:
            record("finalizer")

    def collected(phase: str, info: Any) -> None:
        record("collection")

    threshold = gc.get_threshold()
    gc.collect()
    gc.callbacks.append(collected)
    gc.set_threshold(3, 1, 1)
    try:
        for step in range(400):
            record("program")
            Dying()
            if step % 50 == 0:
                take(made)
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(collected)
    gc.collect()
    assert recorded["finalizer"] == 400
    assert recorded["collection"] > 50
    everything = [amount for number in recorded.values() for amount in amounts[:number]]
    assert made.snapshot().distribution == told(everything) == read_row(slots.raw.tolist())


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PREPARED = """
    import json, signal, sys
    from array import array
    from math import inf
    from types import SimpleNamespace
    from otelbridge.cells.exponential import read_row, row_length
    from otelbridge.metrics import exponential
    from tests.interrupting import interrupting

    cls = getattr(exponential, sys.argv[1])
    amounts = json.loads(sys.argv[2])
    slots = SimpleNamespace(
        raw=memoryview(array("q", [0] * row_length(20))), raw_at=0,
        totals=memoryview(array("d", [-0.0])), totals_at=0,
        lows=memoryview(array("d", [inf] * 2)), lows_at=0,
    )
    made = cls({}, 0, 20)
    made.attach(slots)
"""


@pytest.mark.parametrize("cls", CLASSES)
def test_signal_handlers_record_and_read_in_the_middle_of_recording(cls) -> None:
    amounts = spreading(3, 45)
    found = run(
        PREPARED
        + """
    handled = recorded = 0

    def handle():
        global handled
        made.record(amounts[handled % 45])
        made.record(0)
        handled += 1
        if handled % 16 == 0:
            made.take(lambda *_: None)
        if handled % 45 == 0:
            fresh()

    finished = []

    def fresh():
        # Begins the fall of the scale again, now and then.
        global made
        finished.append(made)
        made = cls({}, 0, 20)
        made.attach(slots)

    with interrupting(handle, 0.0002):
        while handled < 3000:
            made.record(amounts[recorded % 45])
            recorded += 1
    finished.append(made)
    snapshots = [each.snapshot() for each in finished]
    assert all(each.count == s.count for each, s in zip(finished, snapshots))
    assert read_row(slots.raw.tolist()) == snapshots[-1].distribution
    print(sum(s.count for s in snapshots) - recorded - 2 * handled, sum(s.zero_count for s in snapshots) - handled)
    """,
        cls.__name__,
        json.dumps(amounts),
    )
    assert found == "0 0\n"


@pytest.mark.parametrize("cls", CLASSES)
def test_an_exception_in_the_middle_of_recording_leaves_the_series_whole(cls) -> None:
    amounts = spreading(5, 45)
    run(
        PREPARED
        + """
    class Interrupted(Exception):
        pass

    def handle(*_):
        raise Interrupted

    interrupted = 0
    signal.signal(signal.SIGALRM, handle)
    while interrupted < 1500:
        done = tried = 0
        made = cls({}, 0, 20)
        made.attach(slots)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + 0.00001 * (interrupted % 50))
            while True:
                tried += 1
                made.record(amounts[tried % 45])
                done += 1
        except Interrupted:
            interrupted += 1
        made.record(0)
        found = made.snapshot()
        assert found.count == made.count and found.zero_count == 1
        assert done <= found.count - 1 <= tried, (done, found.count, tried)
        assert read_row(slots.raw.tolist()) == found.distribution
    """,
        cls.__name__,
        json.dumps(amounts),
    )


ROWS, PROGRESS, TURN = 4000, 2, 1000

WRITER = """
    import json, mmap, sys
    from math import inf
    from array import array
    from types import SimpleNamespace
    from otelbridge.cells.exponential import row_length
    from otelbridge.metrics.exponential import ExponentialSeries

    amounts = json.loads(sys.argv[2])
    with open(sys.argv[1], "r+b") as file:
        memory = memoryview(mmap.mmap(file.fileno(), 0)).cast("q")
    slots = SimpleNamespace(
        raw=memory, raw_at=0, totals=memoryview(array("d", [0.0])), totals_at=0,
        lows=memoryview(array("d", [inf] * 2)), lows_at=0,
    )
    print("ready", flush=True)
    for turn in range(4000):
        slots.raw_at = 2 + turn * row_length(20)
        made = ExponentialSeries({}, 0, 20)
        made.attach(slots)
        memory[0] = memory[1] = turn * 1000
        for number, amount in enumerate(amounts[turn % len(amounts)], turn * 1000 + 1):
            memory[0] = number
            made.record(amount)
            memory[1] = number
    """


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process at any instruction")
def test_a_row_is_read_right_while_it_is_written_and_after_a_kill(tmp_path) -> None:
    length, path = row_length(SIZE), tmp_path / "values"
    amounts = [spreading(seed) for seed in range(8)]
    prefixes = [[told(each[:number]) for number in range(len(each) + 1)] for each in amounts]
    for attempt in range(6):
        path.write_bytes(bytes(8 * (PROGRESS + ROWS * length)))
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path), json.dumps(amounts)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            memory = memoryview(mapped).cast("q")
            readings: list[tuple[int, int, int]] = []
            deadline = time.monotonic() + 0.1 + 0.03 * attempt
            while len(readings) < 300 or time.monotonic() < deadline:
                turn, done = divmod(memory[1], TURN)
                at = PROGRESS + turn * length
                version = memory[at]
                row = memory[at : at + length].tolist()
                unchanged = memory[at] == version == row[0]
                now, begun = divmod(memory[0], TURN)
                if unchanged and now == turn:
                    readings.append((done, sum(read_row(row).positive.counts), begun))
            os.kill(writer.pid, signal.SIGKILL)
            writer.wait()
            writer.stdout.close()
            turn, done = divmod(memory[1], TURN)
            begun = memory[0] % TURN if memory[0] // TURN == turn else done
            at = PROGRESS + turn * length
            found, known = read_row(memory[at : at + length].tolist()), prefixes[turn % len(amounts)]
            memory.release()
        assert [reading for reading in readings if sorted(reading) != list(reading)] == []
        assert turn < ROWS - 1
        assert lowered(found, known[begun].scale) in (lowered(known[done], known[begun].scale), known[begun])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_records_while_threads_of_its_parent_held_everything() -> None:
    run("""
    import os, sys, threading, warnings
    from otelbridge.metrics.exponential import ExponentialSeries

    warnings.simplefilter("ignore")  # newer interpreters warn of what is tested here
    sys.setswitchinterval(1e-6)
    for cls in (ExponentialSeries,):
        made, stop = cls({}, 0, 20), threading.Event()

        def busy():
            amount = 1.0
            while not stop.is_set():
                made.record(amount)
                amount = amount * 1.01 if amount < 1e9 else 1.0

        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            child = os.fork()
            if not child:
                made.clear(5)
                made.record(2.0)
                os._exit(0 if made.take(lambda *_: None).count == 1 else 1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
    """)
