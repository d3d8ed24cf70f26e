"""What pushes say about the pushes before them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelbridge.catalogue.self import COLLECTION_DURATION, EXPORTED, PUSH_AGE
from otelbridge.otlp.introspection import observe_pushes
from tests.components import free_port
from tests.otlp.faults import Receiver, answer, partial
from tests.otlp.pushing import pipeline, reader

if TYPE_CHECKING:
    from otelbridge.metrics.pipeline import Pipeline


def watched(*readers: object) -> tuple[Pipeline, InMemoryMetricReader]:
    look = InMemoryMetricReader()
    made = pipeline(*readers, look)
    observe_pushes(made.provider, readers)
    return made, look


def shown(look: InMemoryMetricReader, name: str) -> dict[tuple[tuple[str, str], ...], object]:
    data = look.get_metrics_data()
    assert data is not None
    metrics = [m for scope in data.resource_metrics[0].scope_metrics for m in scope.metrics if m.name == name]
    return {
        tuple(sorted(point.attributes.items())): getattr(point, "value", None) or getattr(point, "count", None)
        for metric in metrics
        for point in metric.data.data_points
    }


def test_pushes_are_counted_by_destination_and_by_what_became_of_them() -> None:
    with Receiver(answer()) as good, Receiver(answer(400)) as strict:
        dead = f"http://127.0.0.1:{free_port()}/v1/metrics"
        readers = [reader(good.url), reader(strict.url), reader(dead)]
        made, look = watched(*readers)
        made.provider.get_meter("shop").create_counter("orders").add(1)
        assert not made.force_flush(1.0)
        where = "otel.component.name"
        exported = shown(look, EXPORTED.name)
        assert set(exported) == {
            ((where, "otlp_http_metric_exporter/0"),),
            (("error.type", "refused"), (where, "otlp_http_metric_exporter/1")),
            (("error.type", "unavailable"), (where, "otlp_http_metric_exporter/2")),
        }
        assert all(isinstance(count, int) and count >= 1 for count in exported.values())
        assert list(shown(look, PUSH_AGE.name)) == [((where, "otlp_http_metric_exporter/0"),)]
        durations = shown(look, COLLECTION_DURATION.name)
        assert {dict(attributes)[where] for attributes in durations} == {
            f"otlp_http_metric_exporter/{number}" for number in range(3)
        }
        assert all(count == 1 for count in durations.values())
        made.shutdown(0.5)


def test_points_the_receiver_rejects_are_counted_apart() -> None:
    with Receiver(answer(200, partial(2))) as receiver:
        made, look = watched(reader(receiver.url))
        counter = made.provider.get_meter("shop").create_counter("orders")
        for number in range(5):
            counter.add(1, {"number": number})
        made.force_flush(60.0)
        exported = {
            dict(attributes).get("error.type"): count for attributes, count in shown(look, EXPORTED.name).items()
        }
        assert exported["rejected"] == 2
        assert exported[None] == 3
        made.shutdown(60.0)
