"""Request headers from settings, URL and file."""

from __future__ import annotations

import logging
import os
import re

import pytest

from otelbridge.errors import ConfigError
from otelbridge.otlp.headers import RequestHeaders

_FORBIDDEN = re.compile("content-.*")


def _headers(headers=None, file=None, url="http://h/") -> RequestHeaders:
    return RequestHeaders(url, headers or {}, None if file is None else str(file), forbidden=_FORBIDDEN)


def test_the_file_wins_over_the_settings_and_these_over_the_url(tmp_path) -> None:
    file = tmp_path / "headers"
    file.write_text("x-b=file,\nX-C=from%20file\n")
    headers = _headers({"x-a": "settings", "X-B": "settings"}, file, "http://u:p@h/")
    assert headers.current() == {
        "authorization": "Basic dTpw",
        "x-a": "settings",
        "x-b": "file",
        "x-c": "from file",
    }
    assert _headers({"Authorization": "Bearer t"}, url="http://u:p@h/").current() == {"authorization": "Bearer t"}


def test_a_changed_file_counts_at_the_next_request(tmp_path) -> None:
    file = tmp_path / "headers"
    file.write_text("authorization=one")
    headers = _headers(file=file)
    assert headers.current() == {"authorization": "one"}
    file.write_text("authorization=two")
    assert headers.current() == {"authorization": "two"}
    other = tmp_path / "other"
    other.write_text("authorization=six")
    os.replace(other, file)  # noqa: PTH105  # as a secret's mount does it
    assert headers.current() == {"authorization": "six"}
    file.write_text("")
    assert headers.current() == {}


@pytest.mark.parametrize("break_it", ["remove", "malformed", "binary", "forbidden", "huge", "directory"])
def test_a_file_that_goes_bad_costs_one_warning_and_no_headers(tmp_path, caplog, break_it) -> None:
    file = tmp_path / "headers"
    file.write_text("authorization=s3cret-one")
    headers = _headers(file=file)
    assert headers.current() == {"authorization": "s3cret-one"}
    file.unlink()
    contents = {
        "malformed": b"s3cret without a divider",
        "binary": b"authorization=s3cret\xff",
        "forbidden": b"content-length=s3cret",
        "huge": b"x=s3cret" * 100_000,
    }
    if break_it == "directory":
        file.mkdir()
    elif break_it != "remove":
        file.write_bytes(contents[break_it])
    for _ in range(3):
        assert headers.current() == {"authorization": "s3cret-one"}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "headers file" in record.getMessage()
    assert "read last" in record.getMessage()
    assert "s3cret" not in caplog.text


def test_a_mended_file_is_used_and_the_next_trouble_reported_again(tmp_path, caplog) -> None:
    file = tmp_path / "headers"
    for content, now, warnings in (("x=1", "1", 0), ("x", "1", 1), ("x=2", "2", 1), ("x", "2", 2)):
        file.write_text(content)
        if content == "x=1":
            headers = _headers(file=file)
        assert headers.current() == {"x": now}
        assert len(caplog.records) == warnings


def _pipe(path) -> str:
    os.mkfifo(path)
    return str(path)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (str, "cannot be read \\(No such file"),
        (lambda path: str(path.parent), "no regular file"),
        (_pipe, "no regular file"),
        (lambda path: "a\0b", "cannot be read \\(ValueError"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_at_the_start(tmp_path, make, match) -> None:
    with pytest.raises(ConfigError, match=match):
        _headers(file=make(tmp_path / "headers"))


@pytest.mark.parametrize(
    "content", [b"s3cret", b"=s3cret", b"a=s3cret%zz", b"a b=s3cret", b"a=s3cret\xff", b"content-type=s3cret"]
)
def test_a_malformed_file_is_an_error_at_the_start_that_shows_nothing(tmp_path, content) -> None:
    file = tmp_path / "headers"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        _headers(file=file)
    error: BaseException | None = raised.value
    while error is not None:
        assert "s3cret" not in f"{error!s} {error!r}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


@pytest.mark.parametrize(
    "headers",
    [{"x y": "s3cret"}, {"x": "s3cret\r\nx-evil: 1"}, {"x": "s3crét"}, {"": "s3cret"}, {"Content-Length": "s3cret"}],
)
def test_headers_that_cannot_be_sent_are_errors_that_show_nothing(headers) -> None:
    with pytest.raises(ConfigError) as raised:
        _headers(headers)
    assert "s3cr" not in str(raised.value)


def test_names_are_shown_and_values_are_not(tmp_path) -> None:
    file = tmp_path / "headers"
    file.write_text("x-b=s3cret")
    shown = repr(_headers({"x-a": "s3cret"}, file, "http://u:s3cret@h/?s3cret"))
    assert "['authorization', 'x-a', 'x-b']" in shown
    assert "s3cret" not in shown
