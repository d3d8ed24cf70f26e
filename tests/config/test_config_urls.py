"""The forms of endpoints and proxies, and what may be shown of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.config import urls
from otelbridge.config.destinations import resolve_otlp
from otelbridge.config.options import OtlpOptions
from otelbridge.errors import ConfigError


@pytest.mark.parametrize(
    "value",
    [
        "http://collector",
        "https://collector:4318/otlp/?tenant=1",
        "http://[::1]:4318",
        "https://user:p%40ss@[fd00::1]",
        "unix:/run/otlp.sock",
        "unix:///run/otlp.sock",
        "http+unix://%2Frun%2Fotlp.sock",
        "http+unix://user:pass@%2Frun%2Fotlp.sock/v1/metrics",
        "collector:4317",
        "10.0.0.1:4317",
        "[::1]:4317",
    ],
)
def test_endpoints(value: str) -> None:
    assert urls.endpoint("X", value) == value


@pytest.mark.parametrize(
    "value",
    [
        "collector",
        "::1:4317",
        "user@collector:4317",
        "collector:4317/v1/metrics",
        "collector:99999",
        "collector:0",
        "http://collector:0",
        "grpc://collector:4317",
        "unix:",
        "unix:otlp.sock",
        "unix://run/otlp.sock",
        "unix:/run/otlp\x00.sock",
        "unix:/run/otlp.sock?x",
        "http+unix://run/otlp.sock",
        "http+unix://%2Frun%00/v1/metrics",
        "http://%2Frun:x",
        f"unix:/{'x' * 107}",
        f"unix:/{'é' * 60}",
    ],
)
def test_what_is_no_endpoint(value: str) -> None:
    with pytest.raises(ConfigError, match="X is "):
        urls.endpoint("X", value)


@pytest.mark.parametrize(
    ("options", "metrics", "traces"),
    [
        ({"endpoint": "http://[::1]:4318/a/"}, "http://[::1]:4318/a/v1/metrics", "http://[::1]:4318/a/v1/traces"),
        (
            {"endpoint": "unix:/run/o.sock"},
            "http+unix://%2Frun%2Fo.sock/v1/metrics",
            "http+unix://%2Frun%2Fo.sock/v1/traces",
        ),
        (
            {"endpoint": "http+unix://%2Fo.sock/a", "traces_endpoint": "unix:///t.sock"},
            "http+unix://%2Fo.sock/a/v1/metrics",
            "http+unix://%2Ft.sock/v1/traces",
        ),
        (
            {"endpoint": "http://e", "metrics_endpoint": "http+unix://%2Fm.sock/push"},
            "http+unix://%2Fm.sock/push",
            "http://e/v1/traces",
        ),
        ({"endpoint": "unix:/run/o.sock", "protocol": "grpc"}, "unix:/run/o.sock", "unix:/run/o.sock"),
        ({"endpoint": "collector:4317", "protocol": "grpc"}, "collector:4317", "collector:4317"),
    ],
)
def test_an_endpoint_with_its_path(options, metrics: str, traces: str) -> None:
    ((found,), _) = resolve_otlp([(OtlpOptions(**options),)])
    assert (found.metrics_endpoint, found.traces_endpoint) == (metrics, traces)


def test_http_needs_a_scheme_and_the_error_says_which() -> None:
    with pytest.raises(ConfigError, match=r"'collector:4317' has no scheme.*http://collector:4317.*gRPC"):
        resolve_otlp([(OtlpOptions(endpoint="collector:4317"),)])


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("proxy:3128", "http://proxy:3128"),
        ("proxy", "http://proxy"),
        ("user:p%40ss@[::1]:3128", "http://user:p%40ss@[::1]:3128"),
        ("none", False),
        ("", False),
        (False, False),
    ],
)
def test_proxies(value, url) -> None:
    assert urls.proxy("X", value) == url


@pytest.mark.parametrize(
    "value", ["https://proxy", "socks5://proxy", "http://", "http://proxy:x", "http://a b", "a\r\nb", True, 3128, b"x"]
)
def test_what_is_no_proxy(value) -> None:
    with pytest.raises(ConfigError, match="X is "):
        urls.proxy("X", value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://user:secret@[::1]:4318/v1", "http://[::1]:4318/v1"),
        ("http://secret@proxy:3128", "http://proxy:3128"),
        ("http+unix://user:secret@%2Frun%2Fo.sock/v1?secret", "http+unix://%2Frun%2Fo.sock/v1"),
        ("user:secret@host:1", "(not shown, it holds credentials)"),
        ("http://user:sec@ret@host", "(not shown, it holds credentials)"),
    ],
)
def test_what_is_shown(url: str, text: str) -> None:
    assert urls.shown(url) == text


@given(st.text("ab:/@[]%.?#\\ \n1é", max_size=12), st.text("ab:/@[]%.?#\\ \n1é", max_size=12))
def test_no_error_shows_a_password(before: str, after: str) -> None:
    for check in (urls.endpoint, urls.proxy):
        value = f"{before}:s3cret@{after}"
        try:
            found = check("X", value)
        except ConfigError as error:
            assert "s3cret" not in str(error)  # noqa: PT017  # either outcome is right
        else:
            assert "s3cret" not in urls.shown(str(found))
