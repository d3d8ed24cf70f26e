"""A language model of a few words: local, without a network, and the same answer to the same question."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from examples.shop.store import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

MODEL = "tiny-1"
PROVIDER = "local"
USD_PER_TOKEN = 0.000_01

_INSTRUCTIONS = "You help the customers of a shop for the home , in short and friendly sentences ."
_SECONDS_PER_TOKEN = 0.005


class OverloadedError(Exception):
    """The model takes no more requests."""


@dataclass
class Usage:
    """Tokens that one answer took."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


class TinyModel:
    """Walks from word to word as the product texts do."""

    def __init__(self) -> None:
        self._followers: dict[str, list[str]] = {}
        self._instructed = False
        words = " ".join(text for _, text, _, _ in CATALOGUE).split()
        for word, follower in pairwise(words):
            self._followers.setdefault(word, []).append(follower)

    async def stream(self, prompt: str, usage: Usage, words: int = 24) -> AsyncGenerator[str, None]:
        """Answer word by word.

        Args:
            prompt: The question with everything that helps to answer it.
            usage: Is filled as the answer goes on.
            words: Length of the answer.

        Yields:
            One word at a time.

        Raises:
            OverloadedError: The prompt says ``overload``.
        """
        if "overload" in prompt:
            raise OverloadedError
        instructions = len(_INSTRUCTIONS.split())
        usage.input = instructions + len(prompt.split())
        usage.cache_read, usage.cache_write = (instructions, 0) if self._instructed else (0, instructions)
        self._instructed = True
        if "why" in prompt.lower():
            usage.reasoning = usage.output = 12
            await asyncio.sleep(usage.reasoning * _SECONDS_PER_TOKEN)
        generator = random.Random(prompt)
        word = generator.choice(["A", "An"])
        for _ in range(words):
            await asyncio.sleep(_SECONDS_PER_TOKEN)
            usage.output += 1
            yield f"{word} "
            word = generator.choice(self._followers.get(word, ["A"]))
