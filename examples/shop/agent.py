"""Agents that answer customers: one finds out who should, others look things up and ask the model."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from examples.shop.model import MODEL, PROVIDER, USD_PER_TOKEN, TinyModel, Usage
from otelbridge import agents

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from examples.shop.store import Order, Store

_TOKENS_A_WINDOW = 2000.0
_WINDOW_SECONDS = 60.0
_SHORT, _LONG = 8, 24
_CENTS_WITHOUT_ASKING = 10_000
_CENTS_TO_REJECT = 30_000
_SECONDS_TO_APPROVE = 0.2


class Answers:
    """Answers questions and decides about refunds.

    Args:
        store: Where facts are looked up.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._model = TinyModel()
        self.budget = agents.budget("answer_tokens", limit=_TOKENS_A_WINDOW)
        self._window_ends = time.monotonic() + _WINDOW_SECONDS

    def close(self) -> None:
        """Give the budget back."""
        self.budget.close()

    @agents.workflow("answer_question")
    async def stream(self, question: str) -> AsyncGenerator[str, None]:
        """Answer a question, word by word."""
        with agents.invocation("router", type="orchestrator"):
            agent, confidence = _route(question)
            agents.decision("agent_routing", confidence)
            with agents.invocation(agent, model=MODEL, provider=PROVIDER, type="assistant", domain="sales") as call:
                facts = await self._facts(agent, question)
                usage = Usage()
                with agents.inference() as inference:
                    prompt = f"{question} {facts}"
                    async with aclosing(self._model.stream(prompt, usage, self._affordable_words())) as pieces:
                        async for piece in inference.stream(pieces):
                            yield piece
                    inference.response_model = f"{MODEL}-2026"
                    inference.tokens(
                        input=usage.input,
                        output=usage.output,
                        cache_read=usage.cache_read,
                        cache_write=usage.cache_write,
                        reasoning=usage.reasoning,
                        modality="text",
                    )
                call.cost((usage.input + usage.output) * USD_PER_TOKEN, "USD", source="local")
                self.budget.spend(usage.input + usage.output)

    def _affordable_words(self) -> int:
        if time.monotonic() > self._window_ends:
            self._window_ends = time.monotonic() + _WINDOW_SECONDS
            self.budget.reset()
        return _SHORT if self.budget.exceeded else _LONG

    async def approve_refund(self, order: Order) -> bool:
        """Decide about a refund: small ones pass, large ones do not, and for the rest somebody would have to answer."""
        with agents.invocation("refund_clerk", type="assistant", domain="payments"):
            try:
                return await self._ask_for_approval(order.cents)
            except asyncio.TimeoutError:  # the builtin one only since Python 3.11
                return False

    @agents.approval("refund")
    async def _ask_for_approval(self, cents: int) -> bool:
        if cents <= _CENTS_WITHOUT_ASKING:
            return True
        if cents > _CENTS_TO_REJECT:
            return False
        return await asyncio.wait_for(asyncio.Event().wait(), _SECONDS_TO_APPROVE)

    async def _facts(self, agent: str, question: str) -> str:
        if agent != "order_clerk":
            return await self._search(question)
        try:
            return await self._look_up_order(question)
        except LookupError:
            return "Please tell the number of the order ."

    @agents.tool("search_products", type="datastore", domain="catalogue")
    async def _search(self, question: str) -> str:
        products = await self._store.search(re.findall(r"\w+", question.lower()))
        return " ".join(product.text for product in products)

    @agents.tool("look_up_order", type="datastore", domain="orders")
    async def _look_up_order(self, question: str) -> str:
        number = re.search(r"\d+", question)
        if number is None:
            raise LookupError("no order number in the question")
        order = await self._store.order(int(number[0]))
        return f"The order is {order.status} ." if order else "There is no such order ."


def _route(question: str) -> tuple[str, float]:
    words = set(re.findall(r"\w+", question.lower()))
    if "order" in words:
        return "order_clerk", 0.97 if re.search(r"\d", question) else 0.6
    return "adviser", 0.9 if words & {"kettle", "teapot", "lamp", "chair", "desk", "clock"} else 0.45
