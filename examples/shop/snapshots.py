"""How many subscriptions and active users there are: counted every few seconds, shown at each collection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from otelbridge import business, health

if TYPE_CHECKING:
    from examples.shop.store import Store
    from otelbridge.domains.recording import Registration

SECONDS = 2.0


class Snapshots:
    """Keeps the latest count, since a collection should not wait for a database.

    Args:
        store: Where it is counted.
        seconds: Time between two counts.
    """

    def __init__(self, store: Store, seconds: float = SECONDS) -> None:
        self._store = store
        self._seconds = seconds
        self._subscriptions: list[business.Subscriptions] = []
        self._active_users = 0
        self._counts = True
        self._task: asyncio.Task[None] | None = None
        self._reports: list[Registration] = []

    def start(self) -> None:
        """Count from now on."""
        self._task = asyncio.create_task(self._count())
        self._reports = [
            business.subscriptions.observe(lambda: self._subscriptions),
            business.users.observe_active(lambda: {"1d": self._active_users}, user_type="customer"),
            # The last count still serves when there is no new one.
            health.component("snapshots", lambda: "healthy" if self._counts else "degraded"),
        ]

    async def stop(self) -> None:
        """Count no more."""
        for report in self._reports:
            report.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def refresh(self) -> None:
        """Count now."""
        snapshot = await self._store.snapshot()
        self._active_users = snapshot.active_users
        self._subscriptions = [
            business.Subscriptions(plan, state, count, recurring_value=cents / 100, currency="EUR")
            for plan, state, count, cents in snapshot.subscriptions
        ]

    async def _count(self) -> None:
        while True:
            try:
                await self.refresh()
                self._counts = True
            except Exception as error:  # the last count will do for a while
                self._counts = False
                health.exception(error, origin="snapshots")
            await asyncio.sleep(self._seconds)
