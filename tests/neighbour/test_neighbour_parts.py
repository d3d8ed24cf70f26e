"""The parts of the neighbour by themselves: what is taken off after a fork, the client's private names."""

from __future__ import annotations

import threading

import prometheus_client as client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelbridge.metrics.foreign import Foreign, is_foreign
from otelbridge.neighbour.baseline import Baseline
from otelbridge.neighbour.client import held, only_defaults, version
from otelbridge.neighbour.exemplars import convert
from otelbridge.neighbour.rows import Row, read
from otelbridge.neighbour.source import Neighbour

COUNTER = Foreign("c", "counter", "", "", "sum")
HISTOGRAM = Foreign("h", "histogram", "", "", "sum", (1.0,))
GAUGE = Foreign("g", "gauge", "", "", "last")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_reader_in_the_way_of_itself_gives_up(monkeypatch) -> None:
    monkeypatch.setattr("otelbridge.neighbour.source._TURN", 0.1)
    neighbour = Neighbour(client.CollectorRegistry())
    with neighbour._round:  # as a signal handler finds it
        neighbour.refresh()
        neighbour.before_fork()
    assert neighbour.present is False


def test_of_several_threads_that_fork_each_lets_go_of_what_it_holds(monkeypatch) -> None:
    monkeypatch.setattr("otelbridge.neighbour.source._PATIENCE", 0.05)
    registry = client.CollectorRegistry()
    client.Counter("c", "", registry=registry).inc(5)
    neighbour, holds, go_on, noted = Neighbour(registry), threading.Event(), threading.Event(), []

    def fork() -> None:
        neighbour.before_fork()
        holds.set()
        go_on.wait(60)
        noted.append(neighbour._before)
        neighbour.after_fork_in_parent()

    other = threading.Thread(target=fork)
    other.start()
    assert holds.wait(60)
    neighbour.before_fork()
    neighbour.after_fork_in_parent()
    go_on.set()
    other.join(60)
    assert [row.value for rows in noted[0].values() for row in rows] == [5.0]
    assert neighbour._round.acquire(blocking=False)
    neighbour.close()


def test_what_the_parent_had_is_taken_off() -> None:
    before = {COUNTER: [Row((), 5.0)], HISTOGRAM: [Row((), ((1, 2), 7.5))], GAUGE: [Row((), 3.0)]}
    baseline = Baseline(before)
    assert len(baseline) == 2
    assert [row.value for row in baseline.take_off(COUNTER, [Row((), 6.0), Row((("a", "b"),), 6.0)])] == [1.0, 6.0]
    assert [row.value for row in baseline.take_off(HISTOGRAM, [Row((), ((1, 4), 9.5))])] == [((0, 2), 2.0)]
    assert [row.value for row in baseline.take_off(GAUGE, [Row((), 4.0)])] == [4.0]


def test_what_began_anew_is_taken_as_it_is() -> None:
    baseline = Baseline({COUNTER: [Row((), 5.0)], HISTOGRAM: [Row((), ((1, 2), 7.5))]})
    assert [row.value for row in baseline.take_off(COUNTER, [Row((), 2.0)])] == [2.0]
    assert [row.value for row in baseline.take_off(COUNTER, [Row((), 9.0)])] == [9.0]
    assert [row.value for row in baseline.take_off(HISTOGRAM, [Row((), ((0, 9), 7.5))])] == [((0, 9), 7.5)]


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=6))
def test_the_shares_of_parent_and_child_are_the_whole(amounts) -> None:
    at = len(amounts) // 2
    parent, child = float(sum(amounts[:at])), float(sum(amounts[at:]))
    (row,) = Baseline({COUNTER: [Row((), parent)]}).take_off(COUNTER, [Row((), parent + child)])
    assert parent + row.value == sum(amounts)


FOREIGN = st.builds(
    Foreign,
    name=st.text(),
    type=st.sampled_from(["counter", "gauge", "histogram", "info", "stateset", "summary", "unknown"]),
    help=st.text(),
    unit=st.text(),
    rule=st.sampled_from(["sum", "livesum", "last", "max", "min", "per_worker"]),
    bounds=st.lists(st.floats(allow_nan=False)).map(tuple),
)


@given(FOREIGN)
def test_a_metric_is_known_again_by_other_processes(foreign) -> None:
    assert is_foreign(foreign.encode())
    assert Foreign.decode(foreign.encode()) == foreign


@given(st.binary(max_size=50))
def test_bytes_that_are_no_metric_are_refused(code) -> None:
    for given_ in (code, b"foreign:" + code, b'foreign:{"bounds": [1]}', b'foreign:{"bounds": 7}', b"foreign:[]"):
        with pytest.raises(ValueError):  # noqa: PT011  # whatever it says
            Foreign.decode(given_)


SAMPLE = st.tuples(
    st.sampled_from(["m", "m_total", "m_bucket", "m_sum", "m_count", "m_created", "m_info", "m_gcount", "x"]),
    st.dictionaries(st.sampled_from(["le", "quantile", "m", "a"]), st.sampled_from(["1", "2.5", "+Inf", "x", ""])),
    st.floats(),
)


@settings(max_examples=300)
@given(
    st.sampled_from(["counter", "gauge", "histogram", "summary", "info", "stateset", "unknown", "gaugehistogram"]),
    st.lists(SAMPLE, max_size=8),
)
def test_whatever_a_collector_gives_is_read(kind, samples) -> None:
    metric = client.Metric("m", "d", kind)
    for name, labels, value in samples:
        metric.add_sample(name, labels, value)
    for foreign, rows in read([metric], None).items():
        assert len(foreign.bounds) == len(set(foreign.bounds))
        for row in rows:
            assert isinstance(row.value, tuple) == (foreign.type in ("histogram", "summary"))
            if isinstance(row.value, tuple):
                assert len(row.value[0]) == len(foreign.bounds) + 1
                assert min(row.value[0]) >= 0


def test_exemplars_become_those_of_the_sdk_where_they_are() -> None:
    labels = {"trace_id": "0" * 31 + "a", "span_id": "0" * 15 + "b", "user": "x"}
    whole = convert(client.samples.Exemplar(labels, 2.5, 1.5))
    assert (whole.trace_id, whole.span_id, whole.value, whole.time_unix_nano) == (10, 11, 2.5, 1_500_000_000)
    assert whole.filtered_attributes == {"user": "x"}
    for broken in ({"trace_id": "7"}, {"trace_id": "0" * 32, "span_id": "0" * 16}, {"span_id": "0" * 15 + "b"}):
        plain = convert(client.samples.Exemplar(broken, 1))
        assert (plain.trace_id, plain.span_id, plain.filtered_attributes) == (None, None, broken)
        assert plain.time_unix_nano == 0


def test_the_private_names_of_the_client_are_where_they_were() -> None:
    """Checked against prometheus_client 0.26: without them a registry is read as a whole, and gauges per process."""
    registry = client.CollectorRegistry(target_info={"a": "b"})
    gauge = client.Gauge("g", "", registry=registry, multiprocess_mode="livemax")
    registry.register(client.ProcessCollector(registry=None))
    target, first, second = held(registry)
    assert [metric.name for metric in target.collector.collect()] == ["target"]
    assert (first.collector, first.own, first.mode) == (gauge, True, "livemax")
    assert (second.own, second.mode) == (False, None)
    assert version()
    assert only_defaults(held(client.CollectorRegistry()))
    assert not only_defaults(held(registry))


def test_the_defaults_of_the_client_are_told_from_metrics() -> None:
    registry = client.CollectorRegistry()
    for collector in (client.PROCESS_COLLECTOR, client.PLATFORM_COLLECTOR, client.GC_COLLECTOR):
        registry.register(collector)
    assert only_defaults(held(registry))
    client.Gauge("g", "", registry=registry)
    assert not only_defaults(held(registry))
