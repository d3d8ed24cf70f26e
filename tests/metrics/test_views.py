"""What the catalogue's views do to a real provider's streams."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

from otelbridge.catalogue.buckets import DB, HTTPD, SIZE
from otelbridge.catalogue.http import SERVER_ACTIVE_REQUESTS, SERVER_REQUEST_DURATION
from otelbridge.catalogue.model import Attribute, Kind, Metric
from otelbridge.errors import ConfigError
from otelbridge.metrics import provider as own
from otelbridge.metrics.views import check_targets, create_views

_KEPT = Attribute("kept", "Kept.")
_OWN = Metric("Z1", "own.duration", Kind.HISTOGRAM, "s", "Own.", (_KEPT,), DB)
_FOREIGN = Metric("Z2", "foreign.size", Kind.HISTOGRAM, "By", "Foreign.", (_KEPT,), SIZE, recorded_by="elsewhere")
_COUNTER = Metric("Z3", "own.count", Kind.COUNTER, "{thing}", "Counted.", (_KEPT,))


def _points(record, *user_views: View) -> dict[str, list]:
    reader = InMemoryMetricReader()
    provider = MeterProvider(
        [reader], views=create_views((_OWN, _FOREIGN, _COUNTER), user_views), shutdown_on_exit=False
    )
    record(provider.get_meter("test"))
    data = reader.get_metrics_data()
    provider.shutdown()
    found: dict[str, list] = {}
    for resource_metrics in data.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                found.setdefault(metric.name, []).extend(metric.data.data_points)
    return found


def test_only_declared_attributes_are_kept() -> None:
    (point,) = _points(lambda m: m.create_counter("own.count").add(1, {"kept": "x", "host": "evil"}))["own.count"]
    assert dict(point.attributes) == {"kept": "x"}


def test_advice_of_our_own_instruments_decides_their_buckets() -> None:
    def record(meter):
        meter.create_histogram(_OWN.name, _OWN.unit, explicit_bucket_boundaries_advisory=DB.boundaries).record(1)

    (point,) = _points(record)[_OWN.name]
    assert tuple(point.explicit_bounds) == DB.boundaries


def test_a_foreign_histogram_gets_the_catalogue_buckets() -> None:
    (point,) = _points(lambda m: m.create_histogram("foreign.size", "By").record(5))["foreign.size"]
    assert tuple(point.explicit_bounds) == SIZE.boundaries


@pytest.mark.parametrize(("unit", "bounds"), [("s", HTTPD.boundaries), ("By", SIZE.boundaries)])
def test_undeclared_histograms_get_buckets_of_their_unit(unit: str, bounds: tuple[float, ...]) -> None:
    (point,) = _points(lambda m: m.create_histogram("some.library", unit).record(1, {"any": "k"}))["some.library"]
    assert tuple(point.explicit_bounds) == bounds
    assert dict(point.attributes) == {"any": "k"}


def test_other_units_and_advised_histograms_are_left_alone() -> None:
    def record(meter):
        meter.create_histogram("a", "{thing}").record(1)
        meter.create_histogram("b", "s", explicit_bucket_boundaries_advisory=[3.0]).record(1)

    points = _points(record)
    assert tuple(points["a"][0].explicit_bounds)[:3] == (0.0, 5.0, 10.0)
    assert tuple(points["b"][0].explicit_bounds) == (3.0,)


def test_a_user_view_replaces_ours_as_a_whole() -> None:
    view = View(instrument_name="own.*", attribute_keys={"mine"})
    (point,) = _points(lambda m: m.create_counter("own.count").add(1, {"kept": "x", "mine": "y"}), view)["own.count"]
    assert dict(point.attributes) == {"mine": "y"}


def test_a_user_view_beats_the_buckets_of_the_unit() -> None:
    view = View(instrument_name="some.library", aggregation=ExplicitBucketHistogramAggregation([9.0]))
    points = _points(lambda m: m.create_histogram("some.library", "s").record(1), view)["some.library"]
    assert [tuple(point.explicit_bounds) for point in points] == [(9.0,)]


@pytest.mark.parametrize("name", ["own_duration_seconds", "own.duratoin.of.things", "own_count_total"])
def test_a_view_that_misses_a_metric_by_a_slip_is_an_error(name) -> None:
    long_name = Metric("Z4", "own.duration.of.things", Kind.COUNTER, "{thing}", "Counted.")
    with pytest.raises(ConfigError, match=rf"selects the instrument '{name}'.*Write 'own\."):
        check_targets((_OWN, _COUNTER, long_name), [View(instrument_name=name)])


@pytest.mark.parametrize(
    "view",
    [
        View(instrument_name="own.duration"),
        View(instrument_name="own_duration*"),
        View(instrument_name="something.else"),
        View(instrument_name="own_count_total", meter_name="mine"),
        View(instrument_unit="s"),
    ],
)
def test_a_view_of_what_may_come_is_taken(view) -> None:
    assert check_targets((_OWN, _COUNTER), [view]) is None


def _served(name: str, attributes: dict[str, object], *user_views: View, unit: str = "s") -> dict:
    """Record one request as another instrumentation does; give what is left of its attributes."""
    reader = InMemoryMetricReader()
    views = create_views((SERVER_REQUEST_DURATION, SERVER_ACTIVE_REQUESTS), user_views)
    provider = own.MeterProvider([reader], views=views, shutdown_on_exit=False)
    meter = provider.get_meter("opentelemetry.instrumentation.asgi")
    if name == SERVER_ACTIVE_REQUESTS.name:
        meter.create_up_down_counter(name, unit).add(1, attributes)
    else:
        meter.create_histogram(name, unit).record(1, attributes)
    data = reader.get_metrics_data()
    provider.shutdown()
    ((point,),) = (
        metric.data.data_points
        for resource in data.resource_metrics
        for scoped in resource.scope_metrics
        for metric in scoped.metrics
    )
    return dict(point.attributes)


_PLAIN = {"http.request.method": "GET", "http.response.status_code": 200}
_OLD = {"http.method": "GET", "http.status_code": 200}
_HOST = {
    "http.host": "evil",
    "http.server_name": "evil",
    "net.host.name": "evil",
    "net.host.port": 81,
    "http.target": "/7",
}


@pytest.mark.parametrize(
    "made_up",
    [
        {"url.scheme": "evil"},
        {"network.protocol.version": "7.3"},
        {"http.route": "GET /orders/7"},
        {"http.route": "EVIL *"},
        {"http.route": "GET http://evil/"},
        {"server.address": "evil"},
    ],
)
def test_what_a_client_made_up_is_left_out_and_its_request_counts(made_up) -> None:
    assert _served(SERVER_REQUEST_DURATION.name, {**_PLAIN, **made_up}) == _PLAIN


@pytest.mark.parametrize(
    "known",
    [
        {"url.scheme": "wss"},
        {"network.protocol.version": "2"},
        {"http.route": "/orders/{order_id}"},
        {"http.route": "orders/<int:order_id>/lines"},
        {"http.route": "/a b/{c}"},
        {"http.route": ""},
    ],
)
def test_what_it_did_not_make_up_stays(known) -> None:
    assert _served(SERVER_REQUEST_DURATION.name, {**_PLAIN, **known}) == {**_PLAIN, **known}


def test_requests_under_way_have_no_made_up_scheme_either() -> None:
    given = {"http.request.method": "GET", "url.scheme": "evil"}
    assert _served(SERVER_ACTIVE_REQUESTS.name, given, unit="{request}") == {"http.request.method": "GET"}


@pytest.mark.parametrize("name", ["http.server.duration", "http.server.request.size", "http.server.response.size"])
def test_metrics_of_earlier_conventions_keep_no_host_and_no_target(name) -> None:
    kept = {**_OLD, "http.flavor": "1.1", "http.scheme": "https", "http.route": "/orders/{order_id}"}
    assert _served(name, {**kept, **_HOST}) == kept
    assert _served(name, {**_OLD, "http.flavor": "7.3", "http.scheme": "evil", "http.route": "GET /7"}) == _OLD


def test_sizes_of_earlier_conventions_have_buckets_of_sizes() -> None:
    points = _points(lambda m: m.create_histogram("http.server.request.size", "By").record(1))
    assert tuple(points["http.server.request.size"][0].explicit_bounds) == SIZE.boundaries


def test_a_user_view_shows_what_clients_made_up() -> None:
    given = {**_OLD, **_HOST}
    assert _served("http.server.duration", given, View(instrument_name="http.server.*")) == given
