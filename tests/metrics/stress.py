"""A process that records from four threads while series are hidden, shown and read all the time.

Started as ``python -m tests.metrics.stress DIRECTORY SWITCH_INTERVAL``. It works until a line comes from standard
input, then prints its tally and what its readers were given, and answers each further line with what the group shows.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from collections import Counter as Tally
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import Counter, Histogram
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETS = [{"k": f"{number}"} for number in range(12)]
NAMES = ("counter", "histogram", "exponential")
DELTA = dict.fromkeys((Counter, Histogram), AggregationTemporality.DELTA)


class Stressed:
    """Instruments of every kind that adds, in a group, with two readers of deltas and one of totals."""

    def __init__(self, directory: Path) -> None:
        self.deltas = [InMemoryMetricReader(DELTA) for _ in range(2)]
        self.totals = InMemoryMetricReader()
        exponential = ExponentialBucketHistogramAggregation()
        self.provider = MeterProvider(
            [*self.deltas, self.totals],
            views=[
                View(instrument_name="exponential", aggregation=exponential, forget_after=0.05),
                *(View(instrument_name=name, forget_after=0.05) for name in ("counter", "histogram")),
            ],
            processes=Processes("stress", directory),
            shutdown_on_exit=False,
        )
        meter = self.provider.get_meter("lib")
        self.instruments: dict[str, Any] = {
            "counter": meter.create_counter("counter"),
            "histogram": meter.create_histogram("histogram"),
            "exponential": meter.create_histogram("exponential"),
        }
        self.record = {
            name: instrument.add if name == "counter" else instrument.record
            for name, instrument in self.instruments.items()
        }
        self.given = [Tally[str]() for _ in self.deltas]
        self.falls: list[str] = []
        self.stop = threading.Event()

    def by_look_up(self, tally: Tally[str], chance: random.Random) -> None:
        """Record once by attributes."""
        name = chance.choice(NAMES)
        self.record[name](1, chance.choice(SETS))
        tally[name] += 1

    def by_handle(self, tally: Tally[str], chance: random.Random, handles: dict[Any, Any]) -> None:
        """Record once by a handle that is kept."""
        name, number = chance.choice(NAMES), chance.randrange(len(SETS))
        handles[name, number](1)
        tally[name] += 1

    def handles(self) -> dict[Any, Any]:
        """A handle for each series."""
        return {
            (name, number): getattr(instrument.bind(attributes), "add" if name == "counter" else "record")
            for name, instrument in self.instruments.items()
            for number, attributes in enumerate(SETS)
        }

    def read_delta(self, number: int) -> None:
        """Take what is new, which is never less than nothing."""
        for name, value, _ in points(self.deltas[number]):
            self.given[number][name] += value
            if value < 0:
                self.falls.append(f"a delta of {name} is {value}")

    def remove(self, chance: random.Random) -> None:
        """Have a series hidden."""
        self.instruments[chance.choice(NAMES)].remove(chance.choice(SETS))

    def work(self) -> None:
        """Do everything at once until told to stop."""
        tallies = [Tally[str]() for _ in range(4)]

        def again(step: Callable[..., Any], *arguments: Any) -> None:
            while not self.stop.is_set():
                step(*arguments)

        def thread(step: Callable[..., Any], *arguments: Any) -> threading.Thread:
            return threading.Thread(target=again, args=(step, *arguments))

        watched: dict[Any, float] = {}

        def read_totals() -> None:
            for name, value, attributes in points(self.totals):
                if value < watched.get((name, attributes), 0):
                    self.falls.append(f"{name}{attributes} fell to {value}")
                watched[name, attributes] = value

        threads = [
            thread(self.by_look_up, tallies[0], random.Random(1)),
            thread(self.by_look_up, tallies[1], random.Random(2)),
            thread(self.by_handle, tallies[2], random.Random(3), self.handles()),
            thread(self.by_handle, tallies[3], random.Random(4), self.handles()),
            thread(self.remove, random.Random(5)),
            thread(self.read_delta, 0),
            thread(self.read_delta, 1),
            thread(read_totals),
        ]
        for each in threads:
            each.start()
        sys.stdin.readline()
        self.stop.set()
        for each in threads:
            each.join()
        for number in (0, 1, 0, 1):
            self.read_delta(number)
        say({"recorded": sum(tallies, Tally[str]()), "given": self.given, "falls": self.falls[:5]})


def points(reader: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, value or count, and attributes of each point that a reader is given."""
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = point.value if hasattr(point, "value") else point.count
                    yield metric.name, value, tuple(point.attributes.items())


def say(what: Any) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Work, then answer."""
    sys.setswitchinterval(float(sys.argv[2]))
    stressed = Stressed(Path(sys.argv[1]))
    say("ready")
    stressed.work()
    handles = stressed.handles()
    for _ in sys.stdin:
        # A value shows a series again; of histograms there is none that adds nothing.
        for handle in handles.values():
            handle(1)
        found = Tally[str]()
        for name, value, _attributes in points(stressed.totals):
            found[name] += value
        say({"shown": found, "added": len(SETS)})


if __name__ == "__main__":
    main()
