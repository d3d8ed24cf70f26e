"""The settings of the pull path: what is refused, what excludes or needs what, and that no secret shows."""

from __future__ import annotations

import logging
import traceback
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.catalogue.naming import Strategy
from otelbridge.config import arguments, options
from otelbridge.config.arguments import settings_from_arguments
from otelbridge.config.distribution import read_distribution
from otelbridge.config.environment import settings_from_environment
from otelbridge.config.file import settings_from_file
from otelbridge.config.options import Config, Prometheus, PrometheusOptions, Settings
from otelbridge.config.prometheus_checks import PROMETHEUS_CHECKS, STRATEGIES
from otelbridge.config.resolve import differences, resolve
from otelbridge.errors import ConfigError
from otelbridge.prometheus.credentials import BasicUsers, BearerToken
from otelbridge.prometheus.passwords import hash_password

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.endtoend

SECRET = "s3cr3t-canary"
PREFIX = "OTELBRIDGE_PROMETHEUS_"
OURS = "distribution.otelbridge.prometheus"
PAIR = {"tls_certificate": "/c", "tls_key": "/k"}


def said(**settings: Any) -> Settings:
    return settings_from_arguments(prometheus=PrometheusOptions(**settings))


def environ(**settings: str) -> Settings:
    return settings_from_environment({PREFIX + name.upper(): text for name, text in settings.items()})


def filed(**settings: Any) -> Settings:
    """What our section of the file says, without the time it takes to load one."""
    return Settings(**read_distribution({"prometheus": settings}))


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Any], Settings]:
    def load(ours: Any) -> Settings:
        path = tmp_path / "otel.yaml"
        text = yaml.safe_dump({"file_format": "1.0", "distribution": {"otelbridge": ours}})
        path.write_text(ours if isinstance(ours, str) else text)
        return settings_from_file(path)

    return load


def decide(arguments: Settings, environment: Settings, file: Settings, *, app: bool = False) -> Config:
    return resolve(arguments, environment, file, app=app, known_domains=frozenset())


def only(settings: Settings, *, app: bool = False) -> Prometheus:
    return decide(settings, Settings(), Settings(), app=app).prometheus


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


def test_nothing_said_is_the_default() -> None:
    assert only(Settings()) == Prometheus(mode="server")
    assert only(Settings(), app=True) == Prometheus(mode="app", health=False)


def test_what_is_said_and_what_is_decided_have_the_same_fields() -> None:
    names = [each.name for each in fields(PrometheusOptions)]
    assert names == [each.name for each in fields(Prometheus)] == list(PROMETHEUS_CHECKS)


def test_the_options_are_where_they_have_always_been() -> None:
    assert options.PrometheusOptions is PrometheusOptions
    assert arguments.PROMETHEUS_CHECKS is PROMETHEUS_CHECKS


def test_the_strategies_are_those_there_are() -> None:
    assert tuple(each.value for each in Strategy) == STRATEGIES
    assert Strategy(only(Settings()).translation_strategy) is Strategy.UNDERSCORES_WITH_SUFFIXES


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_can_be_said_in_every_source(strategy: str) -> None:
    found = (
        said(translation_strategy=strategy),
        environ(translation_strategy=strategy.upper()),
        filed(translation_strategy=strategy),
    )
    assert {only(each).translation_strategy for each in found} == {strategy}


@pytest.mark.parametrize(
    ("file", "strategy"),
    [
        ("underscore_escaping_with_suffixes", "UnderscoreEscapingWithSuffixes"),
        ("underscore_escaping_without_suffixes/development", "UnderscoreEscapingWithoutSuffixes"),
        ("no_utf8_escaping_with_suffixes/development", "NoUTF8EscapingWithSuffixes"),
        ("no_translation/development", "NoTranslation"),
    ],
)
def test_the_standard_file_has_words_of_its_own(file: str, strategy: Any, tmp_path: Path) -> None:
    exporter = {"prometheus/development": {"translation_strategy": file}}
    path = tmp_path / "otel.yaml"
    path.write_text(
        yaml.safe_dump({"file_format": "1.0", "meter_provider": {"readers": [{"pull": {"exporter": exporter}}]}})
    )
    assert settings_from_file(path).prometheus == PrometheusOptions(mode="auto", translation_strategy=strategy)


@pytest.mark.parametrize(
    ("environment", "app", "health"),
    [({}, False, True), ({}, True, False), ({"health": "true"}, True, True), ({"health": "false"}, False, False)],
)
def test_health_goes_with_the_own_server(environment: dict[str, str], app: bool, health: bool) -> None:
    assert decide(Settings(), environ(**environment), Settings(), app=app).prometheus.health is health


WRONG: list[tuple[str, Any, str]] = [
    ("translation_strategy", "NoTranslations", "Did you mean 'NoTranslation'"),
    ("translation_strategy", "underscore_escaping_with_suffixes", "translation_strategy"),
    ("resource_labels", "team", "resource_labels is 'team'"),
    ("resource_labels", [""], "resource_labels is ''"),
    ("created", "yes", "created is 'yes'"),
    ("max_bytes", 0, "max_bytes is 0"),
    ("max_bytes", 1e6, "max_bytes is 1000000.0"),
    ("bearer_token", "", "bearer_token cannot be sent"),
    ("bearer_token", 12345, "bearer_token cannot be sent"),
    ("bearer_token_file", " ", "bearer_token_file is ' '"),
    ("basic_users", ["a"], "basic_users is list"),
    ("basic_users", {"a:b": "$2b$"}, "basic_users has a user name"),
    ("basic_users", {"": "$2b$"}, "basic_users has a user name"),
    ("basic_users", {"a": ""}, "basic_users has no hash"),
    ("basic_users", {"a": None}, "basic_users has no hash"),
    ("client_names", "prometheus", "client_names is 'prometheus'"),
    ("insecure", 1, "insecure is 1"),
    ("tls_certificate", 1, "tls_certificate is int"),
    ("tls_key", "", "tls_key is ''"),
    ("web_config_file", True, "web_config_file is bool"),
    ("health", "on", "health is 'on'"),
]


@pytest.mark.parametrize(("name", "value", "where"), WRONG)
def test_a_wrong_value_is_named_with_its_place(name: str, value: Any, where: str) -> None:
    with pytest.raises(ConfigError, match=r"prometheus\.|translation_strategy") as raised:
        said(**{name: value})
    assert where in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        filed(**{name: value})
    assert where in str(raised.value)
    assert f"{OURS}.{name}" in str(raised.value)
    assert raised.value.cure


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("translation_strategy", "none"),
        ("resource_labels", "none,team"),
        ("created", "1"),
        ("max_bytes", "10MB"),
        ("bearer_token", "a b"),
        ("bearer_token_file", "/a\nb"),
        ("client_names", "none,x"),
        ("insecure", "yes"),
        ("tls_certificate", "/a\tb"),
        ("tls_key", "/a\x7fb"),
        ("tls_client_ca", "/a\nb"),
        ("web_config_file", "/a\nb"),
        ("health", "on"),
    ],
)
def test_a_wrong_variable_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=PREFIX + name.upper()) as raised:
        environ(**{name: text})
    assert raised.value.cure


TOGETHER: list[tuple[dict[str, Any], str, str]] = [
    ({"bearer_token": "a", "bearer_token_file": "/t"}, "bearer_token", "bearer_token_file"),
    ({"tls_certificate": "/c"}, "tls_certificate", "tls_key"),
    ({"tls_key": "/k"}, "tls_key", "tls_certificate"),
    ({"tls_client_ca": "/a"}, "tls_client_ca", "tls_certificate"),
    ({"client_names": ["a"]}, "client_names", "tls_client_ca"),
    ({"client_names": ["a"], **PAIR}, "client_names", "tls_client_ca"),
    *(
        ({"web_config_file": "/w", name: value}, "web_config_file", name)
        for name, value in {**PAIR, "tls_client_ca": "/a", "client_names": ["a"], "bearer_token_file": "/t"}.items()
    ),
    ({"web_config_file": "/w", "bearer_token": "a"}, "web_config_file", "bearer_token"),
]


@pytest.mark.parametrize(("settings", "one", "other"), TOGETHER)
def test_what_excludes_or_needs_another_is_named_with_it(settings: dict[str, Any], one: str, other: str) -> None:
    texts = {name: ",".join(value) if isinstance(value, list) else value for name, value in settings.items()}
    sources = {
        "prometheus.{}": said(mode="off", **settings),
        f"{OURS}.{{}}": filed(**settings),
    }
    for spelling, source in sources.items():
        with pytest.raises(ConfigError) as raised:
            decide(*(source if spelling == each else Settings() for each in ("prometheus.{}", "", f"{OURS}.{{}}")))
        assert raised.value.problem.startswith(spelling.format(one) + " ")
        assert spelling.format(other) in raised.value.problem
        assert raised.value.cure
    with pytest.raises(ConfigError) as raised:
        decide(Settings(), environ(**texts), Settings())
    assert raised.value.problem.startswith(f"{PREFIX}{one.upper()} ")
    assert PREFIX + other.upper() in raised.value.problem


def test_a_contradiction_between_two_places_names_both() -> None:
    with pytest.raises(ConfigError) as raised:
        decide(said(web_config_file="/w"), Settings(), filed(basic_users={"a": f"$2b${SECRET}"}))
    assert f"prometheus.web_config_file and {OURS}.basic_users are both set" in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        decide(Settings(), environ(bearer_token=SECRET), filed(bearer_token_file="/t"))
    assert f"{PREFIX}BEARER_TOKEN and {OURS}.bearer_token_file are both set" in str(raised.value)
    assert SECRET not in shown(raised.value)


def test_a_pair_may_come_from_two_places() -> None:
    config = decide(said(tls_certificate="/c", client_names=("a",)), environ(tls_key="/k"), said(tls_client_ca="/a"))
    assert (config.prometheus.tls_key, config.prometheus.client_names) == ("/k", ("a",))


def test_empty_in_a_higher_place_means_none() -> None:
    higher = said(basic_users={}, client_names=(), resource_labels=(), web_config_file="/w", insecure=True)
    lower = filed(basic_users={"a": "h"}, client_names=["a"], resource_labels=["team"], **PAIR, tls_client_ca="/a")
    with pytest.raises(ConfigError, match=r"web_config_file and .*tls_certificate"):
        decide(higher, Settings(), lower)
    lower = filed(basic_users={"a": "h"}, client_names=["a"], resource_labels=["team"])
    assert decide(higher, Settings(), lower) == decide(higher, Settings(), Settings())
    assert decide(Settings(), environ(resource_labels="none"), filed(resource_labels=["a"])).prometheus == only(
        said(resource_labels=())
    )


def test_what_passes_here_passes_where_it_is_used(load: Any) -> None:
    hashed = hash_password(SECRET)
    bcrypted = "$2b$04$wbhZkoeoGaSkqZlGsVOFp.aVqUm3Q4Jf.Z1WrrWcwhvqtp4wyC4U2"
    users = {"scraper": hashed, "other": bcrypted}
    found = only(load({"prometheus": {"basic_users": users, "bearer_token": SECRET}}))
    assert found.basic_users == users
    assert found.bearer_token is not None
    assert BearerToken(found.bearer_token).check(SECRET)
    assert BasicUsers({"scraper": found.basic_users["scraper"]}).check("not base64") is False


def test_the_file_takes_a_token_from_the_environment(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRAPE_TOKEN", SECRET)
    assert only(load({"prometheus": {"bearer_token": "${SCRAPE_TOKEN}"}})).bearer_token == SECRET


@pytest.mark.parametrize(
    "settings",
    [
        {"bearer_token": f"{SECRET} "},
        {"bearer_token": [SECRET]},
        {"bearer_token": SECRET * 1000},
        {"basic_users": SECRET},
        {"basic_users": [SECRET]},
        {"basic_users": {f"user:{SECRET}": "x"}},
        {"basic_users": {SECRET: ""}},
        {"basic_users": {"user": [SECRET]}},
        {"tls_key": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n"},
        {"tls_key": [SECRET]},
        {"bearer_token_file": f"{SECRET}\n"},
        {"bearer_token": SECRET, "basic_users": {"user": SECRET}, "port": 70000},
    ],
)
def test_no_secret_is_in_an_error(settings: dict[str, Any], load: Any, caplog: pytest.LogCaptureFixture) -> None:
    texts = {
        name: value for name, value in settings.items() if name in ("bearer_token", "bearer_token_file", "tls_key")
    }
    makers: list[Callable[[], Settings]] = [lambda: said(**settings), lambda: load({"prometheus": settings})]
    if all(isinstance(value, str) and value == value.strip() for value in texts.values()) and len(texts) == len(
        settings
    ):
        makers.append(lambda: environ(**texts))
    for make in makers:
        with caplog.at_level(logging.DEBUG), pytest.raises(ConfigError) as raised:
            make()
        assert SECRET not in str(raised.value)
        assert SECRET not in repr(raised.value.__cause__)
        assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("ours", "where"),
    [
        ({"prometheus": [{"bearer_token": SECRET}]}, f"{OURS} is list"),
        ({"prometheus": f"bearer_token:{SECRET}"}, "Put a space behind the colon"),
        ({"prometheus": {f"bearer_token:{SECRET}": None}}, "Put a space behind the colon"),
        ({f"bearer_token: {SECRET}": None}, "Put a space behind the colon"),
        ({"prometheus": {"path": {"bearer_token": SECRET}}}, f"{OURS}.path holds keys of its own"),
        ({"prometheus": {"client_names": [{"bearer_token": SECRET}]}}, f"{OURS}.client_names holds keys of its own"),
        ({"domains": [{"bearer_token": SECRET}]}, "distribution.otelbridge.domains holds keys of its own"),
        ({"bearer_token": SECRET}, "Unknown key in distribution.otelbridge 'bearer_token'"),
    ],
)
def test_a_secret_in_the_wrong_place_of_the_file_is_not_shown(ours: Any, where: str, load: Any) -> None:
    with pytest.raises(ConfigError) as raised:
        load(ours)
    assert where in str(raised.value)
    assert SECRET not in shown(raised.value)


@pytest.mark.parametrize("value", [{"bearer_token": SECRET}, [SECRET], SECRET.encode()])
def test_what_is_no_options_is_not_shown(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"prometheus is (dict|list|bytes)") as raised:
        settings_from_arguments(prometheus=value)
    assert SECRET not in str(raised.value)


def test_secrets_are_in_no_repr() -> None:
    settings = said(bearer_token=SECRET, basic_users={"user": f"$2b${SECRET}"})
    config = decide(settings, Settings(), Settings())
    assert config.prometheus.bearer_token == SECRET
    assert config.prometheus.basic_users == {"user": f"$2b${SECRET}"}
    for holder in (settings.prometheus, settings, config.prometheus, config):
        assert SECRET not in repr(holder)


CHANGES: dict[str, Any] = {
    "translation_strategy": "NoTranslation",
    "resource_labels": ("team",),
    "created": True,
    "max_bytes": 5,
    "bearer_token": SECRET,
    "bearer_token_file": "/t",
    "basic_users": {"a": SECRET},
    "client_names": ("a",),
    "insecure": True,
    "tls_certificate": "/c",
    "tls_key": "/k",
    "tls_client_ca": "/a",
    "web_config_file": "/w",
    "health": False,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_setting_makes_a_difference(name: str) -> None:
    one = decide(Settings(), Settings(), Settings())
    other = replace(one, prometheus=replace(one.prometheus, **{name: CHANGES[name]}))
    assert differences(one, other) == ("prometheus",)
    assert differences(other, replace(other)) == ()


def test_the_same_said_twice_is_no_difference() -> None:
    one, same = (
        decide(said(basic_users={"a": "h", "b": "i"}, resource_labels=["x"], bearer_token="t"), Settings(), Settings())
        for _ in range(2)
    )
    assert differences(one, same) == ()


@given(st.text(max_size=20))
def test_any_text_is_a_token_that_can_be_sent_or_is_not_shown(text: str) -> None:
    token = SECRET + text
    try:
        found = only(said(bearer_token=token))
    except ConfigError as error:
        assert SECRET not in str(error)  # noqa: PT017  # either outcome is right
    else:
        assert BearerToken(found.bearer_token or "").check(token)


@pytest.mark.parametrize("said", ["::1", "[::1]"])
def test_an_ipv6_address_may_stand_in_brackets_wherever_it_is_said(said: str, tmp_path: Path) -> None:
    exporter = {"prometheus/development": {"host": said}}
    file = tmp_path / "otel.yaml"
    file.write_text(
        yaml.safe_dump({"file_format": "1.0", "meter_provider": {"readers": [{"pull": {"exporter": exporter}}]}})
    )
    for settings in (
        settings_from_arguments(prometheus=PrometheusOptions(host=said)),
        settings_from_environment({"OTEL_EXPORTER_PROMETHEUS_HOST": said}),
        settings_from_file(file),
    ):
        assert settings.prometheus is not None
        assert settings.prometheus.host == "::1"
