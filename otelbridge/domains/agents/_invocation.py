"""One invocation of an agent: the frame in which its model calls and tools count."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otelbridge.catalogue.agents import INFERENCE_CALLS, INVOCATION_ACTIVE, INVOKE_AGENT_DURATION, TOOL_CALLS
from otelbridge.domains import cost
from otelbridge.domains.agents._context import Calls, current, innermost
from otelbridge.domains.agents._inference import Inference
from otelbridge.domains.agents._step import Step, meter
from otelbridge.domains.agents._tokens import Usage, record_call
from otelbridge.domains.agents._tool import Tool
from otelbridge.domains.presence import Presence

if TYPE_CHECKING:
    from decimal import Decimal
    from types import TracebackType

    from typing_extensions import Self

_duration = meter.recorder(INVOKE_AGENT_DURATION)
_active = meter.recorder(INVOCATION_ACTIVE)
_inference_calls = meter.recorder(INFERENCE_CALLS)
_tool_calls = meter.recorder(TOOL_CALLS)


class Invocation(Step):
    """One invocation of an agent, timed as ``gen_ai.invoke_agent.duration``.

    While it runs it is what `agents.current` gives, in this context and in the asyncio tasks started
    from it; inferences and tools of these count as its calls.

    Args:
        agent: Name of the agent. A name out of a small set, never an id.
        model: Model it asks, and the default of its inferences.
        provider: Provider of the model, as ``gen_ai.provider.name`` spells it.
        type: Kind of agent, as the application divides them.
        domain: Field of work.
        caller: Agent that invokes it. Default: the agent of the surrounding invocation.
    """

    __slots__ = (
        "_caller",
        "_inside",
        "_outside",
        "_presence",
        "agent",
        "calls",
        "domain",
        "model",
        "outer",
        "provider",
        "running",
        "type",
    )

    def __init__(
        self,
        agent: str,
        *,
        model: str | None = None,
        provider: str | None = None,
        type: str | None = None,  # noqa: A002 -- as in the attribute, and keyword only
        domain: str | None = None,
        caller: str | None = None,
    ) -> None:
        super().__init__()
        self.agent = agent
        self.model = model
        self.provider = provider
        self.type = type
        self.domain = domain
        self.running = False
        """Whether the invocation is going on."""
        self.outer: Invocation | None = None
        """The invocation that was running around it when it started."""
        self.calls = Calls()
        """What has been called in it so far."""
        self._caller = caller
        self._inside: Invocation | None = self
        self._outside: Invocation | None = None
        self._presence = Presence(_active)

    def __enter__(self) -> Self:
        self.outer = self._outside = current()
        self.calls = Calls()
        self.running = True
        innermost.set(self)
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.running = False
        # Not by a token: a generator may be closed in another context than it was started in, and there
        # the place of some other invocation must stay as it is.
        if innermost.get() is self:
            innermost.set(self._outside)
        super().__exit__(kind, error, trace)

    def inference(
        self,
        model: str | None = None,
        *,
        provider: str | None = None,
        operation: str = "chat",
        server_address: str | None = None,
        server_port: int | None = None,
    ) -> Inference:
        """Make a model call of this invocation, in whatever thread it runs; see `Inference`."""
        return Inference(
            model,
            provider=provider,
            operation=operation,
            server_address=server_address,
            server_port=server_port,
            invocation=self,
        )

    def tool(self, name: str, *, type: str | None = None, domain: str | None = None) -> Tool:  # noqa: A002
        """Make a tool execution of this invocation, in whatever thread it runs; see `Tool`."""
        return Tool(name, type=type, domain=domain, invocation=self)

    def tokens(
        self,
        *,
        input: int | None = None,  # noqa: A002 -- the word of the conventions, and keyword only
        output: int | None = None,
        cache_read: int | None = None,
        cache_write: int | None = None,
        reasoning: int | None = None,
        modality: str | None = None,
    ) -> None:
        """Report tokens spent by a model call that no `inference` times.

        Each report stands for one model call of the kind ``chat`` and counts as one, unless an inference
        of this invocation is open at the time.

        Args:
            input: All input tokens, cached ones included.
            output: All output tokens, reasoning included.
            cache_read: Those of `input` that came from the provider's cache.
            cache_write: Those of `input` that were written to it.
            reasoning: Those of `output` that were spent on reasoning.
            modality: What they stand for: ``text``, ``image``, ``audio``.
        """
        self.calls.tokens_reported()
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self.provider,
            "gen_ai.request.model": self.model,
        }
        record_call((Usage(input, output, cache_read, cache_write, reasoning, modality),), attributes)

    def cost(self, amount: float | Decimal, currency: str, *, category: str = "llm", source: str | None = None) -> None:
        """Add what the invocation cost to ``cost.usage``, under its agent, model and provider.

        Args:
            amount: How much, in units of the currency.
            currency: ISO 4217 code.
            category: What for.
            source: Who priced it: ``provider`` or ``local``.
        """
        cost.record(
            amount,
            currency,
            category=category,
            source=source,
            provider=self.provider,
            model=self.model,
            agent=self.agent,
        )

    def _again(self) -> Invocation:
        return Invocation(
            self.agent,
            model=self.model,
            provider=self.provider,
            type=self.type,
            domain=self.domain,
            caller=self._caller,
        )

    def _suspended(self) -> None:
        self._inside = innermost.get()
        innermost.set(self._outside)

    def _resumed(self) -> None:
        self._outside = current()
        innermost.set(self._inside)

    def _started(self) -> None:
        self._presence.begin({"gen_ai.agent.name": self.agent, "agent.type": self.type})

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        self._presence.end()
        by_agent = {"gen_ai.agent.name": self.agent}
        _inference_calls.record(self.calls.inferences, by_agent)
        _tool_calls.record(self.calls.tools, by_agent)
        caller = self._caller
        if caller is None and self.outer is not None:
            caller = self.outer.agent
        _duration.record(
            seconds,
            {
                "gen_ai.agent.name": self.agent,
                "gen_ai.request.model": self.model,
                "gen_ai.provider.name": self.provider,
                "agent.type": self.type,
                "agent.domain": self.domain,
                "agent.caller.name": caller,
                "error.type": self._error_type(error),
            },
        )
