"""Attributes that metrics of several domains share."""

from __future__ import annotations

from otelbridge.catalogue.model import Attribute

ERROR_TYPE = Attribute(
    "error.type",
    "Class of the failure; absent on success.",
    example="TimeoutError",
)
CURRENCY = Attribute("currency", "ISO 4217 code of the amount.", example="EUR")

AGENT_NAME = Attribute("gen_ai.agent.name", "Name of the agent, chosen by the application.", example="planner")
PROVIDER_NAME = Attribute(
    "gen_ai.provider.name",
    "Provider of the model, as the GenAI conventions spell it.",
    values=(
        "openai",
        "anthropic",
        "aws.bedrock",
        "azure.ai.openai",
        "gcp.gemini",
        "gcp.vertex_ai",
        "mistral_ai",
        "cohere",
        "groq",
        "deepseek",
        "perplexity",
        "x_ai",
        "ibm.watsonx.ai",
    ),
    example="openai",
)
REQUEST_MODEL = Attribute("gen_ai.request.model", "Model that was asked for.", example="gpt-5")
