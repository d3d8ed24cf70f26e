"""Which format a scraper gets, from the headers real ones send to the strangest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.exposition import choose_encoder

from otelbridge.prometheus.negotiation import DEFAULT, Format, Syntax, choose
from otelbridge.prometheus.translation import Escaping

_PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
# What Prometheus 3 and 2 send by default, with native histograms on, and what browsers and curl send.
_PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
_PROMETHEUS_3_NATIVE = f"{_PROTOBUF};q=0.7,{_PROMETHEUS_3}"
_PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
_BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

OPENMETRICS = Format(Syntax.OPENMETRICS, "1.0.0")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, DEFAULT),
        ("", DEFAULT),
        ("*/*", DEFAULT),
        (_BROWSER, DEFAULT),
        (_PROMETHEUS_2, OPENMETRICS),
        (_PROMETHEUS_3, Format(Syntax.OPENMETRICS, "1.0.0", Escaping.ALLOW_UTF8)),
        (_PROMETHEUS_3_NATIVE, Format(Syntax.PROTOBUF, "")),
        (f"{_PROTOBUF};escaping=values", Format(Syntax.PROTOBUF, "", Escaping.VALUES)),
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", DEFAULT),
        ("application/vnd.google.protobuf", DEFAULT),
        ("text/plain", DEFAULT),
        ("text/*", DEFAULT),
        ("application/*", OPENMETRICS),
        ("text/plain;version=1.0.0", Format(Syntax.TEXT, "1.0.0")),
        ("text/plain;version=1.0.0;escaping=dots", Format(Syntax.TEXT, "1.0.0", Escaping.DOTS)),
        ("text/plain;version=1.0.0;escaping=nonsense", Format(Syntax.TEXT, "1.0.0")),
        ("text/plain;version=0.0.4;escaping=allow-utf-8", DEFAULT),
        ("text/plain;version=0.0.4;escaping=values", Format(Syntax.TEXT, "0.0.4", Escaping.VALUES)),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1", Format(Syntax.OPENMETRICS, "0.0.1")),
        ("application/openmetrics-text;version=2.0.0", DEFAULT),
        ("application/openmetrics-text;version=2.0.0,application/openmetrics-text;version=1.0.0;q=0.1", OPENMETRICS),
        ('Application/OpenMetrics-Text ; Version="1.0.0" ; Q=0.5 , text/plain;q=0.4', OPENMETRICS),
        ("text/plain;q=0.5,application/openmetrics-text;q=0.5", DEFAULT),
        ("application/openmetrics-text;q=0,text/plain;q=0.1", DEFAULT),
        ("application/openmetrics-text;q=2", DEFAULT),
        ("application/openmetrics-text;q=NaN", DEFAULT),
        ("application/openmetrics-text;q=", DEFAULT),
        (f"{'a/b,' * 5000}application/openmetrics-text", DEFAULT),
    ],
)
def test_choice(accept: str | None, form: Format) -> None:
    assert choose(accept) == form


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        (DEFAULT, "text/plain; version=0.0.4; charset=utf-8"),
        (Format(Syntax.TEXT, "1.0.0"), "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        (
            Format(Syntax.OPENMETRICS, "1.0.0", Escaping.ALLOW_UTF8),
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        (Format(Syntax.OPENMETRICS, "0.0.1"), "application/openmetrics-text; version=0.0.1; charset=utf-8"),
        (
            Format(Syntax.PROTOBUF, ""),
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; "
            "escaping=underscores",
        ),
    ],
)
def test_content_type(form: Format, content_type: str) -> None:
    assert form.content_type == content_type


def test_the_text_is_called_what_prometheus_client_calls_it() -> None:
    for accept in (None, "text/plain;version=1.0.0;escaping=allow-utf-8", _PROMETHEUS_3):
        assert choose(accept).content_type == choose_encoder(accept or "")[1]


_pieces = st.sampled_from([*_PROMETHEUS_3_NATIVE.replace(",", ";").split(";"), *';,=*/" é\0\n', "q=", "1e9"])


@given(st.one_of(st.text(), st.lists(_pieces).map("".join), st.lists(_pieces).map(",".join)))
def test_no_header_raises_or_gets_into_the_answer(accept: str) -> None:
    form = choose(accept)
    assert form.escaping in Escaping
    assert (form.syntax, form.version) in {
        (Syntax.TEXT, "0.0.4"),
        (Syntax.TEXT, "1.0.0"),
        (Syntax.OPENMETRICS, "0.0.1"),
        (Syntax.OPENMETRICS, "1.0.0"),
        (Syntax.PROTOBUF, ""),
    }
    assert form.version in ("", "1.0.0") or form.escaping is not Escaping.ALLOW_UTF8
