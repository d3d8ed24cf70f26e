"""Invocations, workflows, tools and model calls, and how they find each other."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import threading
from contextlib import aclosing

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelbridge.diagnostics import forget_warnings
from otelbridge.domains import agents
from otelbridge.metrics.switch import switch

AGENT = "gen_ai.invoke_agent.duration"
ACTIVE = "agent.invocation.active"
TOOL = "gen_ai.execute_tool.duration"
INFERENCE = "gen_ai.client.inference.duration"
SPENT = "gen_ai.client.inference.usage"
PER_CALL = "gen_ai.client.inference.operation"
INFERENCE_CALLS = "gen_ai.invoke_agent.inference_calls"
TOOL_CALLS = "gen_ai.invoke_agent.tool_calls"


def counts(recorded, name: str) -> dict[frozenset, int]:
    return {frozenset(attributes.items()): count for attributes, (count, _sum) in recorded.points(name)}


def calls(recorded, name: str) -> dict[str, tuple[int, int]]:
    return {attributes["gen_ai.agent.name"]: value for attributes, value in recorded.points(name)}


def test_an_invocation_carries_what_it_was_given(recorded):
    with agents.invocation("planner", model="gpt-5", provider="openai", type="llm", domain="law", caller="desk"):
        assert recorded.points(ACTIVE) == [({"gen_ai.agent.name": "planner", "agent.type": "llm"}, 1)]
    assert counts(recorded, AGENT) == {
        frozenset(
            {
                "gen_ai.agent.name": "planner",
                "gen_ai.request.model": "gpt-5",
                "gen_ai.provider.name": "openai",
                "agent.type": "llm",
                "agent.domain": "law",
                "agent.caller.name": "desk",
            }.items()
        ): 1
    }
    assert recorded.value(ACTIVE) == 0
    assert calls(recorded, INFERENCE_CALLS) == {"planner": (1, 0)}
    assert calls(recorded, TOOL_CALLS) == {"planner": (1, 0)}


def test_what_was_not_given_is_left_out(recorded):
    with agents.invocation("planner"):
        pass
    assert counts(recorded, AGENT) == {frozenset({("gen_ai.agent.name", "planner")}): 1}


def test_a_nested_invocation_names_its_caller(recorded):
    with agents.invocation("coordinator") as outer:
        assert agents.current() is outer
        with agents.invocation("worker") as inner:
            assert agents.current() is inner
        with agents.invocation("helper", caller="someone"):
            pass
        assert agents.current() is outer
    assert agents.current() is None
    callers = {
        attributes["gen_ai.agent.name"]: attributes.get("agent.caller.name") for attributes, _ in recorded.points(AGENT)
    }
    assert callers == {"coordinator": None, "worker": "coordinator", "helper": "someone"}


STEPS = {
    "invocation": (lambda: agents.invocation("planner"), AGENT),
    "workflow": (lambda: agents.workflow("answer"), "gen_ai.invoke_workflow.duration"),
    "tool": (lambda: agents.tool("search"), TOOL),
    "inference": (lambda: agents.inference("gpt-5"), INFERENCE),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_sets_the_error_type_and_goes_on(recorded, step):
    make, name = STEPS[step]
    with pytest.raises(ValueError, match="secret"), make():
        raise ValueError("secret")
    ((attributes, (count, _sum)),) = recorded.points(name)
    assert (attributes["error.type"], count) == ("ValueError", 1)


@pytest.mark.parametrize("step", STEPS)
def test_a_failure_without_an_exception(recorded, step):
    make, name = STEPS[step]
    with make() as running:
        running.failed("refused")
    with make() as running:
        running.failed(LookupError("handled"))
    with make():
        pass
    assert {attributes.get("error.type") for attributes, _ in recorded.points(name)} == {"refused", "LookupError", None}


def test_a_reason_that_was_said_wins_over_the_exception(recorded):
    def search() -> None:
        with agents.tool("search") as tool:
            tool.failed("rate_limited")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        search()
    assert recorded.points(TOOL)[0][0]["error.type"] == "rate_limited"


@pytest.mark.parametrize("step", STEPS)
async def test_every_step_is_an_async_block_and_a_decorator(recorded, step):
    make, name = STEPS[step]
    async with make():
        pass

    @make()
    def function() -> int:
        return 1

    @make()
    async def coroutine() -> int:
        return 2

    @make()
    def generator():
        yield 3

    @make()
    async def async_generator():
        yield 4

    assert [function(), await coroutine(), *generator(), *[item async for item in async_generator()]] == [1, 2, 3, 4]
    ((_attributes, (count, _sum)),) = recorded.points(name)
    assert count == 5


def test_a_workflow_is_named(recorded):
    with agents.workflow("answer_question"):
        pass
    assert counts(recorded, "gen_ai.invoke_workflow.duration") == {
        frozenset({("gen_ai.workflow.name", "answer_question")}): 1
    }


def test_a_tool_belongs_to_the_running_invocation(recorded):
    with agents.invocation("planner"):
        with agents.tool("search", type="function", domain="web"):
            pass
        with agents.tool("search", type="function", domain="web"):
            pass
    with agents.tool("search"):
        pass
    assert counts(recorded, TOOL) == {
        frozenset(
            {
                "gen_ai.tool.name": "search",
                "gen_ai.tool.type": "function",
                "agent.domain": "web",
                "gen_ai.agent.name": "planner",
            }.items()
        ): 2,
        frozenset({("gen_ai.tool.name", "search")}): 1,
    }
    assert calls(recorded, TOOL_CALLS) == {"planner": (1, 2)}


def test_an_inference_takes_model_and_provider_of_its_invocation(recorded):
    with agents.invocation("planner", model="gpt-5", provider="openai") as call:
        with agents.inference(server_address="api.openai.com", server_port=443) as inference:
            inference.response_model = "gpt-5-2026"
        with call.inference("claude", operation="generate_content"):
            pass
    assert counts(recorded, INFERENCE) == {
        frozenset(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-5",
                "gen_ai.response.model": "gpt-5-2026",
                "server.address": "api.openai.com",
                "server.port": 443,
            }.items()
        ): 1,
        frozenset({"gen_ai.operation.name": "generate_content", "gen_ai.request.model": "claude"}.items()): 1,
    }
    assert calls(recorded, INFERENCE_CALLS) == {"planner": (1, 2)}


def test_calls_count_into_the_innermost_invocation(recorded):
    with agents.invocation("outer"):
        with agents.inference("m"):
            pass
        with agents.invocation("inner"), agents.inference("m"), agents.tool("t"):
            pass
    assert calls(recorded, INFERENCE_CALLS) == {"outer": (1, 1), "inner": (1, 1)}
    assert calls(recorded, TOOL_CALLS) == {"outer": (1, 0), "inner": (1, 1)}


def test_tokens_of_an_inference_meet_the_response_model_and_add_up_per_call(recorded):
    with agents.inference("gpt-5", provider="openai") as inference:
        inference.tokens(input=800, output=60, cache_read=100, cache_write=50, reasoning=40, modality="text")
        inference.tokens(input=12, output=4, modality="audio")
        inference.response_model = "gpt-5-2026"
        assert recorded.points(f"{SPENT}.input_tokens") == []
    base = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.model": "gpt-5-2026",
    }
    text, audio = {**base, "gen_ai.token.modality": "text"}, {**base, "gen_ai.token.modality": "audio"}
    assert recorded.points(f"{SPENT}.input_tokens") == [(text, 800), (audio, 12)]
    assert recorded.points(f"{SPENT}.output_tokens") == [(text, 60), (audio, 4)]
    assert recorded.points(f"{SPENT}.cache_read.input_tokens") == [(text, 100)]
    assert recorded.points(f"{SPENT}.cache_write.input_tokens") == [(text, 50)]
    assert recorded.points(f"{SPENT}.reasoning.output_tokens") == [(text, 40)]
    assert recorded.points(f"{PER_CALL}.input_tokens") == [(base, (1, 812))]
    assert recorded.points(f"{PER_CALL}.output_tokens") == [(base, (1, 64))]


def test_tokens_that_are_known_only_after_the_call_count_too(recorded):
    with agents.inference("gpt-5") as inference:
        pass
    inference.tokens(output=3)
    assert recorded.value(f"{SPENT}.output_tokens") == 3
    assert recorded.value(f"{PER_CALL}.output_tokens") == (1, 3)


def test_a_failed_inference_keeps_its_tokens_without_the_error(recorded):
    def ask() -> None:
        with agents.inference("gpt-5") as inference:
            inference.tokens(input=5)
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        ask()
    plain = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
    assert recorded.points(f"{SPENT}.input_tokens") == [(plain, 5)]
    assert recorded.points(f"{PER_CALL}.input_tokens") == [(plain, (1, 5))]
    assert recorded.points(INFERENCE)[0][0] == {**plain, "error.type": "OSError"}


def test_tokens_of_an_invocation_stand_for_a_model_call(recorded):
    with agents.invocation("planner", model="gpt-5", provider="openai") as call:
        call.tokens(input=812, output=64, modality="text")
        with agents.inference():
            call.tokens(input=1)
    base = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5"}
    assert recorded.points(f"{SPENT}.input_tokens") == [({**base, "gen_ai.token.modality": "text"}, 812), (base, 1)]
    assert recorded.points(f"{PER_CALL}.input_tokens") == [(base, (2, 813))]
    assert recorded.points(f"{PER_CALL}.output_tokens") == [(base, (1, 64))]
    assert recorded.points(f"{SPENT}.reasoning.output_tokens") == []
    assert calls(recorded, INFERENCE_CALLS) == {"planner": (1, 2)}


@pytest.mark.parametrize(("given_tokens", "counted"), [(0, 0), (12, 12), (12.0, 12)])
def test_whole_tokens_count(recorded, given_tokens, counted):
    with agents.invocation("planner") as call:
        call.tokens(input=given_tokens)
    assert recorded.value(f"{SPENT}.input_tokens") == counted


@pytest.mark.parametrize("wrong", [-1, 1.5, "12", True, float("nan"), [3]])
def test_what_are_no_tokens_is_left_out_and_reported_once(recorded, caplog, wrong):
    with caplog.at_level(logging.WARNING, logger="otelbridge"), agents.invocation("planner") as call:
        call.tokens(input=wrong, output=2)
        call.tokens(input=wrong, output=2)
    assert recorded.points(f"{SPENT}.input_tokens") == []
    assert recorded.value(f"{SPENT}.output_tokens") == 4
    assert len(caplog.records) == 1


def test_cost_carries_agent_model_and_provider(recorded):
    with agents.invocation("planner", model="gpt-5", provider="openai") as call:
        call.cost(0.5, "USD")
        with call.inference() as inference:
            inference.cost(0.25, "usd")
        with agents.inference("claude", provider="anthropic") as inference:
            inference.cost(2, "EUR", source="provider", category="research")
    base = {"gen_ai.agent.name": "planner"}
    gpt = {"gen_ai.request.model": "gpt-5", "gen_ai.provider.name": "openai", "cost.category": "llm"}
    claude = {"gen_ai.request.model": "claude", "gen_ai.provider.name": "anthropic", "cost.category": "research"}
    assert recorded.points("cost.usage") == [
        ({**base, **gpt, "currency": "USD"}, 0.75),
        ({**base, **claude, "currency": "EUR", "cost.source": "provider"}, 2),
    ]


def test_chunks_are_told_apart_into_first_and_further(recorded):
    with agents.inference("gpt-5") as inference:
        for _ in range(4):
            inference.chunk()
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5"}
    ((first_attributes, (first, _)),) = recorded.points("gen_ai.client.inference.time_to_first_chunk")
    ((gap_attributes, (gaps, _)),) = recorded.points("gen_ai.client.inference.time_per_output_chunk")
    assert (first_attributes, first, gap_attributes, gaps) == (attributes, 1, attributes, 3)


async def test_streams_pass_through_and_note_each_piece(recorded):
    async def answer():
        for piece in "abc":
            yield piece

    with agents.inference("gpt-5") as inference:
        assert list(inference.stream(["x", "y"])) == ["x", "y"]
    async with agents.inference("gpt-5") as inference:
        assert [piece async for piece in inference.stream(answer())] == ["a", "b", "c"]
    assert recorded.value("gen_ai.client.inference.time_to_first_chunk")[0] == 2
    assert recorded.value("gen_ai.client.inference.time_per_output_chunk")[0] == 3


def test_each_piece_of_a_decorated_generator_is_a_chunk(recorded):
    @agents.inference("gpt-5")
    def answer():
        yield from "abc"

    assert list(answer()) == ["a", "b", "c"]
    assert recorded.value("gen_ai.client.inference.time_to_first_chunk")[0] == 1
    assert recorded.value("gen_ai.client.inference.time_per_output_chunk")[0] == 2
    assert recorded.value(INFERENCE)[0] == 1


async def test_an_error_in_a_stream_reaches_the_reader(recorded):
    async def answer():
        yield "a"
        raise ConnectionError("lost")

    async def read() -> None:
        async with agents.inference("gpt-5") as inference:
            async for _piece in inference.stream(answer()):
                pass

    with pytest.raises(ConnectionError):
        await read()
    assert recorded.points(INFERENCE)[0][0]["error.type"] == "ConnectionError"


async def test_tasks_started_inside_count_into_the_invocation(recorded):
    async def work() -> None:
        async with agents.inference("m"):
            await anyio.lowlevel.checkpoint()
        with agents.tool("t"):
            await anyio.lowlevel.checkpoint()

    async with agents.invocation("planner"), anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(work)
    assert calls(recorded, INFERENCE_CALLS) == {"planner": (1, 5)}
    assert calls(recorded, TOOL_CALLS) == {"planner": (1, 5)}


async def test_invocations_in_sibling_tasks_do_not_see_each_other(recorded):
    async def invoke(name: str, tools: int) -> None:
        async with agents.invocation(name):
            for _ in range(tools):
                with agents.tool("t"):
                    await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(invoke, f"agent{number}", number)
    assert calls(recorded, TOOL_CALLS) == {f"agent{number}": (1, number) for number in range(4)}
    assert {attributes.get("agent.caller.name") for attributes, _ in recorded.points(AGENT)} == {None}


def test_threads_see_no_invocation_but_can_be_given_one(recorded):
    seen: list[object] = []

    def alone() -> None:
        seen.append(agents.current())

    with agents.invocation("planner") as call:

        def work() -> None:
            for _ in range(50):
                with call.tool("t"), call.inference("m"):
                    pass

        threads = [threading.Thread(target=target) for target in (alone, work, work, work, work)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [None]
    assert calls(recorded, TOOL_CALLS) == {"planner": (1, 200)}
    assert calls(recorded, INFERENCE_CALLS) == {"planner": (1, 200)}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_outlives_its_invocation_finds_the_next_one_out(recorded, anyio_backend):
    ended = asyncio.Event()
    found: list[object] = []

    async def late() -> None:
        await ended.wait()
        found.append(agents.current())

    async with agents.invocation("outer") as outer:
        async with agents.invocation("inner"):
            task = asyncio.create_task(late())
        ended.set()
        await task
    assert found == [outer]


def decorated_stream():
    @agents.invocation("streamer")
    async def answer():
        with agents.tool("before"):
            pass
        yield 1
        try:
            yield 2
        finally:
            with agents.tool("after"):
                pass

    return answer()


async def test_a_decorated_generator_is_current_only_while_it_runs(recorded):
    seen: list[object] = []

    @agents.invocation("streamer")
    async def answer():
        for number in range(2):
            seen.append(agents.current().agent)
            yield number

    async with aclosing(answer()) as stream:
        async for _item in stream:
            assert agents.current() is None
            with agents.invocation("consumer") as consumer:
                assert consumer.outer is None
    assert seen == ["streamer", "streamer"]


def test_interleaved_generators_keep_their_own_invocations(recorded):
    def stream(name: str):
        @agents.invocation(name)
        def answer():
            for _ in range(3):
                with agents.tool("t"):
                    yield agents.current().agent

        return answer()

    with agents.invocation("desk") as desk:
        pairs = list(zip(stream("a"), stream("b"), strict=True))
        assert agents.current() is desk
    assert pairs == [("a", "b")] * 3
    assert calls(recorded, TOOL_CALLS) == {"a": (1, 3), "b": (1, 3), "desk": (1, 0)}
    callers = {
        attributes["gen_ai.agent.name"]: attributes.get("agent.caller.name") for attributes, _ in recorded.points(AGENT)
    }
    assert callers == {"a": "desk", "b": "desk", "desk": None}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_async_generator_closed_from_another_task(recorded, caplog, anyio_backend):
    stream = decorated_stream()

    async def read() -> None:
        assert [await stream.__anext__(), await stream.__anext__()] == [1, 2]
        assert agents.current() is None

    async def close() -> None:
        with agents.invocation("closer") as closer:
            await stream.aclose()
            assert agents.current() is closer

    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        await asyncio.create_task(read())
        await asyncio.create_task(close())
    assert caplog.records == []
    assert calls(recorded, TOOL_CALLS) == {"streamer": (1, 2), "closer": (1, 0)}
    assert all("error.type" not in attributes for attributes, _ in recorded.points(AGENT))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_plain_block_in_a_generator_closed_from_another_task(recorded, caplog, anyio_backend):
    async def answer():
        with agents.invocation("streamer"):
            yield 1

    stream = answer()
    await stream.__anext__()

    async def close() -> None:
        with agents.invocation("closer") as closer:
            await stream.aclose()
            assert agents.current() is closer

    with caplog.at_level(logging.WARNING, logger="otelbridge"):
        await asyncio.create_task(close())
    assert caplog.records == []
    assert agents.current() is None
    assert set(calls(recorded, INFERENCE_CALLS)) == {"streamer", "closer"}


def test_a_generator_that_is_dropped_is_finished_by_the_collector(recorded):
    @agents.invocation("streamer")
    def answer():
        yield 1
        yield 2

    stream = answer()
    next(stream)
    assert recorded.value(ACTIVE) == 1
    del stream
    gc.collect()
    assert recorded.value(ACTIVE) == 0
    assert agents.current() is None


def test_a_block_left_in_another_context_does_not_stay_current(recorded):
    call = agents.invocation("planner")
    call.__enter__()
    contextvars.copy_context().run(call.__exit__, None, None, None)
    assert agents.current() is None
    with agents.invocation("next") as following:
        assert following.outer is None


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_cancellation_is_an_error_type(recorded, anyio_backend):
    async def work() -> None:
        async with agents.invocation("planner"):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorded.points(AGENT)[0][0]["error.type"] == "asyncio.exceptions.CancelledError"
    assert recorded.value(ACTIVE) == 0


def test_one_invocation_object_can_run_again(recorded):
    call = agents.invocation("planner")
    for _ in range(2):
        with call, agents.tool("t"):
            pass
    assert calls(recorded, TOOL_CALLS) == {"planner": (2, 2)}


def test_without_a_provider_everything_runs_and_current_is_there(caplog):
    forget_warnings()

    @agents.tool("search")
    def search() -> str:
        return "found"

    with caplog.at_level(logging.WARNING, logger="otelbridge"), agents.workflow("answer"):
        with agents.invocation("planner") as call, call.inference("m") as inference:
            assert agents.current() is call
            inference.tokens(input=-1)
            inference.chunk()
            inference.cost(-1, "?")
            call.tokens(input="x")
            call.cost("x", "?")
            agents.decision("routing", 7)
            assert list(inference.stream("ab")) == ["a", "b"]
            assert search() == "found"
        with pytest.raises(ValueError, match="x"), agents.invocation("planner"):
            raise ValueError("x")
    assert agents.current() is None
    assert caplog.records == []


anything = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_argument_ever_raises(recorded, data):
    draw = lambda: data.draw(anything)  # noqa: E731 -- the shortest way to say it
    with agents.invocation(draw(), model=draw(), provider=draw(), type=draw(), domain=draw(), caller=draw()) as call:
        call.tokens(input=draw(), output=draw(), cache_read=draw(), reasoning=draw(), modality=draw())
        call.cost(draw(), draw(), category=draw(), source=draw())
        call.failed(draw())
        with call.inference(draw(), provider=draw(), operation=draw(), server_port=draw()) as inference:
            inference.tokens(input=draw(), output=draw(), modality=draw())
            inference.response_model = draw()
            inference.chunk()
        with agents.tool(draw(), type=draw(), domain=draw()):
            agents.decision(draw(), draw(), agent=draw())
    assert recorded.points(ACTIVE)
    assert all(value == 0 for _attributes, value in recorded.points(ACTIVE))


def test_an_invocation_takes_nothing_from_a_provider_that_did_not_count_it(recorded) -> None:
    with agents.invocation("planner"):
        other = InMemoryMetricReader()
        provider = MeterProvider([other], shutdown_on_exit=False)
        switch.connect(provider)
    names = [
        metric.name
        for resource in other.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]
    assert "gen_ai.invoke_agent.duration" in names
    assert "agent.invocation.active" not in names
    provider.shutdown()
