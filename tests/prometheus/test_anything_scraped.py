"""Whatever is recorded, a real Prometheus, promtool and the strict parser of prometheus_client take the page."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from otelbridge.metrics import MeterProvider
from otelbridge.prometheus.exposition import write
from otelbridge.prometheus.families import FamilyBook, FamilyOptions
from otelbridge.prometheus.negotiation import Format, Syntax
from otelbridge.prometheus.reader import PrometheusReader
from otelbridge.prometheus.translation import Translation
from tests.prometheus.collected import (
    Samples,
    anything,
    attribute_sets,
    collected,
    counter,
    gauge,
    histogram,
    histograms,
    number,
    openmetrics_samples,
    text_samples,
    texts,
)
from tests.prometheus.scraper import PROTOBUF, Prometheus, promtool_takes, scraped, unlike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hypothesis.strategies import SearchStrategy
    from opentelemetry.sdk.metrics.export import MetricsData

pytestmark = pytest.mark.components

_PROTOCOLS = {
    "PrometheusText0.0.4": Format(),
    "OpenMetricsText1.0.0": Format(Syntax.OPENMETRICS, "1.0.0"),
    PROTOBUF: Format(Syntax.PROTOBUF, "0.0.4"),
}
_PAGES = 25
"""Pages of each sort; every one is scraped in every format."""

_LONG = "x" * 1_000_000

# What callers give: instruments of valid names, everything else as it may come.
_recorded = st.lists(
    st.tuples(texts, st.lists(st.tuples(st.integers(0, 2**40), attribute_sets), min_size=1, max_size=5)),
    min_size=1,
    max_size=4,
)


def _found(strategy: SearchStrategy[Any]) -> list[Any]:
    """What Hypothesis comes up with. A Prometheus takes its time: all of it is scraped at once, by one."""
    found: list[Any] = []

    @settings(max_examples=_PAGES, deadline=None, database=None, phases=[Phase.generate])
    @given(strategy)
    def keep(example: Any) -> None:
        found.append(example)

    keep()
    return found


def _collected_page(data: MetricsData) -> Callable[[Format], bytes]:
    def page(form: Format) -> bytes:
        book = FamilyBook(Translation(escaping=form.escaping), FamilyOptions(scope_labels=True))
        return write(book.families(data), form)

    return page


def _recorded_page(calls: list[Any]) -> Callable[[Format], bytes]:
    reader = PrometheusReader()
    meter = MeterProvider([reader], shutdown_on_exit=False).get_meter("lib")
    for at, (description, amounts) in enumerate(calls):
        instrument = meter.create_counter(f"c{at}", description=description)
        for amount, attributes in amounts:
            instrument.add(amount, attributes)
    return lambda form: reader.render(form).body


def _long() -> MetricsData:
    """A megabyte wherever there is a text."""
    return collected(
        counter(_LONG, number(1), description=_LONG),
        gauge("value", number(1, {"key": _LONG}), number(2, {_LONG: "value"})),
        gauge("unit", number(1), unit=_LONG),
        histograms("took", histogram([1, 2], (1.0,), 5.0, {"le": _LONG})),
    )


class Pages:
    """All pages, by name, and a Prometheus that has scraped them in every format."""

    def __init__(self) -> None:
        self.recorded = {f"recorded{at}": calls for at, calls in enumerate(_found(_recorded))}
        self._makers = {name: _recorded_page(calls) for name, calls in self.recorded.items()}
        self._makers |= {f"collected{at}": _collected_page(data) for at, data in enumerate(_found(anything))}
        self._makers["long"] = _collected_page(_long())
        self._pages: dict[tuple[str, Format], bytes] = {}
        # Rendered one after the other: all at once, on a busy machine, they would not be done in a scrape's time.
        self._lock = threading.Lock()
        self.prometheus: Prometheus

    @property
    def names(self) -> list[str]:
        return list(self._makers)

    @property
    def jobs(self) -> list[tuple[str, str]]:
        return [(name, protocol) for name in self._makers for protocol in _PROTOCOLS]

    def page(self, name: str, form: Format) -> bytes:
        with self._lock:
            if (name, form) not in self._pages:
                self._pages[name, form] = self._makers[name](form)
            return self._pages[name, form]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    pages = Pages()
    with scraped(tmp_path_factory.mktemp("anything"), pages.page, pages.jobs, seconds=20) as pages.prometheus:
        yield pages


def test_prometheus_takes_every_page(pages: Pages) -> None:
    said = {job: (target["health"], target["lastError"]) for job, target in pages.prometheus.targets().items()}
    assert said == dict.fromkeys((f"{name}-{protocol}" for name, protocol in pages.jobs), ("up", ""))


def _alike(samples: Samples) -> Samples:
    """Without what readers do: one gives every counter its ending, the other takes the sign off 0."""
    return {
        (
            name.removesuffix("_total"),
            tuple((key, "0.0" if (key, text) == ("le", "-0.0") else text) for key, text in pairs),
        ): value
        for (name, pairs), value in samples.items()
    }


@pytest.mark.parametrize(
    ("protocol", "read"), [("PrometheusText0.0.4", text_samples), ("OpenMetricsText1.0.0", openmetrics_samples)]
)
def test_prometheus_stores_what_the_strict_parser_reads(protocol: str, read: Callable, pages: Pages) -> None:
    for name in pages.names:
        page = pages.page(name, _PROTOCOLS[protocol])
        said, stored = _alike(read(page)), _alike(pages.prometheus.stored(f"{name}-{protocol}"))
        assert stored.keys() == said.keys(), page
        assert unlike(stored, said) == {}, page


def test_promtool_takes_every_page(pages: Pages) -> None:
    for name in pages.names:
        promtool_takes(pages.page(name, Format()))


@pytest.mark.parametrize("protocol", _PROTOCOLS)
def test_nothing_recorded_is_missing(protocol: str, pages: Pages) -> None:
    for name, calls in pages.recorded.items():
        stored = pages.prometheus.stored(f"{name}-{protocol}")
        for at, (_, amounts) in enumerate(calls):
            total = math.fsum(value for (sample, _), value in stored.items() if sample == f"c{at}_total")
            assert total == sum(amount for amount, _ in amounts), pages.page(name, Format())


def test_long_texts_arrive_whole(pages: Pages) -> None:
    scope = (("otel_scope_name", "shop"), ("otel_scope_version", "1.0"))
    for protocol in _PROTOCOLS:
        stored = pages.prometheus.stored(f"long-{protocol}")
        assert stored["value", (("key", _LONG), *scope)] == 1
        assert stored["value", (*scope, (_LONG, "value"))] == 2
        assert stored[f"{_LONG}_total", scope] == 1
        assert stored[f"unit_{_LONG}", scope] == 1
        assert stored["took_count", (("exported_le", _LONG), *scope)] == 3
