"""Whatever is done with prometheus_client's instruments, our page has the samples that its own page has."""

from __future__ import annotations

import prometheus_client as client
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from tests.neighbour.pages import samples, showing, types

NAMES = st.sampled_from(["a", "b_total_seen", "e_seconds", "f_sum", "g_info_too", "_h", "I"])
LABELS = st.lists(st.sampled_from(["x", "method", "Y_1"]), unique=True, max_size=2)
VALUES = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\u2028\u2029\x85"), max_size=5)
AMOUNTS = st.one_of(st.integers(0, 10**6), st.floats(0, 1e300), st.floats(0, 1))
ANY = st.one_of(st.floats(), st.integers(-(10**6), 10**6))
KINDS = {
    "counter": (client.Counter, "inc", AMOUNTS),
    "gauge": (client.Gauge, "set", ANY),
    "sum": (client.Gauge, "set", ANY),
    "histogram": (client.Histogram, "observe", AMOUNTS),
    "summary": (client.Summary, "observe", AMOUNTS),
    "info": (client.Info, "info", st.dictionaries(st.sampled_from(["k", "l"]), VALUES)),
    "enum": (client.Enum, "state", st.sampled_from(["up", "down"])),
}
STEP = st.tuples(st.integers(0, 3), st.lists(VALUES, min_size=2, max_size=2), st.data())


def make(kind: str, name: str, labels: list[str], registry: client.CollectorRegistry):
    more = {"enum": {"states": ["up", "down"]}, "sum": {"multiprocess_mode": "livesum"}}.get(kind, {})
    try:
        return KINDS[kind][0](name, "What it is.", labels, registry=registry, **more)
    except ValueError:  # a name that is taken, or one the kind does not allow
        return None


@settings(max_examples=40, deadline=None)
@given(
    made=st.lists(st.tuples(st.sampled_from(list(KINDS)), NAMES, LABELS), min_size=1, max_size=4),
    rounds=st.lists(st.lists(STEP, max_size=6), min_size=1, max_size=3),
)
def test_our_page_has_the_samples_of_theirs(made, rounds) -> None:
    registry = client.CollectorRegistry()
    instruments = [(kind, labels, make(kind, name, labels, registry)) for kind, name, labels in made]
    instruments = [each for each in instruments if each[2] is not None]
    with showing(registry) as shown:
        for steps in rounds:
            for at, values, data in steps:
                if not instruments:
                    break
                kind, labels, instrument = instruments[at % len(instruments)]
                _, verb, amounts = KINDS[kind]
                child = instrument.labels(*values[: len(labels)]) if labels else instrument
                getattr(child, verb)(data.draw(amounts))
                if labels and data.draw(st.integers(0, 5)) == 0:
                    instrument.remove(*values[: len(labels)])
            theirs, ours = client.generate_latest(registry).decode(), shown.text()
            assert same(samples(ours), samples(theirs))
            # Families without samples are shown by them alone.
            assert types(ours).items() <= types(theirs).items()
            theirs, ours = openmetrics(registry).decode(), shown.openmetrics()
            assert same(samples(ours, strict=True), samples(theirs, strict=True))


def same(one: dict, other: dict) -> bool:
    """Equal, where NaN equals NaN."""
    assert one.keys() == other.keys()
    return all(one[key] == other[key] or (one[key] != one[key] and other[key] != other[key]) for key in one)
