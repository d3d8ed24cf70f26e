"""Credentials in attributes are hidden, wherever a measurement goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View

from otelbridge.catalogue.registry import METRICS
from otelbridge.diagnostics import forget_warnings
from otelbridge.metrics.processes import Processes
from otelbridge.metrics.provider import MeterProvider
from otelbridge.metrics.secrets import HIDDEN, hide_secrets

_JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N"


@pytest.fixture(autouse=True)
def _every_cause_is_news() -> None:
    forget_warnings()


def build(**options: Any) -> tuple[MeterProvider, InMemoryMetricReader]:
    reader = InMemoryMetricReader(**{key: options.pop(key) for key in ("preferred_temporality",) if key in options})
    return MeterProvider([reader], shutdown_on_exit=False, **{"hide_secrets": True, **options}), reader


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    data = reader.get_metrics_data()
    assert data is not None
    metrics = data.resource_metrics[0].scope_metrics[0].metrics
    return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


@pytest.mark.parametrize(
    "key",
    [
        *("password", "user.password", "db_passwd", "userPassword", "PASSWORD", "client.secret", "http.cookie"),
        *("authorization", "http.request.header.authorization", "set-cookie", "api_key", "x-api-key", "apiKey"),
        *("access_token", "refreshToken", "auth.token", "token", "credentials", "session.token", "private_key", "jwt"),
    ],
)
def test_keys_that_tell(key: str) -> None:
    assert hide_secrets({key: "hunter2", "route": "/login"}) == {key: HIDDEN, "route": "/login"}


@pytest.mark.parametrize(
    "value",
    [
        *("Bearer abcdef0123456789", "authorization: Basic dXNlcjpwYXNz", _JWT, f"got {_JWT}"),
        *("postgresql://shop:hunter2@db/orders", "redis://:hunter2@cache", "-----BEGIN RSA PRIVATE KEY-----"),
        *("sk-proj-0123456789abcdef", "ghp_0123456789abcdef", "AKIAABCDEFGHIJKLMNOP", "login failed: password=hunter2"),
    ],
)
def test_values_that_tell(value: str) -> None:
    assert hide_secrets({"detail": value}) == {"detail": HIDDEN}
    assert hide_secrets({"detail": ("fine", value)}) == {"detail": HIDDEN}


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.token.type": "input", "gen_ai.usage.input_tokens": 5, "tokens": "many"},
        {"k8s.secret.name": "db", "password.policy": "strong", "auth.provider": "google", "cookie.count": 3},
        {"password": True, "secret": 5, "key": "orders", "http.route": "/password", "url.full": "https://host/path"},
        {
            "error.type": "AuthenticationError",
            "author": "ann",
            "sort.key": "name",
            "path": "C:/x",
            "basic": "Basic plan",
        },
        {"session.id": "s1", "task.name": "rotate_secrets", "monkey": "token", "risk": "sk-8"},
    ],
)
def test_what_is_no_credential_stays(attributes: dict[str, Any]) -> None:
    assert hide_secrets(attributes) is attributes


def test_a_text_made_to_be_slow_is_looked_through_in_one_pass() -> None:
    # Looked through anew from every beginning, these would take minutes, in which nobody else's thread runs.
    for value in ("eyJ-" * 250_000, "eyJ." * 250_000, "eyJabcdefgh." * 90_000, "x-eyJabcdefgh" * 90_000):
        hide_secrets({"detail": value})
    assert hide_secrets({"detail": "eyJ-" * 250_000 + f" {_JWT}"}) == {"detail": HIDDEN}


@pytest.mark.parametrize("value", [f"jwt-{_JWT}", f"a.b.{_JWT}", f"eyJ.{_JWT}", f"eyJ-{_JWT}", f"x={_JWT}&y"])
def test_a_web_token_is_found_wherever_it_stands(value: str) -> None:
    assert hide_secrets({"detail": value}) == {"detail": HIDDEN}


def test_no_attribute_of_the_catalogue_is_taken_for_a_secret() -> None:
    for metric in METRICS.values():
        attributes = {attribute.key: attribute.example or "x" for attribute in metric.attributes}
        assert hide_secrets(attributes) is attributes, metric.name


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=200) | st.integers() | st.tuples(st.text()), max_size=5))
def test_any_set_keeps_its_keys_and_is_hidden_once_and_for_all(attributes: dict[str, Any]) -> None:
    hidden = hide_secrets(attributes)
    assert hidden.keys() == attributes.keys()
    assert all(value in (HIDDEN, attributes[key]) for key, value in hidden.items())
    assert hide_secrets(hidden) is hidden


def test_sums_stay_exact_when_series_become_one() -> None:
    provider, reader = build()
    counter = provider.get_meter("m").create_counter("logins")
    for number in range(10):
        counter.add(1, {"password": f"hunter{number}"})
    counter.bind({"password": "bound"}).add(1)
    (point,) = points(reader, "logins")
    assert (dict(point.attributes), point.value) == ({"password": HIDDEN}, 11)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("temporality", [AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE])
def test_what_callbacks_observe(grouped: bool, temporality: Any, tmp_path: Any) -> None:
    from opentelemetry.sdk.metrics import ObservableCounter

    processes = Processes("shop", tmp_path) if grouped else None
    provider, reader = build(processes=processes, preferred_temporality={ObservableCounter: temporality})
    meter = provider.get_meter("m")
    meter.create_observable_counter("seen", [lambda _: [Observation(5, {"api_key": "hunter2"})]])
    (point,) = points(reader, "seen")
    assert (dict(point.attributes), point.value) == ({"api_key": HIDDEN}, 5)
    provider.shutdown()


def test_what_exemplars_tell_beyond_the_series() -> None:
    provider, reader = build(
        views=[View(instrument_name="logins", attribute_keys={"route"})], exemplar_filter=AlwaysOnExemplarFilter()
    )
    provider.get_meter("m").create_counter("logins").add(1, {"route": "/", "password": "hunter2", "user": "ann"})
    (point,) = points(reader, "logins")
    (exemplar,) = point.exemplars
    assert dict(exemplar.filtered_attributes) == {"password": HIDDEN, "user": "ann"}


def test_it_is_reported_once_and_without_the_value(caplog: pytest.LogCaptureFixture) -> None:
    provider, _ = build()
    counter = provider.get_meter("m").create_counter("logins")
    for number in range(3):
        counter.add(1, {"password": f"hunter{number}"})
    (record,) = caplog.records
    assert "'password'" in record.getMessage()
    assert "hide_secrets=False" in record.getMessage()
    assert "hunter" not in caplog.text


def test_on_request_all_is_shown_and_a_provider_alone_does_as_the_sdk_does() -> None:
    provider, reader = build(hide_secrets=False)
    provider.get_meter("m").create_counter("logins").add(1, {"password": "hunter2"})
    assert dict(points(reader, "logins")[0].attributes) == {"password": "hunter2"}
    reader = InMemoryMetricReader()
    MeterProvider([reader], shutdown_on_exit=False).get_meter("m").create_counter("c").add(1, {"password": "hunter2"})
    assert dict(points(reader, "c")[0].attributes) == {"password": "hunter2"}
