"""Customers: journeys over real HTTP, at a bounded rate, some of which go wrong.

python -m examples.shop.load --url http://127.0.0.1:8000 --rate 10 --seconds 30
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_CREATED = 201
_UNKNOWN, _SOLD_OUT = 999, 6
_SHARE_THAT_CANCELS = 0.3
_QUESTIONS = (
    "Which kettle is quiet?",
    "Why is the desk made of oak?",
    "Does the lamp have a long arm?",
    "Where is my order {order}?",
    "Where is my order?",
    "Do you like the weather?",
)


class Customers:
    """What customers do.

    Args:
        client: Talks to the shop.
        seed: Makes the same customers each time.
    """

    def __init__(self, client: httpx.AsyncClient, seed: int) -> None:
        self._client = client
        self._random = random.Random(seed)
        self.statuses: Counter[int] = Counter()
        """Answers so far by status code; 0 where there was none."""
        self._orders = [1]
        self._journeys: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            (30, self.browse),
            (25, self.buy),
            (15, self.ask),
            (6, self.ask_and_listen),
            (4, self.overload),
            (5, self.sign_up),
            (3, self.refund),
            (3, self.watch_offers),
            (3, self.buy_what_is_sold_out),
            (2, self.pay_with_a_bad_card),
            (2, self.read_reports),
            (1, self.crash),
            (1, self.export),
        )
        self._each_once = iter(self._journeys)

    async def journey(self) -> None:
        """Make one journey: each of them once, so that all is seen soon, then by weight."""
        weights = [weight for weight, _ in self._journeys]
        chosen = next(self._each_once, None) or self._random.choices(self._journeys, weights)[0]
        await chosen[1]()

    async def browse(self) -> None:
        """Look at the list and at some products, one of which may not exist."""
        await self._call("GET", "/products")
        await self._call("GET", f"/products/{self._random.choice([1, 1, 2, 3, 4, 5, _UNKNOWN])}")

    async def buy(self) -> None:
        """Buy something; some addresses take no mail."""
        email = self._random.choice(["ann@example.org", "bob@example.org", "bounce@example.org"])
        await self._order(product_id=self._random.randint(1, 5), email=email)

    async def buy_what_is_sold_out(self) -> None:
        """Find out that it is sold out."""
        await self._order(product_id=_SOLD_OUT, email="ann@example.org")

    async def pay_with_a_bad_card(self) -> None:
        """Have the payment declined."""
        await self._order(product_id=1, email="eve@example.org", card="declined")

    async def ask(self) -> None:
        """Ask a question."""
        await self._call("POST", "/answers", {"question": self._question()})

    async def ask_and_listen(self) -> None:
        """Ask a question and read the answer as it comes."""
        await self._call("POST", "/answers/stream", {"question": self._question()})

    async def overload(self) -> None:
        """Ask more than the model takes."""
        await self._call("POST", "/answers", {"question": "overload"})

    async def sign_up(self) -> None:
        """Register and subscribe; some think better of it."""
        email = f"user{self._random.randrange(10_000)}@example.org"
        await self._call("POST", "/users", {"email": email, "channel": self._random.choice(["web", "app"])})
        answer = await self._call(
            "POST", "/subscriptions", {"email": email, "plan": self._random.choice(["basic", "pro"])}
        )
        if answer is not None and self._random.random() < _SHARE_THAT_CANCELS:
            await self._call("DELETE", f"/subscriptions/{answer.json()['id']}")

    async def refund(self) -> None:
        """Ask for the money back."""
        await self._call("POST", f"/orders/{self._random.choice(self._orders)}/refund")

    async def watch_offers(self) -> None:
        """Keep the page of offers open for a moment."""
        await self._call("GET", "/offers")

    async def read_reports(self) -> None:
        """Ask for many slow reports at once, more than there are connections to the database."""
        await asyncio.gather(*(self._call("GET", "/reports/orders") for _ in range(10)))

    async def crash(self) -> None:
        """Do what nobody foresaw."""
        await self._call("GET", "/crash")

    async def export(self) -> None:
        """Have the catalogue exported, which takes too long."""
        await self._call("POST", "/exports")

    def _question(self) -> str:
        return self._random.choice(_QUESTIONS).format(order=self._random.choice(self._orders))

    async def _order(self, **order: str | int) -> None:
        answer = await self._call("POST", "/orders", order)
        if answer is not None and answer.status_code == _CREATED:
            self._orders.append(answer.json()["id"])

    async def _call(self, method: str, path: str, json: object = None) -> httpx.Response | None:
        try:
            answer = await self._client.request(method, path, json=json)
        except httpx.HTTPError:
            self.statuses[0] += 1
            return None
        self.statuses[answer.status_code] += 1
        return answer


async def run(url: str, *, rate: float = 10.0, seconds: float = float("inf"), seed: int = 1) -> Counter[int]:
    """Send journeys until the time is over, the task is cancelled or the process gets a signal.

    Args:
        url: Base URL of the shop.
        rate: Journeys a second.
        seconds: How long.
        seed: Makes the same journeys each time.

    Returns:
        Number of answers by status code; 0 stands for none.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Other event loops than the main thread's take no signals.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    deadline = time.monotonic() + seconds
    running: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as client:
        customers = Customers(client, seed)
        while not stop.is_set() and time.monotonic() < deadline:
            # A slow shop gets no more than this many customers at once.
            if len(running) < 4 * max(1, rate):
                task = asyncio.create_task(customers.journey())
                running.add(task)
                task.add_done_callback(running.discard)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), 1 / rate)
        for task in running:
            if stop.is_set():
                task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    return customers.statuses


def positive(text: str) -> float:
    """Read a number above 0 from the command line."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def main() -> None:
    """Send load as the command line says, and print what came back."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop.load", description="Send customers to the shop.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="base URL of the shop (%(default)s)")
    parser.add_argument("--rate", type=positive, default=10.0, help="journeys a second (%(default)s)")
    parser.add_argument("--seconds", type=positive, default=float("inf"), help="how long; by default until a signal")
    parser.add_argument("--seed", type=int, default=1, help="the same customers for the same number (%(default)s)")
    arguments = parser.parse_args()
    statuses = asyncio.run(run(arguments.url, rate=arguments.rate, seconds=arguments.seconds, seed=arguments.seed))
    print("answers:", ", ".join(f"{count} x {status or 'none'}" for status, count in sorted(statuses.items())))


if __name__ == "__main__":
    main()
