"""The reader of answers against the official messages."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from otelbridge.otlp.answers import MalformedAnswerError, Status, Taken, read_status, read_taken
from tests.otlp.faults import failure, partial

_INT64 = st.integers(-(2**63), 2**63 - 1)


@given(_INT64, st.text())
def test_a_partial_success_is_read_as_the_official_message_has_it(rejected, message) -> None:
    assert read_taken(partial(rejected, message)) == Taken(max(rejected, 0), message)


@given(st.text(), st.none() | st.integers(0, 10**6))
def test_a_failure_is_read_as_the_official_message_has_it(message, delay) -> None:
    assert read_status(failure(message, delay)) == Status(message, delay)


def test_a_delay_has_parts_of_a_second_and_is_never_negative() -> None:
    assert read_status(failure("busy", 1.25)).retry_delay == 1.25
    assert read_status(failure("busy", -3)).retry_delay == 0


def test_other_details_are_no_delay() -> None:
    status = status_pb2.Status(message="bad")
    status.details.add(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\x0a\x02\x08\x05")
    assert read_status(status.SerializeToString()) == Status("bad", None)


@given(st.binary(max_size=60))
def test_any_bytes_are_taken_or_refused_as_the_official_message_does(body) -> None:
    official = ExportMetricsServiceResponse()
    try:
        official.ParseFromString(body)
    except DecodeError:
        with pytest.raises(MalformedAnswerError):
            read_taken(body)
        return
    success = official.partial_success
    assert read_taken(body) == Taken(max(success.rejected_data_points, 0), success.error_message)


@given(
    st.lists(
        st.binary(max_size=12) | st.sampled_from([b"\x0a", b"\x08\x07", b"\x12\x01a", b"\x0b", b"\x0c"]), max_size=6
    )
)
def test_bytes_that_are_nearly_a_message_are_judged_as_the_official_message_does(parts) -> None:
    test_any_bytes_are_taken_or_refused_as_the_official_message_does.hypothesis.inner_test(b"".join(parts))


@pytest.mark.parametrize(
    "body", [b"<html>login</html>", b"\x0a\x05ab", b"\x0a", b"\xff" * 11, b"\x0a\x03\x12\x01\xff", b"\x00"]
)
def test_what_is_no_message_is_refused(body) -> None:
    with pytest.raises(MalformedAnswerError):
        read_taken(body)


@pytest.mark.parametrize("body", [b"\x18\x00" * 500_000, b"\x1b" * 1_000_000, b"\x1b" + b"\x20\x00" * 500_000])
def test_a_mebibyte_of_nothing_is_given_up_early(body) -> None:
    with pytest.raises(MalformedAnswerError):
        read_taken(body)
