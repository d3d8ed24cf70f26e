"""What applications give to be called at each collection: a wrong answer is named, with what is wanted."""

from __future__ import annotations

import gc
import logging

import pytest

import otelbridge
from otelbridge.diagnostics import forget_warnings


async def coroutine():
    return 5


async def async_generator():
    yield 5


OBSERVE = {
    "queue": (lambda source: otelbridge.tasks.queue("q", size=source), "a number, or pairs of a number and its"),
    "workers": (lambda source: otelbridge.tasks.workers("p", source), "the number of workers by state"),
    "users": (otelbridge.business.users.observe_active, "the number of users by period"),
    "subscriptions": (otelbridge.business.subscriptions.observe, "subscriptions"),
    "pool": (lambda source: otelbridge.database.pool("p", used=source), "a number, or pairs of a number and its"),
    "cache": (lambda source: otelbridge.database.cache("c", entries=source), "a number, or pairs of a number and its"),
}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (coroutine, "it returned a coroutine, which nobody awaits"),
        (async_generator, "it returned an async generator, which nobody awaits"),
        (lambda: None, "it returned None"),
        (object, "it returned an object of the type object"),
    ],
    ids=["coroutine", "async generator", "None", "object"],
)
@pytest.mark.parametrize("what", OBSERVE)
def test_what_a_source_should_not_return_is_named(recorded, caplog, what, source, told) -> None:
    forget_warnings()
    observe, wanted = OBSERVE[what]
    handle = observe(source)
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        recorded.metrics()
        recorded.metrics()
    handle.close()
    gc.collect()  # what is left of a coroutine would complain now
    assert {f"{told}; let it be a plain function that returns {wanted}" in each for each in caplog.messages} == {True}


def test_a_check_that_is_a_coroutine_is_named(recorded, caplog) -> None:
    forget_warnings()
    handle = otelbridge.health.component("search", coroutine)
    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        recorded.metrics()
    handle.close()
    gc.collect()
    (message,) = caplog.messages
    assert "gave <coroutine object coroutine at" in message
    assert "it counts as unhealthy. Give True, False or one of: " in message
