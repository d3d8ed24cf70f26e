"""What is shown of URLs and of what others say."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelbridge.otlp.redact import Redactor, printable, safe_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:4318/v1/metrics", "http://h:4318/v1/metrics"),
        ("https://user:s3cret@h/v1/metrics?key=s3cret#s3cret", "https://h/v1/metrics"),
        ("https://s3cret@h", "https://h"),
        ("user:s3cret@h", "(not shown, it holds credentials)"),
    ],
)
def test_urls_are_shown_without_user_and_query(url, shown) -> None:
    assert safe_url(url) == shown


@pytest.mark.parametrize(
    "echo",
    [
        "token s3cret-token is not valid",
        "Bearer s3cret-token",
        "got header authorization: Bearer s3cret-token!",
        "https://us%65r:p%40ss-word@h/",
        "user name us-er, password p@ss-word",
        "query was key=qu-ery%20value",
        "query was key=qu-ery value and key=qu-ery+value",
        f"Basic {base64.b64encode(b'admin:b4sic-pass').decode()}",
        "admin:b4sic-pass",
        "b4sic-pass",
    ],
)
def test_no_form_of_a_secret_gets_through(echo) -> None:
    headers = {
        "authorization": "Bearer s3cret-token",
        "proxy-authorization": f"Basic {base64.b64encode(b'admin:b4sic-pass').decode()}",
    }
    redact = Redactor("https://us-er:p%40ss-word@h/v1?key=qu-ery%20value", headers)
    cleaned = redact(echo)
    assert "[hidden]" in cleaned
    for secret in ("s3cret", "p@ss", "p%40ss", "qu-ery", "b4sic", "YWRtaW4"):
        assert secret not in cleaned
        assert secret not in repr(redact)


def test_a_secret_at_the_end_of_what_is_kept_is_not_cut_in_half() -> None:
    redact = Redactor("http://h", {"x-key": "s3cret-token"})
    assert "s3cr" not in redact("x" * 192 + "s3cret-token")
    assert "s3cr" not in redact(" " * 1995 + "s3cret-token")


def test_a_secret_within_a_secret_leaves_nothing_of_the_longer_one() -> None:
    redact = Redactor("http://h", {"a": "inner", "b": "outer-inner-outer"})
    assert redact("outer-inner-outer") == "[hidden]"


def test_values_too_short_for_secrets_do_not_make_texts_unreadable() -> None:
    assert Redactor("http://h", {"x-tenant": "1"})("11 points") == "11 points"


@given(st.text(max_size=300), st.integers(1, 50))
def test_any_text_becomes_a_printable_line(text, limit) -> None:
    line = printable(text, limit)
    assert line.isprintable()
    assert len(line) <= limit


_LOWER = st.text("abc: \n")


@given(st.from_regex(r"[A-Z0-9]{4,20}", fullmatch=True), _LOWER, _LOWER)
def test_no_header_value_survives(value, before, after) -> None:
    cleaned = Redactor("http://h", {"x-key": value})(f"{before}{value}{after}", limit=10_000)
    assert value not in cleaned
