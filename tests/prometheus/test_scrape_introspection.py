"""What a scrape says about the scrapes before it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from otelbridge.catalogue.naming import metric_name
from otelbridge.catalogue.registry import METRICS
from otelbridge.catalogue.self import COLLECTION_DURATION, LEFT_OUT
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.views import create_views
from otelbridge.prometheus.introspection import observe_scrapes
from otelbridge.prometheus.reader import PrometheusReader


def build(max_bytes: int = 50_000_000) -> tuple[PrometheusReader, MeterProvider]:
    reader = PrometheusReader(scope_info_enabled=False, max_bytes=max_bytes)
    provider = MeterProvider([reader], views=create_views(METRICS.values()), shutdown_on_exit=False)
    observe_scrapes(provider, reader)
    return reader, provider


def samples(reader: PrometheusReader) -> dict[str, float]:
    families = text_string_to_metric_families(reader.render().body.decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_every_page_is_timed_and_the_next_one_shows_it() -> None:
    reader, _ = build()
    duration = metric_name(COLLECTION_DURATION)
    assert f"{duration}_count" not in samples(reader)
    assert samples(reader)[f"{duration}_count"] == 1
    third = samples(reader)
    assert third[f"{duration}_count"] == 2
    assert 0 < third[f"{duration}_sum"] < 60


def test_what_was_left_out_of_the_last_page_is_told() -> None:
    reader, provider = build(max_bytes=6_000)
    large = provider.get_meter("library").create_counter("large")
    assert samples(reader)[metric_name(LEFT_OUT)] == 0
    for number in range(500):
        large.add(1, {"number": number})
    assert "large_total" not in samples(reader)
    assert samples(reader)[metric_name(LEFT_OUT)] == 1


def test_a_reader_that_has_stopped_records_nothing_more() -> None:
    reader, provider = build()
    reader.render()
    provider.shutdown()
    assert samples(reader) == {}
