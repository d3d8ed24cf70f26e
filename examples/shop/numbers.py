"""The numbers of the demo, read from Prometheus or straight from a page of metrics."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Protocol

import httpx
from prometheus_client.parser import text_string_to_metric_families

from otelbridge.catalogue.naming import metric_name
from otelbridge.catalogue.registry import DOMAINS, METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_WINDOW = 30.0


@dataclass(frozen=True)
class Row:
    """One number to show."""

    label: str
    """What it is called."""

    metric: str
    """Instrument it comes from."""

    how: Literal["total", "rate", "p95"] = "total"
    """Sum since the start, increase a second, or 95th percentile; the latter two over the last 30 s."""

    suffix: str = ""
    """Part of a histogram: ``_count`` or ``_sum``."""

    unit: str = ""
    """What is written behind it."""

    digits: int = 0
    """Digits after the point."""

    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels the series must have."""

    @property
    def series(self) -> str:
        """Name of the series in Prometheus."""
        return metric_name(METRICS[self.metric]) + ("_bucket" if self.how == "p95" else self.suffix)


ROWS = (
    Row("HTTP requests", "http.server.request.duration", suffix="_count"),
    Row("HTTP requests/s", "http.server.request.duration", "rate", "_count", "/s", digits=1),
    Row("HTTP latency, p95", "http.server.request.duration", "p95", unit=" s", digits=3),
    Row("database operations", "db.client.operation.duration", suffix="_count"),
    Row("database operations/s", "db.client.operation.duration", "rate", "_count", "/s", digits=1),
    Row("agent input tokens", "gen_ai.client.inference.usage.input_tokens"),
    Row("agent output tokens", "gen_ai.client.inference.usage.output_tokens"),
    Row("agent cost", "cost.usage", unit=" USD", digits=4),
    Row("agent latency, p95", "gen_ai.invoke_agent.duration", "p95", unit=" s", digits=3),
    Row("tasks run", "task.duration", suffix="_count"),
    Row("tasks failed", "task.duration", suffix="_count", labels={"task_result": "failure"}),
    Row("orders paid", "business.order.value", suffix="_count", labels={"business_order_status": "completed"}),
    Row("revenue", "business.revenue", unit=" EUR", digits=2),
    Row("exceptions", "health.exceptions"),
)


class Numbers(Protocol):
    """A place where numbers can be read."""

    def value(self, row: Row) -> float | None:
        """Read one number; None where there is none yet."""
        ...

    def names(self) -> set[str]:
        """Give the names of all series."""
        ...


class FromPrometheus:
    """Reads numbers by the query API of Prometheus.

    Args:
        url: Base URL.
        selector: Label matchers that choose the service, as in PromQL.
    """

    def __init__(self, url: str, selector: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=5, trust_env=False)
        self._selector = selector

    def value(self, row: Row) -> float | None:
        """Read one number; None where there is none yet."""
        matchers = ",".join([self._selector, *(f'{label}="{value}"' for label, value in row.labels.items())])
        series, window = f"{row.series}{{{matchers}}}", f"{_WINDOW:.0f}s"
        found = self._query(
            {
                "total": f"sum({series})",
                "rate": f"sum(rate({series}[{window}]))",
                "p95": f"histogram_quantile(0.95, sum by (le) (rate({series}[{window}])))",
            }[row.how]
        )
        return _number(float(found[0]["value"][1])) if found else None

    def names(self) -> set[str]:
        """Give the names of all series."""
        return {result["metric"]["__name__"] for result in self._query(f"count by (__name__) ({{{self._selector}}})")}

    def _query(self, expression: str) -> list[dict[str, Any]]:
        try:
            answer = self._client.get("/api/v1/query", params={"query": expression})
            return answer.raise_for_status().json()["data"]["result"]
        except httpx.HTTPError:
            return []


Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


class FromPage:
    """Reads numbers from a page in the Prometheus text format, without a Prometheus.

    Args:
        url: URL of the page.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(timeout=5, trust_env=False)
        self._url = url
        self._pages: deque[tuple[float, Series]] = deque()

    def value(self, row: Row) -> float | None:
        """Read one number; None where there is none yet."""
        self._refresh()
        if not self._pages:
            return None
        (began, before), (now, after) = self._pages[0], self._pages[-1]
        found = [(labels, key) for key in after if (labels := _labels_if(key, row)) is not None]
        if not found:
            return None
        if row.how == "total":
            return sum(after[key] for _, key in found)
        increases = [(labels, after[key] - before.get(key, 0.0)) for labels, key in found]
        if row.how == "p95":
            return _quantile(0.95, increases)
        return sum(increase for _, increase in increases) / (now - began) if now > began else None

    def names(self) -> set[str]:
        """Give the names of all series."""
        self._refresh()
        return {name for name, _ in self._pages[-1][1]} if self._pages else set()

    def _refresh(self) -> None:
        now = time.monotonic()
        if self._pages and now - self._pages[-1][0] < 1:
            return
        try:
            text = self._client.get(self._url).raise_for_status().text
        except httpx.HTTPError:
            return
        page = {
            (sample.name, frozenset(sample.labels.items())): float(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        self._pages.append((now, page))
        while now - self._pages[0][0] > _WINDOW:
            self._pages.popleft()


def _labels_if(key: tuple[str, frozenset[tuple[str, str]]], row: Row) -> dict[str, str] | None:
    name, labels = key
    return dict(labels) if name == row.series and labels.issuperset(row.labels.items()) else None


def _quantile(share: float, increases: Iterable[tuple[Mapping[str, str], float]]) -> float | None:
    """Interpolate within the bucket, as PromQL does."""
    buckets: defaultdict[float, float] = defaultdict(float)
    for labels, increase in increases:
        buckets[float(labels["le"])] += increase
    bounds = sorted(buckets.items())
    total = bounds[-1][1]
    if total <= 0:
        return None
    rank = share * total
    for (low, below), (high, upto) in pairwise([(0.0, 0.0), *bounds]):
        if upto >= rank:
            return low if high == float("inf") else low + (high - low) * (rank - below) / (upto - below)
    return None


def _number(value: float) -> float | None:
    return None if value != value else value  # noqa: PLR0124 -- not a number, as a quantile of nothing is


def missing_domains(names: set[str]) -> list[str]:
    """Tell which domains of the catalogue have left no series at all."""
    return [
        domain.name for domain in DOMAINS if not any(_seen(name, names) for name in map(metric_name, domain.metrics))
    ]


def missing_metrics(names: set[str]) -> list[str]:
    """Tell which metrics of the catalogue have left no series."""
    return [metric.name for metric in METRICS.values() if not _seen(metric_name(metric), names)]


def _seen(name: str, names: set[str]) -> bool:
    return name in names or f"{name}_count" in names


def table(columns: Mapping[str, Numbers]) -> list[str]:
    """Write all numbers side by side.

    Args:
        columns: Places to read from, by their heading.

    Returns:
        The lines.
    """
    lines = ["".join([f"{'':<24}", *(f"{heading:>20}" for heading in columns)])]
    for row in ROWS:
        cells = [f"{show(row, numbers.value(row)):>20}" for numbers in columns.values()]
        lines.append("".join([f"{row.label:<24}", *cells]))
    return lines


def show(row: Row, value: float | None) -> str:
    """Write one number with its unit."""
    return "-" if value is None else f"{value:,.{row.digits}f}{row.unit}"
