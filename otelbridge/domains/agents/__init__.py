"""Agents: invocations, workflows, tools, model calls, tokens, decisions, approvals and budgets.

```python
with agents.invocation("planner", model="gpt-5", provider="openai") as call:
    with call.inference() as inference:
        reply = ask(prompt)
        inference.tokens(input=812, output=64)
    call.cost(0.0042, "USD")
```

Everything timed here is a context manager, sync and async, and a decorator of functions, coroutines and
generators of both kinds. Failures carry ``error.type`` and are raised on. Names and attributes follow the
GenAI semantic conventions where they have one; an attribute that was not given is left out.
"""

from __future__ import annotations

from otelbridge.domains.agents._approval import Approval
from otelbridge.domains.agents._budget import Budget, budget
from otelbridge.domains.agents._context import current
from otelbridge.domains.agents._decision import decision
from otelbridge.domains.agents._inference import Inference
from otelbridge.domains.agents._invocation import Invocation
from otelbridge.domains.agents._tool import Tool
from otelbridge.domains.agents._workflow import Workflow

invocation = Invocation
workflow = Workflow
inference = Inference
tool = Tool
approval = Approval

__all__ = [
    "Approval",
    "Budget",
    "Inference",
    "Invocation",
    "Tool",
    "Workflow",
    "approval",
    "budget",
    "current",
    "decision",
    "inference",
    "invocation",
    "tool",
    "workflow",
]
