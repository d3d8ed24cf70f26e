"""Real processes, really killed: nothing is lost, nothing counted twice, no total steps back."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from otelbridge.cells.book import Book
from otelbridge.cells.folding import fold
from otelbridge.cells.names import BASE
from otelbridge.cells.shelf import Shelf
from tests.cells.books import COUNTER, HISTOGRAM, add, count, memory_directory, run, series
from tests.workers.soak import LENGTHS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.endtoend

group = pytest.fixture(memory_directory)

PREPARE = """
import json, mmap, os, random, signal, sys, time
from pathlib import Path
from otelbridge.cells.book import Book
from otelbridge.cells.folding import fold
from otelbridge.cells.shape import Rule, Shape
from otelbridge.cells.shelf import Shelf

directory = Path(sys.argv[1])
COUNTER = Shape(Rule.SUM, counts=1, totals=1)
HISTOGRAM = Shape(Rule.SUM, counts=3, totals=1, lows=2)

def start(task, *arguments):
    child = os.fork()
    if not child:
        try:
            task(*arguments)
        finally:
            os._exit(1)
    return child

def suicide(times):
    book = Book.open(directory)
    counter = book.place(b"requests", COUNTER, b"")
    histogram = book.place(b"duration", HISTOGRAM, b"w%d" % (times % 3))
    total = 0.0
    for done in range(1, times + 1):
        counter.counts[counter.counts_at] = done
        total += 0.1
        counter.totals[counter.totals_at] = total
        histogram.counts[histogram.counts_at + 1] = done
    os.kill(os.getpid(), signal.SIGKILL)

def look(shelf):
    totals = shelf.read(None)
    found = totals.places.get(b"requests", {}).get(b"")
    buckets = sum(totals.counts[place.counts + 1] for place in totals.places.get(b"duration", {}).values())
    if found is None:
        return [0, 0.0, buckets]
    return [totals.counts[found.counts], totals.totals[found.totals], buckets]

def reap(children):
    return {child for child in children if os.waitpid(child, os.WNOHANG)[0] == 0}
"""

SUICIDES = (
    PREPARE
    + """
chance = random.Random(1)
shelf, expected, looks, back, before = Shelf(directory), 0, 0, 0, [0, 0.0, 0]
for _ in range(8):
    numbers = [chance.randrange(1, 3000) for _ in range(4)]
    expected += sum(numbers)
    children = {start(suicide, number) for number in numbers}
    while children:
        now = look(shelf)
        looks += 1
        back += any(value < old for value, old in zip(now, before))
        before = now
        children = reap(children)
end, anew = look(shelf), look(Shelf(directory))
print(json.dumps({"expected": expected, "end": end, "anew": anew, "back": back, "looks": looks}))
"""
)

FOLDERS = (
    PREPARE
    + """
def folder(seed, say):
    chance, shelf = random.Random(seed), Shelf(directory)
    # Each step is the end of every fourth one, if it gets there.
    last = ("read", "write", "rename", "remove")[seed % 4]
    def pause(step):
        if step == last or chance.random() < 0.1:
            os.write(say, step.encode() + b" ")
            os.kill(os.getpid(), signal.SIGKILL)
    while True:
        fold(directory, shelf, pause)
        time.sleep(0.001)

hear, say = os.pipe()
chance, seed = random.Random(2), 100
shelf, other, expected, looks, back, before = Shelf(directory), Shelf(directory), 0, 0, 0, [0, 0.0, 0]
folders = {start(folder, 1, say), start(folder, 2, say)}
for _ in range(int(sys.argv[2])):
    numbers = [chance.randrange(1, 1000) for _ in range(4)]
    expected += sum(numbers)
    children = {start(suicide, number) for number in numbers}
    while children:
        for reader in (shelf, other, Shelf(directory)):
            now = look(reader)
            looks += 1
            back += any(value < old for value, old in zip(now, before))
            before = now
        children = reap(children)
        folders = reap(folders)
        while len(folders) < 2:
            seed += 1
            folders.add(start(folder, seed, say))
for child in folders:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
os.close(say)
steps = b"".join(iter(lambda: os.read(hear, 65536), b"")).decode().split()
end = look(shelf)
fold(directory, shelf)
folded, anew, again = look(shelf), look(Shelf(directory)), fold(directory, shelf)
print(json.dumps({
    "expected": expected, "end": end, "folded": folded, "anew": anew, "again": again, "back": back,
    "looks": looks, "left": len(os.listdir(directory)), "steps": sorted(set(steps)), "kills": len(steps),
}))
"""
)

VICTIMS = (
    PREPARE
    + """
tally = mmap.mmap(-1, 8 * 64)
witness = memoryview(tally).cast("q")

def victim(number):
    book = Book.open(directory)
    cell = book.place(b"requests", COUNTER, b"")
    done = 0
    while True:
        done += 1
        cell.counts[cell.counts_at] = done
        witness[number] = done

chance = random.Random(3)
for number in range(16):
    child = start(victim, number)
    while not witness[number]:
        time.sleep(0.001)
    time.sleep(chance.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
print(json.dumps({"end": look(Shelf(directory))[0], "witness": sum(witness[:16])}))
"""
)


def test_workers_that_kill_themselves_are_counted_exactly(group: Path) -> None:
    said = json.loads(run(SUICIDES, group))
    assert said["end"][0] == said["end"][2] == said["expected"]
    assert said["end"][1] == pytest.approx(said["expected"] / 10)
    assert said["anew"] == said["end"]
    assert said["back"] == 0
    assert said["looks"] > 30


def test_workers_killed_from_outside_lose_at_most_what_they_were_doing(group: Path) -> None:
    said = json.loads(run(VICTIMS, group))
    assert 0 <= said["end"] - said["witness"] <= 16


def test_folders_killed_at_every_step_lose_and_double_nothing(
    group: Path, record_property: Callable[[str, object], None]
) -> None:
    rounds = LENGTHS.folded_rounds
    said = json.loads(run(FOLDERS, group, rounds, timeout=240 + rounds / 2))
    record_property("workers killed", 4 * rounds)
    record_property("folders killed", said["kills"])
    record_property("looks", said["looks"])
    assert said["end"][0] == said["end"][2] == said["expected"]
    assert said["folded"] == said["anew"] == said["end"]
    assert said["back"] == 0
    assert said["again"] == 0
    assert said["steps"] == ["read", "remove", "rename", "write"]
    assert said["kills"] > 20
    assert said["left"] <= 4  # the base and lock files


DIES = (
    PREPARE
    + """
import itertools
wanted, turn = sys.argv[2], int(sys.argv[3])
turns = itertools.count()
def pause(step):
    if step == wanted and next(turns) == turn:
        os.kill(os.getpid(), signal.SIGKILL)
child = start(fold, directory, Shelf(directory), pause)
status = os.waitpid(child, 0)[1]
print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else "lived")
"""
)


@pytest.mark.parametrize(
    ("step", "turn"), [("read", 0), ("write", 0), ("rename", 0), *(("remove", turn) for turn in range(6))]
)
def test_a_folder_killed_at_a_step_is_finished_by_the_next(group: Path, step: str, turn: int) -> None:
    with closing(Book.open(group)) as alive:
        add(alive.place(b"requests", COUNTER, b""), 1000, 0.3)
        for number in range(1, 4):
            with closing(Book.open(group)) as book:
                add(book.place(b"requests", COUNTER, b""), number, 0.1)
                add(book.place(b"duration", HISTOGRAM, b"%d" % number), number)
        shelf = Shelf(group)
        before = {key: shown[1:] for key, shown in series(shelf.read(None)).items()}
        assert run(DIES, group, step, turn).strip() == "9"
        for reader in (shelf, Shelf(group)):
            assert {key: shown[1:] for key, shown in series(reader.read(None)).items()} == before
        committed = step == "remove"
        assert (group / BASE).exists() == committed
        assert fold(group, shelf) == (0 if committed else 3)
        for reader in (shelf, Shelf(group)):
            assert {key: shown[1:] for key, shown in series(reader.read(None)).items()} == before
        assert {path.name for path in group.glob("*-*")} == {f"{alive.uid}.keys", f"{alive.uid}.vals"}
        add(alive.place(b"requests", COUNTER, b""), 1)
        assert count(shelf.read(None), b"requests") == 1007
