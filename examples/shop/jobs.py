"""Work in the background: a queue, a few workers, and the jobs themselves."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from examples.shop.payments import create_invoice
from otelbridge import tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from examples.shop.store import Store
    from otelbridge.domains.recording import Registration

    Job = Callable[[], Awaitable[None]]

QUEUE = "shop"
_log = logging.getLogger(__name__)
_WORKERS = 3
_ATTEMPTS = 3
_SECONDS_TO_EXPORT = 0.5


class MailRefusedError(Exception):
    """The other side takes no mail for this address now."""


class Jobs:
    """A queue in memory and the workers that empty it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Job] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []
        self._busy = 0
        self._reports: list[Registration] = []

    def start(self) -> None:
        """Start the workers."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(_WORKERS)]
        self._reports = [
            tasks.queue(QUEUE, size=self._queue.qsize),
            tasks.workers("shop", lambda: {"busy": self._busy, "idle": len(self._workers) - self._busy}),
        ]

    def put(self, job: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Have a job done soon."""
        self._queue.put_nowait(lambda: job(*arguments))

    async def finish(self) -> None:
        """Wait until everything that waits is done."""
        await self._queue.join()

    async def stop(self) -> None:
        """Stop the workers; what still waits is lost."""
        for report in self._reports:
            report.close()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            job = await self._queue.get()
            self._busy += 1
            try:
                await job()
            except Exception:
                _log.warning("A job failed.", exc_info=True)
            finally:
                self._busy -= 1
                self._queue.task_done()


@tasks.task("send_invoice", queue=QUEUE)
async def send_invoice(store: Store, order_id: int) -> None:
    """Write the invoice of an order that was paid."""
    async with tasks.dependencies("send_invoice"):
        order = await store.order(order_id)
    if order is not None:
        await create_invoice(order)


async def send_mail(jobs: Jobs, email: str, attempt: int = 1) -> None:
    """Send a mail, and try again later if it is refused."""
    with tasks.task("send_mail", queue=QUEUE) as run:
        await asyncio.sleep(0.01)
        if email.startswith("bounce"):
            if attempt < _ATTEMPTS:
                run.retry()
                jobs.put(send_mail, jobs, email, attempt + 1)
            raise MailRefusedError(email)


@tasks.task("export_catalogue", queue=QUEUE)
async def export_catalogue(seconds: float) -> None:
    """Export the catalogue, for as long as it may take."""
    await asyncio.wait_for(asyncio.sleep(seconds), _SECONDS_TO_EXPORT)
