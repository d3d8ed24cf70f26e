"""One model call: its duration, its tokens, its cost, and the pace of a streamed answer."""

from __future__ import annotations

from collections.abc import AsyncIterable
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar, overload

from otelbridge.catalogue.agents import INFERENCE_DURATION, TIME_PER_OUTPUT_CHUNK, TIME_TO_FIRST_CHUNK
from otelbridge.domains import cost
from otelbridge.domains.agents._context import current
from otelbridge.domains.agents._step import Step, meter
from otelbridge.domains.agents._tokens import Usage, record_call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator
    from decimal import Decimal

    from otelbridge.domains.agents._invocation import Invocation

_Piece = TypeVar("_Piece")

_duration = meter.recorder(INFERENCE_DURATION)
_first_chunk = meter.recorder(TIME_TO_FIRST_CHUNK)
_chunk_gap = meter.recorder(TIME_PER_OUTPUT_CHUNK)


class Inference(Step):
    """One call of a model, timed as ``gen_ai.client.inference.duration``.

    It counts as a model call of the invocation it starts in. Tokens reported while it runs are recorded
    when it ends, so that they, the duration and `response_model` meet in the same attributes. Used as a
    decorator of a generator, each piece it yields is a chunk.

    Args:
        model: Model that is asked for. Default: that of the invocation.
        provider: Provider of the model, as ``gen_ai.provider.name`` spells it. Default: that of the
            invocation, where the model is the invocation's too.
        operation: What is asked of it, as ``gen_ai.operation.name`` spells it: ``chat``,
            ``generate_content``, ``text_completion``.
        server_address: Host the model is called at.
        server_port: Port the model is called at.
        invocation: The invocation it belongs to. Default: the one running in this context.
    """

    __slots__ = (
        "_invocation",
        "_last_chunk",
        "_usages",
        "model",
        "operation",
        "provider",
        "response_model",
        "server_address",
        "server_port",
    )

    def __init__(
        self,
        model: str | None = None,
        *,
        provider: str | None = None,
        operation: str = "chat",
        server_address: str | None = None,
        server_port: int | None = None,
        invocation: Invocation | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.provider = provider
        self.operation = operation
        self.server_address = server_address
        self.server_port = server_port
        self.response_model: str | None = None
        """Model that answered; set it as soon as the answer names it."""
        self._invocation = invocation
        self._last_chunk: float | None = None
        self._usages: list[Usage] = []

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
        """Report tokens that the call spent. Several reports add up, for instance one a modality.

        Args:
            input: All input tokens, cached ones included.
            output: All output tokens, reasoning included.
            cache_read: Those of `input` that came from the provider's cache.
            cache_write: Those of `input` that were written to it.
            reasoning: Those of `output` that were spent on reasoning.
            modality: What they stand for: ``text``, ``image``, ``audio``.
        """
        usage = Usage(input, output, cache_read, cache_write, reasoning, modality)
        if self._begin is None:
            record_call((usage,), self._attributes())
        else:
            self._usages.append(usage)

    def cost(self, amount: float | Decimal, currency: str, *, category: str = "llm", source: str | None = None) -> None:
        """Add what the call cost to ``cost.usage``.

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
            agent=self._invocation.agent if self._invocation else None,
        )

    def chunk(self) -> None:
        """Note that a chunk of a streamed answer has arrived.

        The first gives ``gen_ai.client.inference.time_to_first_chunk``, each further one a gap in
        ``gen_ai.client.inference.time_per_output_chunk``.
        """
        if self._begin is None:
            return
        now, last = perf_counter(), self._last_chunk
        self._last_chunk = now
        if last is None:
            _first_chunk.record(now - self._begin, self._attributes())
        else:
            _chunk_gap.record(now - last, self._attributes())

    @overload
    def stream(self, pieces: AsyncIterable[_Piece]) -> AsyncIterator[_Piece]: ...
    @overload
    def stream(self, pieces: Iterable[_Piece]) -> Iterator[_Piece]: ...
    def stream(self, pieces: Iterable[_Piece] | AsyncIterable[_Piece]) -> Iterator[_Piece] | AsyncIterator[_Piece]:
        """Pass a streamed answer on, noting each piece as a chunk.

        Args:
            pieces: The answer, iterable with ``for`` or with ``async for``. Closing it stays the caller's.

        Returns:
            An iterator of the same kind over the same pieces.
        """
        # Asked first, since of a stream that is iterable both ways the sync one would block an event loop.
        if isinstance(pieces, AsyncIterable):
            return self._async_stream(pieces)
        return self._sync_stream(pieces)

    def _sync_stream(self, pieces: Iterable[_Piece]) -> Iterator[_Piece]:
        for piece in pieces:
            self.chunk()
            yield piece

    async def _async_stream(self, pieces: AsyncIterable[_Piece]) -> AsyncIterator[_Piece]:
        async for piece in pieces:
            self.chunk()
            yield piece

    def _again(self) -> Inference:
        return Inference(
            self.model,
            provider=self.provider,
            operation=self.operation,
            server_address=self.server_address,
            server_port=self.server_port,
            invocation=self._invocation,
        )

    def _suspended(self) -> None:
        self.chunk()

    def _started(self) -> None:
        self._invocation = invocation = self._invocation or current()
        if invocation is None:
            return
        self.model = self.model or invocation.model
        if self.model == invocation.model:  # another model may well be another provider's
            self.provider = self.provider or invocation.provider
        invocation.calls.inference_started()

    def _finished(self, seconds: float, error: BaseException | None) -> None:
        if self._invocation is not None:
            self._invocation.calls.inference_finished()
        attributes = self._attributes()
        _duration.record(seconds, {**attributes, "error.type": self._error_type(error)})
        record_call(self._usages, attributes)
        self._usages = []

    def _attributes(self) -> dict[str, str | int | None]:
        return {
            "gen_ai.operation.name": self.operation,
            "gen_ai.provider.name": self.provider,
            "gen_ai.request.model": self.model,
            "gen_ai.response.model": self.response_model,
            "server.address": self.server_address,
            "server.port": self.server_port,
        }
