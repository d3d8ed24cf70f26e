"""Heads of requests: what is read, what is refused, and that nothing raises."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelbridge.prometheus.http1 import HeadError, Request, Response, encode_head, message, parse_head


def parse(*lines: str) -> Request:
    return parse_head("\r\n".join(lines).encode("latin-1"))


def test_a_request_is_read() -> None:
    head = b"GET /metrics?a=b&c=%20d HTTP/1.1\r\nHost: localhost:9464\r\nACCEPT:text/plain\r\nX-Empty:\r\nX:\t a b \t"
    request = parse_head(head, frozenset({"a.example"}))
    assert (request.method, request.path, request.query) == ("GET", "/metrics", "a=b&c=%20d")
    assert request.headers == {"host": "localhost:9464", "accept": "text/plain", "x-empty": "", "x": "a b"}
    assert request.names == {"a.example"}
    assert request.keep_alive


def test_fields_of_one_name_are_joined() -> None:
    assert parse("GET / HTTP/1.1", "Host: a", "Accept: b", "accept: c").headers["accept"] == "b, c"


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/a/../b", "/a/../b", ""),
        ("/%6detrics", "/%6detrics", ""),
        ("//metrics", "//metrics", ""),
        ("/a?", "/a", ""),
        ("/a?b?c", "/a", "b?c"),
        ("http://localhost:9464/metrics?x", "/metrics", "x"),
        ("HTTPS://localhost", "/", ""),
        ("http://localhost?x", "/", "x"),
        ("*", "*", ""),
        ("metrics", "metrics", ""),
    ],
)
def test_paths_are_taken_as_they_are(target, path, query) -> None:
    request = parse(f"GET {target} HTTP/1.1", "Host: a")
    assert (request.path, request.query) == (path, query)


@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        (("GET / HTTP/1.1", "Host: a"), True),
        (("GET / HTTP/1.1", "Host: a", "Connection: keep-alive"), True),
        (("GET / HTTP/1.1", "Host: a", "Connection: CLOSE"), False),
        (("GET / HTTP/1.1", "Host: a", "Connection: x", "Connection: y , close"), False),
        (("GET / HTTP/1.1", "Host: a", "Content-Length: 0"), True),
        (("GET / HTTP/1.1", "Host: a", "Content-Length: 1"), False),
        (("GET / HTTP/1.1", "Host: a", "Content-Length: nonsense"), False),
        (("GET / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked"), False),
        (("GET / HTTP/1.0",), False),
        (("GET / HTTP/1.0", "Connection: keep-alive"), False),
    ],
)
def test_a_connection_stays_only_where_the_next_request_is_sure_to_be_found(lines, kept) -> None:
    assert parse(*lines).keep_alive is kept


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET",
        b"GET /",
        b"GET  / HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1 \r\nHost: a",
        b" GET / HTTP/1.1\r\nHost: a",
        b"GET /a b HTTP/1.1\r\nHost: a",
        b"G@T / HTTP/1.1\r\nHost: a",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a",
        b"GET /\x00 HTTP/1.1\r\nHost: a",
        b"GET / http/1.1\r\nHost: a",
        b"GET / HTTP/1.11\r\nHost: a",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        b"GET / HTTP/1.0\r\nHost: a, b",
        b"GET / HTTP/1.1\r\nHost : a",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded",
        b"GET / HTTP/1.1\r\nHost: a\r\nX",
        b"GET / HTTP/1.1\r\nHost: a\r\n: x",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\nb",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nX: a",
    ],
)
def test_what_is_no_request_is_refused(head) -> None:
    with pytest.raises(HeadError) as caught:
        parse_head(head)
    assert caught.value.status is HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("line", [b"GET / HTTP/2.0", b"PRI * HTTP/2.0", b"GET / HTTP/0.9", b"GET / HTTP/9.9"])
def test_other_versions_are_refused(line) -> None:
    with pytest.raises(HeadError) as caught:
        parse_head(line)
    assert caught.value.status is HTTPStatus.HTTP_VERSION_NOT_SUPPORTED


PIECES = st.sampled_from(
    [b"GET ", b"/metrics", b" HTTP/1.1", b"\r\n", b"\n", b"\r", b"Host: a", b":", b" ", b"\t", b"\x00", b"\xff", b","]
)


@settings(deadline=None)
@given(head=st.binary(max_size=300) | st.lists(PIECES, max_size=30).map(b"".join))
def test_any_bytes_are_a_request_or_an_error(head) -> None:
    try:
        request = parse_head(head)
    except HeadError as error:
        refused = error.status
    else:
        refused = None
        assert request.method
        assert all("\n" not in value and "\r" not in value for value in request.headers.values())
    assert refused in (None, HTTPStatus.BAD_REQUEST, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)


@settings(deadline=None)
@given(value=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_every_value_is_read_back(value) -> None:
    assert parse("GET / HTTP/1.1", "Host: a", f"X-Value:  {value}  ").headers["x-value"] == value


@pytest.mark.parametrize("filler", [b" " * 16000 + b"\x00", b"a" * 16000 + b"\x00", b"\t " * 8000 + b"\x7f"])
def test_a_long_bad_field_is_refused_at_once(filler) -> None:
    with pytest.raises(HeadError):
        parse_head(b"GET / HTTP/1.1\r\nHost: a\r\nX:" + filler)


def test_nothing_of_the_fields_is_shown() -> None:
    request = parse("GET /metrics?token=canary HTTP/1.1", "Host: a", "Authorization: Bearer canary")
    assert "canary" not in repr(request)
    assert "canary" not in repr(Response(HTTPStatus.OK, b"canary"))


def test_an_answer_is_written() -> None:
    response = message(HTTPStatus.NOT_FOUND, "nö", ("X-One", "a"), ("X-One", "b"))
    lines = encode_head(response, keep_alive=False).split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 404 Not Found"
    assert lines[-2:] == [b"", b""]
    assert {b"X-One: a", b"X-One: b", b"Content-Length: 4", b"Connection: close"} < set(lines)
    assert any(line.startswith(b"Date: ") and line.endswith(b" GMT") for line in lines)
    assert b"Connection" not in encode_head(response, keep_alive=True)
