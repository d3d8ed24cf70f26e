"""Agents, workflows, tools and model calls, and what people and budgets allow them.

Names of the `gen_ai` metrics are those of the main branch of the GenAI semantic conventions, autumn 2026;
`agent` ones are own, since no convention covers confidence, approval or budgets.
"""

from __future__ import annotations

from otelbridge.catalogue.attributes import AGENT_NAME, ERROR_TYPE, PROVIDER_NAME, REQUEST_MODEL
from otelbridge.catalogue.buckets import AGENT, CALLS, CONF, GEN, HUMAN, TOK, WF
from otelbridge.catalogue.model import Attribute, Domain, Kind, Metric

_AGENT_TYPE = Attribute("agent.type", "Kind of agent, as the application divides them.", example="orchestrator")
_AGENT_DOMAIN = Attribute("agent.domain", "Field of work the agent or tool belongs to.", example="research")
_CALLER_NAME = Attribute(
    "agent.caller.name", "Name of the agent that invoked this one; absent for the outermost.", example="coordinator"
)
_WORKFLOW_NAME = Attribute("gen_ai.workflow.name", "Name of the workflow.", example="answer_question")
_TOOL_NAME = Attribute("gen_ai.tool.name", "Name of the tool.", example="search")
_TOOL_TYPE = Attribute(
    "gen_ai.tool.type",
    "Where the tool runs: at the client, at the model's side, or as a data source.",
    values=("function", "extension", "datastore"),
    example="function",
)
_OPERATION_NAME = Attribute(
    "gen_ai.operation.name",
    "What the model was asked to do.",
    values=("chat", "generate_content", "text_completion"),
    example="chat",
)
_RESPONSE_MODEL = Attribute("gen_ai.response.model", "Model that answered.", example="gpt-5-2026-08-07")
_SERVER_ADDRESS = Attribute("server.address", "Host the model was called at.", example="api.openai.com")
_SERVER_PORT = Attribute("server.port", "Port the model was called at.", type="int", example=443)
_MODALITY = Attribute(
    "gen_ai.token.modality",
    "What the tokens stand for.",
    values=("text", "image", "audio", "unknown"),
    example="text",
)
_DECISION_TYPE = Attribute("agent.decision.type", "What was decided or predicted.", example="agent_routing")
_APPROVAL_TYPE = Attribute("agent.approval.type", "What had to be approved.", example="deploy")
_APPROVAL_OUTCOME = Attribute(
    "agent.approval.outcome",
    "How the approval ended; absent where an error kept it from ending.",
    values=("approved", "rejected", "timeout"),
    closed=True,
    example="approved",
)
_BUDGET_NAME = Attribute("agent.budget.name", "Name of the budget.", example="daily")

_STREAM = (_OPERATION_NAME, PROVIDER_NAME, REQUEST_MODEL, _RESPONSE_MODEL, _SERVER_ADDRESS, _SERVER_PORT)
_INFERENCE = (*_STREAM, ERROR_TYPE)
_USAGE = (*_STREAM, _MODALITY)

INVOKE_AGENT_DURATION = Metric(
    id="A1",
    name="gen_ai.invoke_agent.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Duration of one agent invocation.",
    attributes=(AGENT_NAME, REQUEST_MODEL, ERROR_TYPE, PROVIDER_NAME, _AGENT_TYPE, _AGENT_DOMAIN, _CALLER_NAME),
    buckets=AGENT,
    convention="semconv",
    answers=(
        "001-M12",
        "002-M8",
        "002-M9",
        "003-M1",
        "003-M2",
        "003-M15",
        "003-M16",
        "003-M17",
        "003-M20",
        "003-M22",
    ),
)
INVOKE_WORKFLOW_DURATION = Metric(
    id="A2",
    name="gen_ai.invoke_workflow.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Duration of one execution of a workflow of agents.",
    attributes=(_WORKFLOW_NAME, ERROR_TYPE),
    buckets=WF,
    convention="semconv",
    answers=("001-M1", "001-M2", "001-M3", "001-M4", "001-M5", "001-M6", "001-M15"),
)
EXECUTE_TOOL_DURATION = Metric(
    id="A3",
    name="gen_ai.execute_tool.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Duration of one tool execution.",
    attributes=(_TOOL_NAME, _TOOL_TYPE, AGENT_NAME, ERROR_TYPE, _AGENT_DOMAIN),
    buckets=GEN,
    convention="semconv",
    answers=("001-M7", "001-M8", "001-M12"),
)
INFERENCE_DURATION = Metric(
    id="A4",
    name="gen_ai.client.inference.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Duration of one model call.",
    attributes=_INFERENCE,
    buckets=GEN,
    convention="semconv",
    answers=("003-M23",),
)
INPUT_TOKENS = Metric(
    id="A5",
    name="gen_ai.client.inference.usage.input_tokens",
    kind=Kind.COUNTER,
    unit="{token}",
    brief="Input tokens spent, cached ones included.",
    attributes=_USAGE,
    convention="semconv",
    answers=("003-M3", "004-M28"),
)
OUTPUT_TOKENS = Metric(
    id="A6",
    name="gen_ai.client.inference.usage.output_tokens",
    kind=Kind.COUNTER,
    unit="{token}",
    brief="Output tokens spent, reasoning included.",
    attributes=_USAGE,
    convention="semconv",
    answers=("003-M3", "004-M28"),
)
CACHE_READ_INPUT_TOKENS = Metric(
    id="A7",
    name="gen_ai.client.inference.usage.cache_read.input_tokens",
    kind=Kind.COUNTER,
    unit="{token}",
    brief="Input tokens that came from the provider's cache.",
    attributes=_USAGE,
    convention="semconv",
)
CACHE_WRITE_INPUT_TOKENS = Metric(
    id="A8",
    name="gen_ai.client.inference.usage.cache_write.input_tokens",
    kind=Kind.COUNTER,
    unit="{token}",
    brief="Input tokens that were written to the provider's cache.",
    attributes=_USAGE,
    convention="semconv",
)
REASONING_OUTPUT_TOKENS = Metric(
    id="A9",
    name="gen_ai.client.inference.usage.reasoning.output_tokens",
    kind=Kind.COUNTER,
    unit="{token}",
    brief="Output tokens spent on reasoning.",
    attributes=_USAGE,
    convention="semconv",
)
# The duration alone tells failures apart: the conventions give token metrics no error.type.
OPERATION_INPUT_TOKENS = Metric(
    id="A10",
    name="gen_ai.client.inference.operation.input_tokens",
    kind=Kind.HISTOGRAM,
    unit="{token}",
    brief="Input tokens of one model call.",
    attributes=_STREAM,
    buckets=TOK,
    convention="semconv",
)
OPERATION_OUTPUT_TOKENS = Metric(
    id="A11",
    name="gen_ai.client.inference.operation.output_tokens",
    kind=Kind.HISTOGRAM,
    unit="{token}",
    brief="Output tokens of one model call.",
    attributes=_STREAM,
    buckets=TOK,
    convention="semconv",
)
TIME_TO_FIRST_CHUNK = Metric(
    id="A12",
    name="gen_ai.client.inference.time_to_first_chunk",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Time from the request to the first chunk of a streamed answer.",
    attributes=_STREAM,
    buckets=GEN,
    convention="semconv",
)
TIME_PER_OUTPUT_CHUNK = Metric(
    id="A13",
    name="gen_ai.client.inference.time_per_output_chunk",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Time between two chunks of a streamed answer.",
    attributes=_STREAM,
    buckets=GEN,
    convention="semconv",
)
INFERENCE_CALLS = Metric(
    id="A14",
    name="gen_ai.invoke_agent.inference_calls",
    kind=Kind.HISTOGRAM,
    unit="{inference_call}",
    brief="Model calls of one agent invocation.",
    attributes=(AGENT_NAME,),
    buckets=CALLS,
    convention="semconv",
    answers=("003-M19",),
)
TOOL_CALLS = Metric(
    id="A15",
    name="gen_ai.invoke_agent.tool_calls",
    kind=Kind.HISTOGRAM,
    unit="{tool_call}",
    brief="Tool calls of one agent invocation.",
    attributes=(AGENT_NAME,),
    buckets=CALLS,
    convention="semconv",
    answers=("003-M19",),
)
INVOCATION_ACTIVE = Metric(
    id="A16",
    name="agent.invocation.active",
    kind=Kind.UP_DOWN_COUNTER,
    unit="{invocation}",
    brief="Agent invocations running now.",
    attributes=(AGENT_NAME, _AGENT_TYPE),
    merge="livesum",
)
DECISION_CONFIDENCE = Metric(
    id="A17",
    name="agent.decision.confidence",
    kind=Kind.HISTOGRAM,
    unit="1",
    brief="Confidence of a decision or prediction, from 0 to 1.",
    attributes=(_DECISION_TYPE, AGENT_NAME),
    buckets=CONF,
    answers=("000-M1", "000-M3", "002-M10", "003-M18"),
)
APPROVAL_DURATION = Metric(
    id="A18",
    name="agent.approval.duration",
    kind=Kind.HISTOGRAM,
    unit="s",
    brief="Time an approval by a person or a policy took.",
    attributes=(_APPROVAL_TYPE, _APPROVAL_OUTCOME),
    buckets=HUMAN,
    answers=("001-M11", "001-M13", "001-M14"),
)
BUDGET_CONSUMPTION = Metric(
    id="A19",
    name="agent.budget.consumption",
    kind=Kind.COUNTER,
    unit="{budget_unit}",
    brief="Budget units spent.",
    attributes=(_BUDGET_NAME,),
    answers=("001-M9",),
)
BUDGET_LIMIT = Metric(
    id="A20",
    name="agent.budget.limit",
    kind=Kind.OBSERVABLE_UP_DOWN_COUNTER,
    unit="{budget_unit}",
    brief="Limit of the budget in the current window.",
    attributes=(_BUDGET_NAME,),
    answers=("001-M9",),
    merge="last",
)
BUDGET_OVERRUNS = Metric(
    id="A21",
    name="agent.budget.overruns",
    kind=Kind.COUNTER,
    unit="{overrun}",
    brief="Times the spending crossed the limit of a budget.",
    attributes=(_BUDGET_NAME,),
    answers=("001-M10",),
)

DOMAIN = Domain(
    "agents",
    "Agent invocations, workflows, tools, model calls and tokens; decisions, approvals and budgets.",
    (
        INVOKE_AGENT_DURATION,
        INVOKE_WORKFLOW_DURATION,
        EXECUTE_TOOL_DURATION,
        INFERENCE_DURATION,
        INPUT_TOKENS,
        OUTPUT_TOKENS,
        CACHE_READ_INPUT_TOKENS,
        CACHE_WRITE_INPUT_TOKENS,
        REASONING_OUTPUT_TOKENS,
        OPERATION_INPUT_TOKENS,
        OPERATION_OUTPUT_TOKENS,
        TIME_TO_FIRST_CHUNK,
        TIME_PER_OUTPUT_CHUNK,
        INFERENCE_CALLS,
        TOOL_CALLS,
        INVOCATION_ACTIVE,
        DECISION_CONFIDENCE,
        APPROVAL_DURATION,
        BUDGET_CONSUMPTION,
        BUDGET_LIMIT,
        BUDGET_OVERRUNS,
    ),
)
